"""Makes the signature files here that must be refused, one for each lie, and expected.tsv: for each
the words its error must hold. Needs the package cryptography.

    python src/formats/signing/hostile/make.py

Files whose payload lies are properly signed with a key that is made and forgotten here; key.pub is
its public half. So a run replaces all files.
"""

import base64
import copy
import hashlib
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = pathlib.Path(__file__).parent
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
TYPE = "application/vnd.in-toto+json"
cases = {}


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def b64(data):
    return base64.b64encode(data).decode()


def pae(payload):
    return b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)


def sign(payload, key=KEY, digest=hashes.SHA256()):
    return key.sign(pae(payload), ec.ECDSA(digest))


def bundle(payload, sig=None, key=KEY):
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(public_pem(key)).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": b64(payload),
            "payloadType": TYPE,
            "signatures": [{"sig": b64(sign(payload) if sig is None else sig), "keyid": ""}],
        },
    }


def statement(names=("a.bin", "b/c.bin"), **serialization_members):
    digests = [hashlib.sha256(name.encode()).digest() for name in names]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root(digests)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
                **serialization_members,
            },
            "resources": [
                {"name": n, "algorithm": "sha256", "digest": d.hex()} for n, d in zip(names, digests)
            ],
        },
    }


def root(digests):
    return hashlib.sha256(b"".join(digests)).hexdigest()


def text(value):
    return json.dumps(value, separators=(",", ":"))


GOOD = text(statement()).encode()


def case(name, content, expected):
    """Bytes, text or a value for the whole file."""
    assert name not in cases
    if not isinstance(content, (bytes, str)):
        content = text(content)
    cases[name] = (content.encode("utf-8") if isinstance(content, str) else content, expected)


def edited(name, path, value, expected):
    """A good bundle with one member replaced; a value of ... removes it."""
    whole = bundle(GOOD)
    at = whole
    for part in path[:-1]:
        at = at[part]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    case(name, whole, expected)


def payload(name, content, expected):
    """A properly signed payload."""
    if not isinstance(content, (bytes, str)):
        content = text(content)
    case("payload_" + name, bundle(content.encode() if isinstance(content, str) else content), expected)


def payload_edited(name, path, value, expected):
    whole = statement()
    at = whole
    for part in path[:-1]:
        at = at[part]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    payload(name, whole, expected)


def resource_edited(name, member, value, expected):
    payload_edited(name, ["predicate", "resources", 1, member], value, expected)


def tensors_edited(name, member, value, expected):
    entry = {"index": [0, 16], "sha256": "00" * 32, "tensors": {"w": "11" * 32}}
    entry[member] = value
    resource_edited("tensors_" + name, "annotations", {"sconce.tensors.v1": entry}, expected)


def shards(name, ranges, expected, size=10, path="a.bin"):
    whole = statement([f"{path}:{begin}:{end}" for begin, end in ranges], method="shards", shard_size=size)
    payload("shards_" + name, whole, expected)


def der(*integers):
    """A sequence of integers, also negative ones, in DER."""

    def element(tag, content):
        length = len(content)
        if length >= 128:
            size = (length.bit_length() + 7) // 8
            return bytes([tag, 128 | size]) + length.to_bytes(size, "big") + content
        return bytes([tag, length]) + content

    numbers = [n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True) for n in integers]
    return element(0x30, b"".join(element(2, n) for n in numbers))


