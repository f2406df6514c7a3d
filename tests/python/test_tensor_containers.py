"""sconce.tensors.containers: packed, sealed and signed files from Python, and the commands beside it."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import test_safetensors_suite as suite

CLI = os.environ.get("SCONCE_CLI")


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """The package as it is installed, under the names that the tests use."""
    folder = tmp_path_factory.mktemp("package")
    suite.link_package(folder, suite.extension_folder())
    sys.path.insert(0, str(folder))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "sconce"}
    names = {"containers": importlib.import_module("sconce.tensors.containers"),
             "files": importlib.import_module("sconce.tensors.numpy"),
             "SafetensorError": importlib.import_module("sconce.tensors").SafetensorError}
    globals().update(names)
    yield
    sys.path.remove(str(folder))
    sys.modules.update(kept)


@pytest.fixture
def source(tmp_path):
    random = np.random.default_rng(7)
    tensors = {"weight": random.normal(0, 0.02, (300, 401)).astype(np.float32), "empty": np.zeros((0, 3), np.int64),
               "bias": np.arange(5, dtype=np.float16), "nan": np.full(3, np.nan, np.float64)}
    path = tmp_path / "m.safetensors"
    files.save_file(tensors, path, {"license": "none"})
    return path, tensors


def same(found, wanted):
    assert sorted(found) == sorted(wanted)
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype and found[name].shape == wanted[name].shape
        assert found[name].tobytes() == wanted[name].tobytes()


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_packs_and_gives_the_tensors_and_the_file_back(source, tmp_path):
    path, tensors = source
    packed = tmp_path / "p.safetensors"
    summary = containers.pack_file(path, packed)
    assert summary["file_bytes"] == packed.stat().st_size < path.stat().st_size == summary["source_bytes"]
    with containers.open_container(packed) as f:
        assert f.kind() == ("packed",) and f.metadata() == {"license": "none"}
        same(f.get_tensors(), tensors)
        f.restore(tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    with pytest.raises(SafetensorError, match="File is closed"):
        f.keys()


def test_seals_for_keys_and_passphrases_and_refuses_everyone_else(source, tmp_path):
    path, tensors = source
    sealed = tmp_path / "s.safetensors"
    containers.seal_file(path, sealed, passphrases=["correct horse"], pack=True, hide_names=True)
    with containers.open_container(sealed, passphrases=["correct horse"]) as f:
        assert f.kind() == ("packed", "sealed")
        same(f.get_tensors(), tensors)
    for wrong in [{}, {"passphrases": ["wrong"]}]:
        with pytest.raises(SafetensorError) as refused:
            containers.open_container(sealed, **wrong)
        assert refused.value.code == 3
    with pytest.raises(SafetensorError, match="for whom"):
        containers.seal_file(path, sealed)
    with pytest.raises(SafetensorError, match="not sealed"):
        containers.pack_file(path, tmp_path / "p")
        containers.open_container(tmp_path / "p", passphrases=["correct horse"])
    flip(sealed, 5000)
    with pytest.raises(SafetensorError) as refused:
        containers.open_container(sealed, passphrases=["correct horse"]).check()
    assert refused.value.code == 4


@pytest.fixture
def keys(tmp_path):
    if not CLI:
        pytest.skip("SCONCE_CLI names no sconce: keys are made by it")
    subprocess.run([CLI, "tensors", "keygen", "-o", tmp_path / "k.pem"], check=True, capture_output=True)
    return tmp_path / "k.pem", tmp_path / "k.pub"


def test_signs_while_it_packs_and_verifies_and_notices_a_change(source, keys, tmp_path):
    path, _ = source
    packed = tmp_path / "p.safetensors"
    containers.pack_file(path, packed, sign_key=keys[0])
    assert containers.verify(packed, key=keys[1])["files"] == 1
    flip(packed, 4500)
    with pytest.raises(SafetensorError):
        containers.verify(packed, key=keys[1])


def test_verifies_one_tensor_of_a_signed_folder(source, keys, tmp_path):
    path, _ = source
    model = tmp_path / "model"
    model.mkdir()
    path.rename(model / "m.safetensors")
    assert containers.sign(model, key=keys[0])["tensors"] == 4
    assert containers.verify(model, key=keys[1], tensor="weight")["bytes"] == 300 * 401 * 4
    flip(model / "m.safetensors", -1)
    with pytest.raises(SafetensorError):
        containers.verify(model, key=keys[1])


def run(*arguments, code=0):
    done = subprocess.run([CLI, "tensors", *map(str, arguments), "--json"], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else None


def test_the_commands_pack_seal_sign_rotate_open_and_verify(source, keys, tmp_path):
    path, tensors = source
    for name in ["alice", "bob"]:
        subprocess.run([CLI, "tensors", "sealkey", "-o", tmp_path / f"{name}.key"], check=True, capture_output=True)
    sealed, back = tmp_path / "s.safetensors", tmp_path / "back.safetensors"
    done = run("seal", path, "-o", sealed, "--to", tmp_path / "alice.pub", "--pack", "--sign", keys[0])
    assert done["signature"] == f"{sealed}.sig" and done["container_bytes"] == sealed.stat().st_size
    assert run("verify", sealed, "--key", keys[1])["verified"] is True
    run("open", sealed, "-o", back, "--key", tmp_path / "alice.key")
    assert back.read_bytes() == path.read_bytes()
    run("open", sealed, "-o", back, "--key", tmp_path / "bob.key", code=3)
    run("rotate", sealed, "--key", tmp_path / "alice.key", "--add", tmp_path / "bob.pub", "--remove",
        tmp_path / "alice.pub")
    run("open", sealed, "-o", back, "--key", tmp_path / "bob.key")
    run("open", sealed, "-o", back, "--key", tmp_path / "alice.key", code=3)
    run("verify", sealed, "--key", keys[1], code=1)  # the signature was of the file before


def test_the_commands_say_what_is_wrong_by_their_exit_code(source, keys, tmp_path):
    path, _ = source
    packed, out = tmp_path / "p.safetensors", tmp_path / "out"
    run("pack", path, "-o", packed, "--sign", keys[0], "--signature", tmp_path / "p.sig")
    assert run("verify", packed, "--key", keys[1], "--signature", tmp_path / "p.sig")["verified"] is True
    run("pack", tmp_path / "none", "-o", out, code=6)
    run("pack", path, "-o", out, "--sign", tmp_path / "none.pem", code=6)
    run("pack", path, "-o", out, "--sign", path, code=4)
    run("pack", path, "-o", out, "--signature", tmp_path / "x.sig", code=3)
    run("pack", path, "-o", out, "--sign", keys[0], "--signature", out, code=3)
    run("pack", keys[0], "-o", out, code=4)
    run("seal", path, "-o", out, code=3)
    run("unpack", path, "-o", out, code=4)
    run("open", packed, "-o", out, "--passphrase-file", keys[0], code=4)
    flip(packed, 6000)
    run("unpack", packed, "-o", out, code=4)
    run("unpack", packed, code=4)
    run("verify", packed, "--key", keys[1], "--signature", tmp_path / "p.sig", code=1)
    run("verify", packed, "--key", keys[1], "--signature", tmp_path / "none.sig", code=6)
    assert not out.exists() and not pathlib.Path(f"{out}.sig").exists()
    assert not list(tmp_path.glob(".*.partial"))
