"""Makes the seeds of fuzz_signing: signatures and statements as they should be. Those that lie are in
src/formats/signing/hostile. Needs the package cryptography.

    python tests/fuzz/corpus/make_signing.py
"""

import datetime
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "src/formats/signing/hostile"))
import make  # noqa: E402

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402


def certificate():
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "seed")])
    start = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(make.KEY.public_key()).not_valid_before(start)
    builder = builder.not_valid_after(start + datetime.timedelta(days=20000))
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING])
    return builder.add_extension(usage, critical=False).sign(make.KEY, hashes.SHA256())


def main():
    folder = pathlib.Path(__file__).parent / "signing"
    folder.mkdir(exist_ok=True)
    shards = make.statement(["a:b.bin:0:10", "a:b.bin:10:12", "c:0:4"], method="shards", shard_size=10.0)
    blake = make.statement(["a"], hash_type="blake2b", allow_symlinks=True)
    blake["predicate"]["resources"][0].update(algorithm="blake2b", digest="ab" * 64)
    tensors = make.statement(["model.safetensors"], ignore_paths=[".git", "model.sig"])
    tensors["predicate"]["resources"][0]["annotations"] = {
        "sconce.tensors.v1": {"index": [0, 64], "sha256": "00" * 32, "tensors": {"a": "11" * 32, "é": "22" * 32}}
    }
    old = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/Digests/v0.1",
        "subject": [{"name": "a.bin", "digest": {"sha256": "00" * 32}}],
    }
    der = certificate().public_bytes(serialization.Encoding.DER)
    chain = make.bundle(make.GOOD)
    chain["verificationMaterial"] = {"x509CertificateChain": {"certificates": [{"rawBytes": make.b64(der)}]}}
    seeds = {
        "files": make.statement(["a.bin", "sub/b c.txt"]), "dot": make.statement(["."]), "shards": shards,
        "blake2b": blake, "tensors": tensors, "version_0_2": old, "key": make.bundle(make.GOOD), "chain": chain,
    }
    for name, value in seeds.items():
        (folder / f"{name}.json").write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    (folder / "key.pem").write_bytes(make.public_pem(make.KEY))
    (folder / "certificate.pem").write_bytes(certificate().public_bytes(serialization.Encoding.PEM))


main()