def the_file():
    good = text(bundle(GOOD))
    case("empty", b"", "not the JSON")
    case("truncated", good[: len(good) // 2], "not the JSON")
    case("no_json", "signature", "not the JSON")
    case("two_documents", good + good, "not the JSON")
    case("no_utf8", good.replace("dsseEnvelope", "dsse\udcff").encode("utf-8", "surrogateescape"), "not the JSON")
    case("deep", "[" * 5000 + "]" * 5000, "not the JSON")
    case("deep_member", good[:-1] + ',"x":' + "[" * 5000 + "]" * 5000 + "}", "not the JSON")
    case("list", [bundle(GOOD)], "found a list, wanted an object")
    case("member_twice", good[:-1] + ',"dsseEnvelope":{}}', '"dsseEnvelope" stands there twice')
    case("member_unknown", {**bundle(GOOD), "extra": 1}, 'member "extra" is unknown')
    edited("media_type_other", ["mediaType"], "application/json", 'mediaType: found "application/json"')
    edited("media_type_number", ["mediaType"], 3, "mediaType: found integer 3")
    edited("media_type_missing", ["mediaType"], ..., '"mediaType" is missing')


def the_material():
    m = ["verificationMaterial"]
    edited("material_missing", m, ..., '"verificationMaterial" is missing')
    edited("material_null", m, None, "verificationMaterial: found null")
    edited("material_empty", m, {}, "verificationMaterial: wanted exactly one")
    edited("material_unknown", m + ["x"], 1, 'verificationMaterial: member "x" is unknown')
    chain = {"certificates": [{"rawBytes": b64(b"no certificate")}]}
    edited("material_both", m + ["x509CertificateChain"], chain, "verificationMaterial: wanted exactly one")
    edited("material_keyless", m, {"certificate": chain["certificates"][0], "tlogEntries": []}, "keyless")
    edited("key_list", m + ["publicKey"], [], "verificationMaterial: publicKey: found a list")
    edited("key_hint_number", m + ["publicKey", "hint"], 7, "hint: found integer 7")
    edited("key_hint_other", m + ["publicKey", "hint"], "00" * 32, "it was signed by key")
    edited("log_object", m + ["tlogEntries"], {}, "tlogEntries: found an object")
    for name, certificates, expected in [
        ("none", [], "certificates: found 0"),
        ("many", chain["certificates"] * 17, "certificates: found 17"),
        ("no_base64", [{"rawBytes": "%%%"}], "certificates[0].rawBytes: found 3 characters"),
        ("empty", [{"rawBytes": ""}], "certificates[0].rawBytes: is empty"),
        ("text", ["x"], "certificates[0]: found string"),
    ]:
        edited("chain_" + name, m, {"x509CertificateChain": {"certificates": certificates}}, expected)


def the_envelope():
    e = ["dsseEnvelope"]
    edited("envelope_missing", e, ..., '"dsseEnvelope" is missing')
    edited("envelope_unknown", e + ["x"], 1, 'dsseEnvelope: member "x" is unknown')
    edited("envelope_payload_number", e + ["payload"], 1, "dsseEnvelope: payload: found integer 1")
    edited("envelope_payload_no_base64", e + ["payload"], "a b c", "dsseEnvelope: payload: found 5 characters")
    edited("envelope_payload_empty", e + ["payload"], "", "dsseEnvelope: payload: is empty")
    edited("envelope_payload_huge", e + ["payload"], "A" * 20001, "found 20001 characters that are not base64")
    edited("envelope_type_other", e + ["payloadType"], "text/plain", 'payloadType: found "text/plain"')
    edited("envelope_signatures_none", e + ["signatures"], [], "signatures: found 0 entries")
    edited("envelope_signatures_object", e + ["signatures"], {}, "signatures: found an object")
    first = bundle(GOOD)["dsseEnvelope"]["signatures"][0]
    edited("envelope_signatures_two", e + ["signatures"], [first, first], "signatures: found 2 entries")
    edited("envelope_signature_unknown", e + ["signatures", 0, "cert"], "x", 'signatures[0]: member "cert" is unknown')
    edited("envelope_signature_missing", e + ["signatures", 0, "sig"], ..., 'signatures[0]: member "sig" is missing')
    edited("envelope_signature_keyid", e + ["signatures", 0, "keyid"], 5, "signatures[0].keyid: found integer 5")


def the_signature():
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    holds_not = "the signature does not hold"
    good = sign(GOOD)
    r, s = decode_dss_signature(good)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for name, sig in {
        "garbage": b"\x30\x80garbage",
        "trailing": good + b"\0",
        "truncated": good[:-1],
        "long_length": b"\x30\x81" + good[1:],
        "plain": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "r_zero": der(0, s),
        "s_zero": der(r, 0),
        "both_zero": der(0, 0),
        "r_order": der(order, s),
        "s_above_order": der(r, s + order),
        "negative": der(-r, s),
        "huge_integer": der(1 << 20000, s),
        "other_payload": sign(GOOD + b" "),
        "payload_itself": KEY.sign(GOOD, ec.ECDSA(hashes.SHA256())),
        "other_key": sign(GOOD, OTHER),
        "other_curve": sign(GOOD, OTHER_CURVE, hashes.SHA384()),
        "other_hash": sign(GOOD, KEY, hashes.SHA384()),
    }.items():
        case("signature_" + name, bundle(GOOD, sig), holds_not)
    changed = bundle(GOOD)
    changed["dsseEnvelope"]["payload"] = b64(GOOD.replace(b"a.bin", b"x.bin"))
    case("signature_payload_changed", changed, holds_not)
    without_hint = bundle(GOOD, sign(GOOD, OTHER))
    without_hint["verificationMaterial"]["publicKey"] = {}
    case("signature_without_hint", without_hint, holds_not)
    # The key in the file is the attacker's; only keys that were given from outside count.
    own_key = copy.deepcopy(without_hint)
    own_key["verificationMaterial"]["publicKey"] = {"rawBytes": b64(public_pem(OTHER)), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    case("signature_brings_its_key", own_key, holds_not)
    printed = "DSSEV1 %d %s %d %s" % (len(TYPE), TYPE, len(GOOD), GOOD)
    case("signature_of_version_0_2", bundle(GOOD, KEY.sign(printed.encode(), ec.ECDSA(hashes.SHA256()))), "version 0.2")


def the_statement():
    payload("no_json", "hello", "the payload is not JSON")
    payload("truncated", GOOD[:-1], "the payload is not JSON")
    payload("deep", '{"_type":' + "[" * 5000, "the payload is not JSON")
    payload("list", "[]", "found a list, wanted an object")
    payload("type_twice", GOOD[:-1] + b',"_type":"x"}', '"_type" stands there twice')
    payload_edited("type_other", ["_type"], "https://in-toto.io/Statement/v0.1", "_type: found")
    payload_edited("predicate_type_other", ["predicateType"], "https://example.com/x", "predicateType: found")
    old = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/Digests/v0.1",
        "subject": [{"name": "a.bin", "digest": {"sha256": "00" * 32}}],
        "predicate": {},
    }
    payload("version_0_2", old, "version 0.2")
    payload_edited("subject_missing", ["subject"], ..., '"subject" is missing')
    payload_edited("subject_none", ["subject"], [], "subject: found 0 entries")
    payload_edited("subject_two", ["subject"], statement()["subject"] * 2, "subject: found 2 entries")
    payload_edited("subject_name_number", ["subject", 0, "name"], 1, "subject: [0]: name: found integer 1")
    payload_edited("subject_digest_other", ["subject", 0, "digest"], {"sha512": "00" * 64}, '"sha256" is missing')
    payload_edited("root_wrong", ["subject", 0, "digest", "sha256"], "00" * 32, "the listed resources hash to")
    payload_edited("predicate_missing", ["predicate"], ..., '"predicate" is missing')
    payload_edited("predicate_list", ["predicate"], [], "predicate: found a list")
    swapped = statement()
    swapped["predicate"]["resources"].reverse()
    payload("resources_swapped", swapped, "the listed resources hash to")


def the_serialization():
    s = ["predicate", "serialization"]
    payload_edited("serialization_missing", s, ..., '"serialization" is missing')
    payload_edited("method_other", s + ["method"], "tree", "predicate.serialization: method: found")
    payload_edited("method_missing", s + ["method"], ..., '"method" is missing')
    payload_edited("hash_other", s + ["hash_type"], "md5", 'hash_type: found "md5"')
    payload_edited("hash_blake3", s + ["hash_type"], "blake3", "no BLAKE3")
    payload_edited("symlinks_text", s + ["allow_symlinks"], "false", "allow_symlinks: found string")
    payload_edited("symlinks_missing", s + ["allow_symlinks"], ..., '"allow_symlinks" is missing')
    payload_edited("ignores_text", s + ["ignore_paths"], "a", "ignore_paths: found string")
    payload_edited("ignores_number", s + ["ignore_paths"], [1], "ignore_paths[0]: found integer 1")
    payload_edited("ignores_all", s + ["ignore_paths"], ["."], "ignore_paths[0]")
    payload_edited("ignores_nothing", s + ["ignore_paths"], ["x", ""], "ignore_paths[1]")
    payload_edited("ignores_parent", s + ["ignore_paths"], ["../x"], "ignore_paths[0]")
    payload_edited("ignores_absolute", s + ["ignore_paths"], ["/etc"], "ignore_paths[0]")
    twice = GOOD.replace(b'"hash_type":"sha256"', b'"hash_type":"sha256","hash_type":"blake2b"')
    payload("hash_twice", twice, '"hash_type" stands there twice')


def the_resources():
    payload("resources_none", statement([]), "predicate.resources: found no entry")
    payload_edited("resources_object", ["predicate", "resources"], {}, "resources: found an object")
    payload_edited("resource_text", ["predicate", "resources", 1], "b", "resources: [1]: found string")
    for name, path, expected in [
        ("absolute", "/etc/passwd", "is absolute"),
        ("parent", "../x", '".."'),
        ("parent_inside", "a/../../x", '".."'),
        ("parent_last", "a/..", '".."'),
        ("empty", "", "names the whole model or nothing"),
        ("dots", "./.", "names the whole model or nothing"),
        ("zero_byte", "a\0b", "zero byte"),
    ]:
        payload("name_" + name, statement(["a.bin", path]), expected)
    payload("name_number", text(statement()).replace('"b/c.bin"', "5"), "[1]: name: found integer 5")
    payload("name_dot_and_others", statement([".", "a.bin"]), '"." is a model of one file')
    payload("name_others_and_dot", statement(["-a", "."]), '"." is a model of one file')
    payload("resource_twice", statement(["a.bin", "a.bin"]), '"a.bin" stands there twice')
    payload("resource_twice_other_spelling", statement(["a/b", "./a//b"]), '"a/b" stands there twice')
    resource_edited("algorithm_other", "algorithm", "sha512", 'algorithm: found "sha512"')
    resource_edited("algorithm_missing", "algorithm", ..., '"algorithm" is missing')
    resource_edited("digest_short", "digest", "00" * 31, "wanted a sha256 digest of 64")
    resource_edited("digest_long", "digest", "00" * 64, "wanted a sha256 digest of 64")
    resource_edited("digest_no_hex", "digest", "0x" + "00" * 31, "wanted a sha256 digest of 64")
    resource_edited("digest_null", "digest", None, "digest: found null")
    resource_edited("annotations_text", "annotations", "x", "annotations: found string")
    twice = GOOD.replace(b'"name":"b/c.bin"', b'"name":"b/c.bin","name":"b/d.bin"')
    payload("resource_name_twice", twice, '"name" stands there twice')


def the_tensors():
    tensors_edited("index_reversed", "index", [16, 0], "index: found [16, 0]")
    tensors_edited("index_empty", "index", [4, 4], "index: found [4, 4]")
    tensors_edited("index_negative", "index", [-8, 8], "index: found [-8, 8]")
    tensors_edited("index_three", "index", [0, 1, 2], "index: wanted [begin, end]")
    tensors_edited("index_float", "index", [0, 1.5], "index: found number 1.5")
    tensors_edited("index_huge", "index", [0, 2**63], "index: found integer")
    tensors_edited("sha256_short", "sha256", "00", "sha256: found")
    tensors_edited("list", "tensors", [], "tensors: found a list")
    tensors_edited("digest_number", "tensors", {"w": 1}, 'tensors."w": found integer 1')
    tensors_edited("digest_short", "tensors", {"w": "11"}, 'tensors."w": found')
    name = '"w":"' + "11" * 32 + '"'
    whole = statement()
    whole["predicate"]["resources"][1]["annotations"] = {
        "sconce.tensors.v1": {"index": [0, 16], "sha256": "00" * 32, "tensors": {"w": "11" * 32}}
    }
    payload("tensors_twice", text(whole).replace(name, name + "," + name), '"w" stands there twice')


def the_shards():
    shards("hole", [(0, 10), (20, 30)], "begins at 20, wanted 10")
    shards("overlap", [(0, 10), (5, 15)], "begins at 5, wanted 10")
    shards("late", [(10, 20)], "begins at 10, wanted 0")
    shards("twice", [(0, 10), (0, 10)], "begins at 0, wanted 10")
    shards("short_inside", [(0, 5), (5, 15)], "has 5 bytes, shard_size is 10")
    shards("large", [(0, 11)], "has 11 bytes, shard_size is 10")
    shards("empty", [(0, 0)], 'wanted "path:begin:end"')
    shards("reversed", [(10, 0)], 'wanted "path:begin:end"')
    shards("overflow", [(0, 2**64)], 'wanted "path:begin:end"')
    shards("parent", [(0, 10)], '".."', path="../a")
    for name, size in {"zero": 0, "negative": -1, "half": 0.5, "huge": 1e300}.items():
        shards("size_" + name, [(0, 10)], "shard_size: found", size=size)
    shards("size_text", [(0, 10)], "shard_size: found string", size="10")
    payload("shards_without_size", statement(["a:0:1"], method="shards"), '"shard_size" is missing')
    payload("shards_plain_name", statement(["a"], method="shards", shard_size=1), 'wanted "path:begin:end"')
    payload("shards_leading_zero", statement(["a:0:01"], method="shards", shard_size=1), 'wanted "path:begin:end"')
    payload("shards_sign", statement(["a:0:+1"], method="shards", shard_size=1), 'wanted "path:begin:end"')


def main():
    for group in (the_file, the_material, the_envelope, the_signature, the_statement, the_serialization,
                  the_resources, the_tensors, the_shards):
        group()
    for old in HERE.glob("*.sig"):
        old.unlink()
    for name, (content, _) in cases.items():
        (HERE / f"{name}.sig").write_bytes(content)
    rows = [f"{name}\t{expected}\n" for name, (_, expected) in sorted(cases.items())]
    (HERE / "expected.tsv").write_text("".join(rows))
    (HERE / "key.pub").write_bytes(public_pem(KEY))
    print(f"{len(cases)} files")


if __name__ == "__main__":
    main()
