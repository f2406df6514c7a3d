"""Signatures of models: model-signing 1.1.1 verifies ours, we verify its; certificates; single tensors.

The reference runs as its users run it, by its command line, and by its API where that can more.
"""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from safetensors.numpy import save_file

CLI = os.environ.get("SCONCE_CLI", str(pathlib.Path(__file__).parents[2] / "build/dev/sconce"))
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def sconce(*arguments, stdin=None, code=0):
    """Output of `sconce tensors ...`, which must end with `code`."""
    done = subprocess.run([CLI, "tensors", *map(str, arguments)], capture_output=True, text=True, input=stdin)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def reference(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "model_signing", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def write_key(path, key):
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path.with_suffix(".pub").write_bytes(public)
    return path


def certificate(name, key, issuer=None, *, authority=False, usage="digital_signature", extended="code",
                start=NOW - 10 * DAY, end=NOW + 1000 * DAY):
    """(certificate, key, name), signed by `issuer`, such a triple, or by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed_by = issuer or (None, key, subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by[2])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    usage = "key_cert_sign" if authority else usage
    if usage:
        builder = builder.add_extension(x509.KeyUsage(**{n: n == usage for n in names}), critical=True)
    purposes = {"code": ExtendedKeyUsageOID.CODE_SIGNING, "server": ExtendedKeyUsageOID.SERVER_AUTH}
    if extended and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purposes[extended]]), critical=False)
    return builder.sign(signed_by[1], hashes.SHA256()), key, subject


def write_pem(path, *triples):
    path.write_bytes(b"".join(t[0].public_bytes(serialization.Encoding.PEM) for t in triples))
    return path


class Authority:
    """root -> intermediate, to issue leaves."""

    def __init__(self, folder, name="root"):
        self.folder = folder
        self.root = certificate(name, ec.generate_private_key(ec.SECP384R1()), authority=True)
        self.middle = certificate("middle", ec.generate_private_key(ec.SECP256R1()), self.root, authority=True)
        self.roots = write_pem(folder / "root.pem", self.root)
        self.chain = write_pem(folder / "middle.pem", self.middle)

    def leaf(self, curve=ec.SECP256R1(), issuer=None, **options):
        """Arguments that sign with a new leaf, ours and the reference's."""
        key = ec.generate_private_key(curve)
        leaf = write_pem(self.folder / "leaf.pem", certificate("leaf", key, issuer or self.middle, **options))
        path = write_key(self.folder / "leaf.key", key)
        return (
            ["--key", path, "--certificate", leaf, "--chain", self.chain],
            ["--private_key", path, "--signing_certificate", leaf, "--certificate_chain", self.chain],
        )


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def model(tmp_path):
    """A folder as models are: nested folders, names that sort differently by path, an empty file."""
    folder = tmp_path / "model"
    random = numpy.random.default_rng(7)
    for name, content in {
        "config.json": b"{}",
        "a/b.txt": b"by path this one comes first",
        "a-b.txt": b"by code point this one",
        "a/c/d/deep.bin": random.bytes(70000),
        "empty": b"",
        "caf\u00e9 \u6a21\u578b.txt": b"names are UTF-8",
        "with space:and colon": b"x",
        "large.bin": random.bytes(9_000_000),
        ".hidden": b"dot files are files",
        ".git/HEAD": b"left out",
        "a/.git/HEAD": b"not at the top: signed",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    save_file(tensors(random), folder / "model.safetensors", {"format": "pt"})
    return folder


def tensors(random):
    return {
        "w": random.standard_normal((300, 7), dtype=numpy.float32),
        "v": random.standard_normal((300, 7), dtype=numpy.float32),
        "ids": numpy.arange(5, dtype=numpy.int64),
        "scalar": numpy.array(3, numpy.float16),
        "none": numpy.zeros((0, 4), numpy.uint8),
    }


@pytest.fixture
def key(tmp_path):
    sconce("keygen", "-o", tmp_path / "k.pem")
    return tmp_path / "k.pem"


def pub(key):
    return key.with_suffix(".pub")


def statement_of(signature):
    return json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))


