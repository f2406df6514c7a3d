"""A second decoder of packed and sealed tensor files, written from docs/packed.md and docs/sealed.md.

Slow and plain: it shows that the pages say everything, and what the C++ code writes is judged by it.
"""

import hashlib
import hmac
import json
import struct

import numpy as np
import xxhash
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHUNK = 262144
PACKED, SEALED, HIDDEN = 1, 2, 4
NOTES = {
    PACKED: ("sconce packed", "Losslessly compressed tensors. To read them: sconce tensors unpack FILE -o OUT"),
    SEALED: ("sconce sealed", "Encrypted tensors. To read them: sconce tensors open FILE -o OUT"),
    PACKED | SEALED: ("sconce packed+sealed",
                      "Compressed and encrypted tensors. To read them: sconce tensors open FILE -o OUT"),
}
ROTATED = {"F16", "BF16", "F32", "C64", "F64"}
WIDTHS = {"F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F32": 4, "C64": 4, "I32": 4, "U32": 4,
          "F64": 8, "I64": 8, "U64": 8}


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def zstd(frame, size):
    assert zstandard.frame_content_size(frame) == size
    plain = zstandard.ZstdDecompressor().decompress(frame)
    assert len(plain) == size
    return plain


# ---- packing ----


def huffman(data, count):
    first, last = data[0], data[1]
    assert first < last
    nibbles = [n for byte in data[2 : 2 + (last - first + 2) // 2] for n in (byte & 15, byte >> 4)]
    lengths = {first + i: n for i, n in enumerate(nibbles[: last - first + 1]) if n}
    assert not any(nibbles[last - first + 1 :]) and max(lengths.values()) <= 11
    assert sum(2 ** (11 - n) for n in lengths.values()) == 2**11
    codes, code, before = {}, 0, 0
    for length, value in sorted((n, v) for v, n in lengths.items()):
        code <<= length - before
        codes[(length, code)] = value
        code, before = code + 1, length
    at = 2 + (last - first + 2) // 2
    sizes = [u32(data, at + 4 * i) for i in range(3)]
    at += 12
    sizes.append(len(data) - at - sum(sizes))
    out, each = bytearray(), (count + 3) // 4
    for s, size in enumerate(sizes):
        bits = "".join(f"{byte:08b}" for byte in data[at : at + size])
        at += size
        position = 0
        for _ in range(max(0, min(count, (s + 1) * each) - s * each)):
            length = 1
            while (length, int(bits[position : position + length], 2)) not in codes:
                length += 1
                assert length <= 11
            out.append(codes[(length, int(bits[position : position + length], 2))])
            position += length
        assert (position + 7) // 8 == size and "1" not in bits[position:]
    return bytes(out)


def plane(method, data, count):
    if method == 0:
        assert len(data) == count
        return data
    if method == 1:
        assert len(data) == 1
        return data * count
    return {2: huffman, 3: zstd}[method](data, count)


def unpack_chunk(method, data, dtype, size):
    if method == 0:
        assert len(data) == size
        return data
    assert 0 < len(data) < size
    if method == 2:
        return zstd(data, size)
    assert method == 1
    width = WIDTHS.get(dtype, 1)
    count = size // width
    planes, at = [], 4 * width
    for p in range(width):
        word = u32(data, 4 * p)
        planes.append(np.frombuffer(plane(word >> 24, data[at : at + (word & 0xFFFFFF)], count), np.uint8))
        at += word & 0xFFFFFF
    assert at == len(data)
    values = np.ascontiguousarray(np.stack(planes, 1)).view(f"<u{width}").ravel()
    if dtype in ROTATED:
        values = values >> 1 | values << (8 * width - 1)
    return values.astype(f"<u{width}").tobytes()


# ---- sealing ----


def hkdf(key, salt, info):
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def key_bytes(text):
    """A key printed as text."""
    import base64

    prefix, body = text[:11], base64.b64decode(text[11:], validate=True)
    assert prefix in ("sconce-pub-", "sconce-key-") and len(body) == 36
    assert hashlib.sha256(prefix.encode() + body[:32]).digest()[:4] == body[32:]
    return body[:32]


class Envelope:
    def __init__(self, data):
        assert data[:8] == b"SCONCEEN" and u32(data, 8) == 1 and u32(data, 84) == 0
        self.data, self.cipher = data, {1: AESGCM, 2: ChaCha20Poly1305}[u32(data, 12)]
        self.file_id, self.commitment = data[16:48], data[48:80]
        self.recipients, at = [], 88
        for _ in range(u32(data, 80)):
            size = u32(data, at + 4)
            self.recipients.append((u32(data, at), data[at + 8 : at + 8 + size]))
            at += 8 + size
        assert at + 32 == len(data) and self.recipients

    def derive(self, key, use):
        return hkdf(key, self.file_id, b"sconce.sealed.1 " + use)

    def wrapping_key(self, kind, body, secret, passphrase):
        if kind == 1 and secret:
            mine = X25519PrivateKey.from_private_bytes(secret)
            public = mine.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            if body[32:40] == hashlib.sha256(self.file_id + public).digest()[:8]:
                shared = mine.exchange(X25519PublicKey.from_public_bytes(body[:32]))
                return hkdf(shared, body[:32] + public, b"sconce.sealed.1 x25519")
        if kind == 2 and passphrase:
            stretched = Scrypt(salt=body[:16], length=32, n=2 ** u32(body, 16), r=8, p=1).derive(passphrase)
            return hkdf(stretched, body[:16], b"sconce.sealed.1 scrypt")
        return None

    def open(self, secret=None, passphrase=None):
        """The file key."""
        for kind, body in self.recipients:
            wrapping = self.wrapping_key(kind, body, secret, passphrase)
            if wrapping is None:
                continue
            try:
                key = ChaCha20Poly1305(wrapping).decrypt(
                    bytes(12), body[-48:], self.data[8:16] + self.file_id + self.commitment)
            except InvalidTag:
                continue
            assert hmac.compare_digest(self.derive(key, b"commitment"), self.commitment)
            mac = hmac.new(self.derive(key, b"envelope"), self.data[:-32], "sha256").digest()
            assert hmac.compare_digest(mac, self.data[-32:])
            return key
        raise ValueError("no recipient fits")


def tensor_context(place, name, info):
    def text(t):
        return struct.pack("<Q", len(t.encode())) + t.encode()

    begin, end = info["data_offsets"]
    shape = info["shape"]
    return hashlib.sha256(
        struct.pack("<Q", place) + text(name) + text(info["dtype"])
        + struct.pack(f"<{len(shape) + 1}Q", len(shape), *shape) + struct.pack("<Q", end - begin)).digest()


# ---- the container ----


def head(flags, sizes):
    form, note = NOTES[flags & (PACKED | SEALED)]
    tensors, at = {"__metadata__": {"format": form, "note": note, "version": "1"}}, 0
    for name, size in sizes.items():
        tensors[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(tensors, separators=(",", ":")).encode()
    return struct.pack("<Q", 4088) + text.ljust(4088)


def read(file, secret=None, passphrase=None):
    """The original file. `secret`: 32 bytes; `passphrase`: bytes."""
    header = json.loads(file[8:4096])
    parts = {name: file[4096 + b : 4096 + e]
             for name, info in header.items() if name != "__metadata__" for b, e in [info["data_offsets"]]}
    index = parts["sconce.index"]
    assert index[:8] == b"SCONCEIX" and u32(index, 8) == 1 and u32(index, 16) == CHUNK and u32(index, 20) == 0
    flags, body_bytes = u32(index, 12), u64(index, 24)
    assert file[:4096] == head(flags, {n: len(parts[n]) for n in sorted(parts)})
    assert ("sconce.envelope" in parts) == bool(flags & SEALED)
    prefix, body, end = index[:32], index[32 : 32 + body_bytes], index[32 + body_bytes :]
    if flags & SEALED:
        envelope = Envelope(parts["sconce.envelope"])
        key = envelope.open(secret, passphrase)
        if flags & HIDDEN:
            cipher = envelope.cipher(envelope.derive(key, b"index hidden"))
            body = cipher.decrypt(bytes(12), body + end, prefix)
        else:
            cipher = envelope.cipher(envelope.derive(key, b"index in clear"))
            assert cipher.decrypt(bytes(12), end, prefix + body) == b""
    else:
        assert end == struct.pack("<Q", xxhash.xxh3_64_intdigest(prefix + body))

    head_bytes, stored_bytes, data_bytes, count = struct.unpack_from("<4Q", body)
    original = body[32 : 32 + stored_bytes]
    if stored_bytes < head_bytes:
        original = zstd(original, head_bytes)
    words = struct.unpack_from(f"<{count}I", body, 32 + stored_bytes)
    sums_at = 32 + stored_bytes + 4 * count
    sums = () if flags & SEALED else struct.unpack_from(f"<{count}Q", body, sums_at)
    assert not any(body[sums_at + 8 * len(sums) :])

    tensors = [(n, i) for n, i in json.loads(original[8:]).items() if n != "__metadata__"]
    # Tensors without bytes stand where the next one begins; their order is that of the header.
    tensors.sort(key=lambda item: tuple(item[1]["data_offsets"]))
    out, at, number, data = bytearray(original), 0, 0, parts["sconce.data"]
    for place, (name, info) in enumerate(tensors):
        size = info["data_offsets"][1] - info["data_offsets"][0]
        chunks = -(-size // CHUNK)
        for chunk in range(chunks):
            stored = data[at : at + (words[number] & 0xFFFFFF)]
            method, raw = words[number] >> 24, min(CHUNK, size - chunk * CHUNK)
            if flags & SEALED:
                cipher = envelope.cipher(envelope.derive(key, b"tensor" + tensor_context(place, name, info)))
                nonce = bytes(3) + struct.pack(">Q", chunk) + bytes([chunk + 1 == chunks])
                stored = cipher.decrypt(nonce, stored, struct.pack("<QQIB", chunk, chunks, raw, method))
            else:
                assert xxhash.xxh3_64_intdigest(stored) == sums[number]
            out += unpack_chunk(method, stored, info["dtype"], raw)
            at += words[number] & 0xFFFFFF
            number += 1
    assert number == count and at == len(data) and len(out) == head_bytes + data_bytes
    return bytes(out)
