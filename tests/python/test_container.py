"""Packed and sealed tensor files: what the CLI writes is read by a decoder written from the pages
alone (container_format.py) and opened by the reference reader; what it reads it checks."""

import json
import os
import struct
import subprocess

import numpy as np
import pytest

import container_format

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
PASSPHRASE = b"correct horse"


def build(tensors, metadata=None, padding=0):
    """A safetensors file by hand: (name, dtype, shape, bytes), in any order, with any header padding."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode() + b" " * padding
    return struct.pack("<Q", len(text)) + text + data


def sample():
    rng = np.random.default_rng(5)
    weights = rng.normal(0, 0.05, 90_000).astype(np.float32)
    bits = weights.view(np.uint32)
    nan = np.arange(3000, dtype=np.uint32) * 1397 % 0x7FFFFF + 1 | 0x7F800000
    nan[::2] |= 0x80000000
    tensors = [
        ("layer.weight", "F32", [300, 300], weights.tobytes()),
        ("layer.bf16", "BF16", [90_000], (bits >> 16).astype(np.uint16).tobytes()),
        ("layer.f16", "F16", [2, 45_000], weights.astype(np.float16).tobytes()),
        ("layer.f64", "F64", [30_000], weights[:30_000].astype(np.float64).tobytes()),
        ("nan \u00e9\n", "F32", [3000], nan.tobytes()),
        ("ids", "I64", [40_000], np.arange(40_000, dtype=np.int64).tobytes()),
        ("rows", "F32", [100, 900], np.tile(weights[:900], 100).tobytes()),
        ("zeros", "C64", [50_000], bytes(400_000)),
        ("noise", "U8", [600_001], rng.integers(0, 256, 600_001, dtype=np.uint8).tobytes()),
        ("skewed", "I8", [100_000], rng.geometric(0.4, 100_000).astype(np.int8).tobytes()),
    ]
    for dtype, bits in BITS.items():
        size = 24 * bits // 8
        tensors.append((f"small.{dtype}", dtype, [2, 3, 4], rng.integers(0, 256, size, dtype=np.uint8).tobytes()))
        tensors.append((f"none.{dtype}", dtype, [3, 0], b""))
    return build(tensors, {"format": "pt", "about": "a\u2603"}, padding=5)


class Tool:
    def __init__(self, sconce, folder):
        self.sconce, self.folder = sconce, folder
        self.run("sealkey", "-o", "me.key")
        self.public = (folder / "me.pub").read_text().strip()
        lines = (folder / "me.key").read_text().splitlines()
        self.secret = container_format.key_bytes([line for line in lines if not line.startswith("#")][0])
        (folder / "pass").write_bytes(PASSPHRASE + b"\n")

    def run(self, *arguments, code=0, **options):
        done = subprocess.run([self.sconce, "tensors", *arguments], cwd=self.folder, capture_output=True, text=True,
                              **options)
        assert done.returncode == code, f"{arguments}: {done.returncode}, {code} wanted\n{done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def tool(sconce, tmp_path_factory):
    folder = tmp_path_factory.mktemp("container")
    (folder / "source").write_bytes(sample())
    return Tool(sconce, folder)


KINDS = {
    "packed": ["pack"],
    "sealed": ["seal", "--to", "me.pub", "--cipher", "aes"],
    "both": ["seal", "--to", "me.pub", "--pack", "--cipher", "chacha"],
    "hidden": ["seal", "--to", "me.pub", "--pack", "--hide-names", "--cipher", "aes"],
    "passphrase": ["seal", "--passphrase-file", "pass", "--passphrase-cost", "12", "--hide-names"],
}
OPEN = {"packed": ["unpack"], "passphrase": ["open", "--passphrase-file", "pass"]}


def write(tool, kind, source="source", extra=()):
    tool.run(*KINDS[kind], *extra, source, "-o", kind)
    return (tool.folder / kind).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_decoder_gives_back_the_file(tool, kind):
    file = write(tool, kind)
    source = (tool.folder / "source").read_bytes()
    passphrase = PASSPHRASE if kind == "passphrase" else None
    assert container_format.read(file, tool.secret, passphrase) == source
    tool.run(*OPEN.get(kind, ["open", "--key", "me.key"]), kind, "-o", "back")
    assert (tool.folder / "back").read_bytes() == source


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_reader_opens_it_and_sees_bytes(tool, kind):
    import safetensors

    write(tool, kind)
    with safetensors.safe_open(tool.folder / kind, "numpy") as file:
        assert set(file.keys()) - {"sconce.envelope"} == {"sconce.data", "sconce.index"}
        assert all(file.get_tensor(name).dtype == np.uint8 for name in file.keys())
        assert "sconce tensors" in file.metadata()["note"]


def test_threads_do_not_change_a_packed_file(tool):
    files = {write(tool, "packed", extra=["--threads", str(n)]) for n in (1, 2, 3, 4)}
    assert len(files) == 1


def test_packing_gains_what_it_should(tool):
    file = write(tool, "packed")
    assert len(file) < 0.70 * (tool.folder / "source").stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_told_and_nothing_is_written(tool, kind):
    file = bytearray(write(tool, kind))
    (tool.folder / "kept").write_bytes(b"as it was")
    for at in [0, 20, 3000, 4096, len(file) // 2, len(file) - 900, len(file) - 40, len(file) - 1]:
        file[at] ^= 4
        (tool.folder / "bad").write_bytes(file)
        file[at] ^= 4
        text = tool.run(*OPEN.get(kind, ["open", "--key", "me.key"]), "bad", "-o", "kept", code=4)
        assert text.startswith("sconce: bad: ") and len(text) > 30
        assert (tool.folder / "kept").read_bytes() == b"as it was"
    assert not list(tool.folder.glob("*.partial")) + list(tool.folder.glob(".*.partial"))


def test_wrong_keys_and_passphrases_are_told_from_damage(tool):
    write(tool, "both")
    write(tool, "passphrase")
    other = tool.folder / "other.key"
    if not other.exists():
        tool.run("sealkey", "-o", "other.key")
    assert "none of the 1 keys" in tool.run("open", "both", "--key", "other.key", code=3)
    (tool.folder / "wrong").write_text("incorrect horse\n")
    assert "passphrase" in tool.run("open", "passphrase", "--passphrase-file", "wrong", code=3)
    assert "is sealed" in tool.run("unpack", "both", code=3)
    write(tool, "packed")
    assert "is not sealed" in tool.run("open", "packed", "--key", "me.key", code=4)
    assert "not a packed or sealed file" in tool.run("unpack", "source", code=4)
    assert "for whom" in tool.run("seal", "source", "-o", "x", code=3)
    tool.run("sealkey", "-o", "me.key", code=3)  # keys are never overwritten
    assert os.stat(tool.folder / "me.key").st_mode & 0o77 == 0


def test_recipients_change_without_the_data(tool):
    before = write(tool, "both")
    if not (tool.folder / "bob.key").exists():
        tool.run("sealkey", "-o", "bob.key")
    report = json.loads(tool.run("rotate", "both", "-o", "after", "--key", "me.key", "--add", "bob.pub",
                                 "--add-passphrase-file", "pass", "--add-passphrase-cost", "10",
                                 "--remove", tool.public, "--json"))
    assert (report["keys"], report["passphrases"]) == (1, 1)
    after = (tool.folder / "after").read_bytes()
    assert before[4096 : len(before) // 2] == after[4096 : len(before) // 2]
    source = (tool.folder / "source").read_bytes()
    assert container_format.read(after, passphrase=PASSPHRASE) == source
    tool.run("open", "after", "--key", "me.key", code=3)
    assert json.loads(tool.run("open", "after", "--key", "bob.key", "--json"))["tensors_bytes"] == len(source)
    tool.run("rotate", "after", "-o", "nobody", "--key", "bob.key", "--remove", "bob.pub", "--remove-passphrases",
             code=3)
    assert not (tool.folder / "nobody").exists()


def test_passphrases_come_from_a_descriptor(tool):
    write(tool, "passphrase")
    read, send = os.pipe()
    os.write(send, PASSPHRASE + b"\n")
    os.close(send)
    tool.run("open", "passphrase", "--passphrase-file", f"/dev/fd/{read}", pass_fds=[read])
    os.close(read)