# Both directions


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("inside", [False, True])
def test_by_key_both_verify_what_the_other_signed(model, tmp_path, curve, inside):
    key = tmp_path / "k.pem"
    sconce("keygen", "-o", key, "--curve", curve)
    signature = (model if inside else tmp_path) / "model.sig"
    sconce("sign", model, "--key", key, "-o", signature)
    reference("verify", "key", model, "--signature", signature, "--public_key", pub(key))
    signature.unlink()
    reference("sign", "key", model, "--signature", signature, "--private_key", key)
    report = json.loads(sconce("verify", model, "--signature", signature, "--key", pub(key), "--json"))
    assert report["verified"] and report["files"] == 11


@pytest.mark.parametrize("curve", CURVES)
def test_by_certificate_both_verify_what_the_other_signed(model, tmp_path, authority, curve):
    ours, theirs = authority.leaf(CURVES[curve])
    signature = tmp_path / "model.sig"
    sconce("sign", model, *ours, "-o", signature)
    reference("verify", "certificate", model, "--signature", signature, "--certificate_chain", authority.roots)
    signature.unlink()
    reference("sign", "certificate", model, "--signature", signature, *theirs)
    report = json.loads(sconce("verify", model, "--signature", signature, "--roots", authority.roots, "--json"))
    assert [link["subject"] for link in report["chain"]] == ["CN=leaf", "CN=middle", "CN=root"]


def test_both_notice_what_was_changed_in_what_the_other_signed(model, tmp_path, key):
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    sconce("sign", model, "--key", key, "-o", ours)
    reference("sign", "key", model, "--signature", theirs, "--private_key", key)

    def both_refuse(words):
        reference("verify", "key", model, "--signature", ours, "--public_key", pub(key), code=1)
        assert words in sconce("verify", model, "--signature", theirs, "--key", pub(key), code=1)

    deep = model / "a/c/d/deep.bin"
    before = deep.read_bytes()
    deep.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    both_refuse('"a/c/d/deep.bin" was changed: signed ' + hashlib.sha256(before).hexdigest())
    deep.unlink()
    both_refuse('"a/c/d/deep.bin" is missing')
    deep.write_bytes(before)
    (model / "a/c/new.py").write_text("import os")
    both_refuse('"a/c/new.py" is not signed')
    reference("verify", "key", model, "--signature", ours, "--public_key", pub(key), "--ignore_unsigned_files")
    told = sconce("verify", model, "--signature", theirs, "--key", pub(key), "--ignore-unsigned")
    assert 'warning: "a/c/new.py" is not signed' in told


def test_both_leave_out_the_same_paths(model, tmp_path, key):
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    sconce("sign", model, "--key", key, "-o", ours, "--ignore", "a", "--ignore", model / "empty")
    reference("sign", "key", model, "--signature", theirs, "--private_key", key,
              "--ignore-paths", model / "a", "--ignore-paths", model / "empty")
    names = [[r["name"] for r in statement_of(s)["predicate"]["resources"]] for s in (ours, theirs)]
    assert sorted(names[0]) == sorted(names[1])
    assert names[0] == sorted(names[0]) and "a-b.txt" in names[0] and "a/b.txt" not in names[0]
    (model / "a/b.txt").write_text("changed")
    told = sconce("verify", "--key", pub(key), "--signature", theirs, "--ignore", "nothing", model)
    assert 'says nothing about "a", "empty"' in told.replace('"empty", "a"', '"a", "empty"')
    arguments = ["--ignore-paths", model / "a", "--ignore-paths", model / "empty"]
    reference("verify", "key", model, "--signature", ours, "--public_key", pub(key), *arguments)


def test_both_refuse_symbolic_links_and_take_them_when_allowed(model, tmp_path, key):
    (model / "link").symlink_to("config.json")
    signature = tmp_path / "model.sig"
    assert '"link" is a symbolic link' in sconce("sign", model, "--key", key, "-o", signature, code=3)
    assert not signature.exists()
    sconce("sign", model, "--key", key, "-o", signature, "--allow-symlinks")
    reference("verify", "key", model, "--signature", signature, "--public_key", pub(key), "--allow_symlinks")
    reference("verify", "key", model, "--signature", signature, "--public_key", pub(key), code=1)
    reference("sign", "key", model, "--signature", signature, "--private_key", key, "--allow_symlinks")
    sconce("verify", model, "--signature", signature, "--key", pub(key))


