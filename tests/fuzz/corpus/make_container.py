"""Makes the packed chunks, envelopes and indices that fuzzing starts from, with the tool:

    SCONCE_CLI=build/dev/sconce python make_container.py
"""

import base64
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parents[1] / "python"))
import container_format  # noqa: E402

LAYOUTS = [(1, False), (2, False), (2, True), (4, False), (4, True), (8, False), (8, True)]
rng = np.random.default_rng(1)
weights = rng.normal(0, 0.05, 700).astype(np.float32)
SAMPLES = {
    "bf16": ("BF16", (weights.view(np.uint32) >> 16).astype(np.uint16)),
    "f32": ("F32", weights[:300]),
    "f64": ("F64", weights[:200].astype(np.float64)),
    "i64": ("I64", np.arange(150)),
    "i8": ("I8", rng.geometric(0.4, 900).astype(np.int8)),
    "zeros": ("U16", np.zeros(400, np.uint16)),
    "rows": ("F32", np.tile(weights[:20], 30)),
}


def key_text(prefix, key):
    return prefix + base64.b64encode(key + hashlib.sha256(prefix.encode() + key).digest()[:4]).decode()


def safetensors(tensors):
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def parts(file):
    header = json.loads(file[8:4096])
    return {n: file[4096 + i["data_offsets"][0] : 4096 + i["data_offsets"][1]]
            for n, i in header.items() if n != "__metadata__"}


def body_of(index):
    return index[32 : 32 + container_format.u64(index, 24)]


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)

    def tool(*arguments):
        subprocess.run([os.environ["SCONCE_CLI"], "tensors", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    for name in ("packed", "sealed"):
        (here / name).mkdir(exist_ok=True)
    for name, sample in SAMPLES.items():
        (folder / "in").write_bytes(safetensors({name: sample}))
        tool("pack", "in", "-o", "out")
        made = parts((folder / "out").read_bytes())
        body = body_of(made["sconce.index"])
        method = container_format.u32(body, 32 + container_format.u64(body, 8)) >> 24
        dtype, values = sample
        layout = LAYOUTS.index((container_format.WIDTHS.get(dtype, 1), dtype in container_format.ROTATED))
        (here / "packed" / name).write_bytes(
            bytes([method, layout]) + struct.pack("<I", values.nbytes)[:3] + made["sconce.data"])

    # The key of fuzz_sealed.cc.
    secret = bytes([7] * 32)
    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    (folder / "pass").write_text("word\n")
    (folder / "in").write_bytes(safetensors({n: SAMPLES[n] for n in ("zeros", "rows", "i8")}))
    to = ["--to", key_text("sconce-pub-", public)]
    for name, arguments in {
        "one_key": to,
        "key_and_passphrase": [*to, "--passphrase-file", "pass", "--passphrase-cost", "10", "--cipher", "chacha"],
    }.items():
        tool("seal", "in", "-o", "out", *arguments)
        (here / "sealed" / f"envelope_{name}").write_bytes(bytes(3) + parts((folder / "out").read_bytes())["sconce.envelope"])
    for kind, arguments in {1: ["pack"], 2: ["seal", "--pack", *to]}.items():
        tool(*arguments, "in", "-o", "out")
        made = parts((folder / "out").read_bytes())
        data = made["sconce.data"]
        seed = bytes([kind]) + struct.pack("<H", len(data)) + data + body_of(made["sconce.index"])
        (here / "sealed" / ("index_packed" if kind == 1 else "index_sealed")).write_bytes(seed)
        if kind == 2:
            (here / "sealed" / "index_hidden").write_bytes(bytes([3]) + seed[1:])