def test_one_file_has_the_name_of_the_format_or_of_the_reference(model, tmp_path, key):
    file, signature = model / "large.bin", tmp_path / "large.sig"
    reference("sign", "key", file, "--signature", signature, "--private_key", key)
    sconce("verify", file, "--signature", signature, "--key", pub(key))
    sconce("sign", file, "--key", key, "-o", signature, "--dot-name")
    reference("verify", "key", file, "--signature", signature, "--public_key", pub(key))
    sconce("sign", file, "--key", key, "-o", signature)
    assert [r["name"] for r in statement_of(signature)["predicate"]["resources"]] == ["large.bin"]
    sconce("verify", file, "--signature", signature, "--key", pub(key))


@pytest.mark.parametrize("method", ["blake2", "shards", "blake3"])
def test_other_hashes_and_shards_of_the_reference_are_read_or_refused_by_name(model, tmp_path, key, method):
    from model_signing import hashing, signing

    (model / "with space:and colon").unlink()  # the reference cannot read such a name back
    (model / "empty").unlink()
    signature = tmp_path / "model.sig"
    config = hashing.Config()
    if method == "shards":
        config.use_shard_serialization(shard_size=4_000_000)
    else:
        config.use_file_serialization(hashing_algorithm=method)
    signer = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(config)
    signer.sign(model, signature)
    arguments = ["verify", model, "--signature", signature, "--key", pub(key)]
    if method == "blake3":
        assert "OpenSSL has no BLAKE3" in sconce(*arguments, code=1)
        return
    sconce(*arguments)
    with open(model / "large.bin", "r+b") as file:
        file.seek(8_500_000)
        file.write(b"changed")
    assert '"large.bin' in sconce(*arguments, code=1)


# What is written


def test_the_signature_is_what_the_format_says(model, tmp_path, key):
    """Rebuilt from the documents with hashlib and cryptography alone."""
    signature = tmp_path / "model.sig"
    sconce("sign", model, "--key", key, "-o", signature)
    text = signature.read_text()
    bundle = json.loads(text)
    assert text == json.dumps(bundle, separators=(",", ":"))
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    public = serialization.load_pem_public_key(pub(key).read_bytes())
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed, ec.ECDSA(hashes.SHA256()))
    hint = hashlib.sha256(pub(key).read_bytes()).hexdigest()
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": hint}, "tlogEntries": []}
    statement = json.loads(payload)
    assert statement["subject"][0]["name"] == "model"
    predicate = statement["predicate"]
    resources = predicate["resources"]
    names = [r["name"] for r in resources]
    assert names == sorted(names)
    files = {str(p.relative_to(model)): p for p in model.rglob("*") if p.is_file()}
    del files[".git/HEAD"]
    assert set(names) == set(files)
    for resource in resources:
        assert resource["algorithm"] == "sha256"
        assert resource["digest"] == hashlib.sha256(files[resource["name"]].read_bytes()).hexdigest()
    root = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in resources)).hexdigest()
    assert statement["subject"][0]["digest"] == {"sha256": root}
    assert predicate["serialization"] == {
        "method": "files", "hash_type": "sha256", "allow_symlinks": False,
        "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore"],
    }
    [annotated] = [r for r in resources if "annotations" in r]
    assert annotated["annotations"]["sconce.tensors.v1"] == digests_of_tensors(model / annotated["name"])


def digests_of_tensors(path):
    data = path.read_bytes()
    size = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:size])
    header.pop("__metadata__", None)
    digests = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        head = f"sconce tensor 1\n{entry['dtype']}\n{','.join(map(str, entry['shape']))}\n".encode()
        digests[name] = hashlib.sha256(head + data[size + begin : size + end]).hexdigest()
    return {"index": [0, size], "sha256": hashlib.sha256(data[:size]).hexdigest(), "tensors": digests}


# Keys


def test_keys_are_private_never_overwritten_and_open_in_openssl(tmp_path, model):
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    key = tmp_path / "k.pem"
    sconce("keygen", "-o", key, "--passphrase-file", secret, "--curve", "P-384")
    assert key.stat().st_mode & 0o777 == 0o600
    loaded = serialization.load_pem_private_key(key.read_bytes(), b"open sesame")
    assert loaded.curve.name == "secp384r1"
    assert "never overwritten" in sconce("keygen", "-o", key, code=3)
    assert "P-256, P-384 or P-521" in sconce("keygen", "-o", tmp_path / "x.pem", "--curve", "P-192", code=3)
    signature = tmp_path / "model.sig"
    sconce("sign", model, "--key", key, "-o", signature, "--passphrase-file", "-", stdin="open sesame\n")
    sconce("verify", model, "--signature", signature, "--key", pub(key))
    secret.write_text("open barley\n")
    told = sconce("sign", model, "--key", key, "-o", signature, "--passphrase-file", secret, code=3)
    assert "the passphrase does not open the key" in told


def test_keys_of_other_kinds_are_refused_by_name(model, tmp_path):
    for made, words in [
        (ed25519.Ed25519PrivateKey.generate(), "ED25519"),
        (rsa.generate_private_key(65537, 2048), "RSA"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
    ]:
        key = write_key(tmp_path / "other.pem", made)
        assert words in sconce("sign", model, "--key", key, "-o", tmp_path / "x.sig", code=5)
        assert words in sconce("verify", model, "--key", pub(key), code=5)


def test_a_key_of_sec1_form_signs(model, tmp_path):
    made = ec.generate_private_key(ec.SECP256R1())
    key = write_key(tmp_path / "k.pem", made)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    key.write_bytes(made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    sconce("sign", model, "--key", key)
    sconce("verify", model, "--key", pub(key))


# Certificates


def verify_certificate(model, authority, words, *arguments, code=1):
    told = sconce("verify", model, "--signature", authority.folder / "model.sig", "--roots", authority.roots,
                  *arguments, code=code)
    assert words in told, told


def sign_with(model, authority, theirs):
    """By the reference, which signs with certificates that we refuse to sign with."""
    reference("sign", "certificate", model, "--signature", authority.folder / "model.sig", *theirs)


def test_certificates_count_when_valid_now_or_at_the_time_that_was_asked_for(model, authority):
    _, theirs = authority.leaf(start=NOW - 8 * DAY, end=NOW - 2 * DAY)
    sign_with(model, authority, theirs)
    verify_certificate(model, authority, 'certificate "CN=leaf" (the signer\'s) was valid until')
    at = (NOW - 5 * DAY).strftime("%Y-%m-%d")
    verify_certificate(model, authority, "vouched for by CN=root", "--at", at, code=0)
    before = (NOW - 9 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    verify_certificate(model, authority, "is valid from", "--at", before)
    verify_certificate(model, authority, "wanted 2026-01-31", "--at", "yesterday", code=3)


def test_certificates_that_may_not_sign_are_refused_when_signing_and_verifying(model, authority):
    for options, words in [
        ({"usage": "key_encipherment"}, "lacks digitalSignature"),
        ({"extended": "server"}, "lacks codeSigning"),
        ({"usage": None, "extended": None}, "states neither"),
    ]:
        ours, theirs = authority.leaf(**options)
        assert words in sconce("sign", model, *ours, "-o", authority.folder / "x.sig", code=4)
        if options == {"usage": None, "extended": None}:
            continue  # the reference refuses these too, when verifying
        sign_with(model, authority, theirs)
        verify_certificate(model, authority, words)
    for options in ({"usage": None}, {"extended": None}):
        ours, _ = authority.leaf(**options)
        sconce("sign", model, *ours, "-o", authority.folder / "model.sig")
        verify_certificate(model, authority, "verified", code=0)


def test_certificates_must_lead_to_a_root_that_was_given(model, authority, tmp_path):
    ours, _ = authority.leaf()
    signature = authority.folder / "model.sig"
    sconce("sign", model, *ours, "-o", signature)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "someone else")
    arguments = ["verify", model, "--signature", signature, "--roots"]
    assert "neither in the signature nor among the roots" in sconce(*arguments, other.roots, code=1)
    # Without the certificate in the middle the chain has a hole.
    sconce("sign", model, *ours[:4], "-o", signature)
    assert 'was issued by "CN=middle"' in sconce(*arguments, authority.roots, code=1)
    # A leaf is no authority: what it issues is nobody's.
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate("leaf", key, authority.middle)
    ours, _ = authority.leaf(issuer=leaf)
    write_pem(authority.folder / "middle.pem", leaf, authority.middle)
    sconce("sign", model, *ours, "-o", signature)
    assert 'certificate "CN=leaf"' in sconce(*arguments, authority.roots, code=1)


def test_a_certificate_that_vouches_for_itself_is_trusted_only_as_a_root(model, authority):
    key = ec.generate_private_key(ec.SECP256R1())
    alone = write_pem(authority.folder / "alone.pem", certificate("alone", key))
    signature = authority.folder / "model.sig"
    sconce("sign", model, "--key", write_key(authority.folder / "alone.key", key), "--certificate", alone,
           "-o", signature)
    verify_certificate(model, authority, "vouches for itself")
    sconce("verify", model, "--signature", signature, "--roots", alone)


def test_a_weak_root_or_middle_is_refused(model, authority):
    weak = certificate("weak", rsa.generate_private_key(65537, 1024), authority.root, authority=True)
    write_pem(authority.folder / "middle.pem", weak)
    _, theirs = authority.leaf(issuer=weak)
    sign_with(model, authority, theirs)
    verify_certificate(model, authority, "key too weak")


def test_the_key_must_be_that_of_the_certificate_and_trust_of_the_right_kind(model, authority, key):
    ours, _ = authority.leaf()
    signature = authority.folder / "model.sig"
    told = sconce("sign", model, "--key", key, *ours[2:], "-o", signature, code=3)
    assert "is not that of the private key" in told
    sconce("sign", model, *ours, "-o", signature)
    told = sconce("verify", model, "--signature", signature, "--key", pub(key), code=1)
    assert "it was signed by certificate" in told
    sconce("sign", model, "--key", key, "-o", signature)
    verify_certificate(model, authority, "it was signed by key, roots were given")
    assert "either --key" in sconce("verify", model, code=3)


# Single tensors


def test_one_tensor_is_verified_by_reading_it_and_the_header(model, tmp_path, key):
    signature = tmp_path / "model.sig"
    sconce("sign", model, "--key", key, "-o", signature)
    arguments = ["verify", model, "--signature", signature, "--key", pub(key), "--tensor"]
    report = json.loads(sconce(*arguments, "w", "--json"))
    data = (model / "model.safetensors").read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    assert report["bytes_read"] == header + 300 * 7 * 4
    assert report["tensors"] == [
        {"name": "w", "file": "model.safetensors", "dtype": "F32", "shape": [300, 7], "bytes": 8400}
    ]
    for name in ("ids", "scalar", "none"):
        sconce(*arguments, name)
    place = json.loads(data[8:header])["w"]["data_offsets"][0] + header
    changed = bytearray(data)
    changed[place] ^= 1
    (model / "model.safetensors").write_bytes(changed)
    assert 'tensor "w" was changed' in sconce(*arguments, "w", code=1)
    sconce(*arguments, "v")
    assert '"model.safetensors" was changed' in sconce(*arguments[:-1], code=1)
    assert 'no tensor "x" is signed' in sconce(*arguments, "x", code=6)


def test_a_signature_of_the_reference_has_no_digests_of_tensors(model, tmp_path, key):
    signature = tmp_path / "model.sig"
    reference("sign", "key", model, "--signature", signature, "--private_key", key)
    arguments = ["verify", model, "--signature", signature, "--key", pub(key), "--tensor", "w"]
    assert "only the whole model can be verified" in sconce(*arguments, code=5)


def test_help_shows_examples(model):
    for command in ("sign", "verify", "keygen"):
        assert f"  sconce tensors {command} " in sconce(command, "--help")
