"""The commands that people look at tensor files with: sconce tensors ls, cat, stats, diff, check, split, merge,
metadata. Files are written by the package safetensors."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file


@pytest.fixture
def tool(sconce, tmp_path):
    def run(*arguments, code=0):
        done = subprocess.run([sconce, "tensors", *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, f"{arguments}: {done.returncode}, {code} wanted\n{done.stdout}{done.stderr}"
        return done
    return run


@pytest.fixture
def tensors(tmp_path):
    rng = np.random.default_rng(3)
    made = {f"layer.{i}.{part}": rng.normal(0, 0.02, (24, 40 + i)).astype(np.float32)
            for i in range(6) for part in ("q_proj.weight", "norm.weight")}
    made["ids"] = np.arange(7, dtype=np.int64)
    made["half"] = made["layer.0.norm.weight"].astype(np.float16)
    save_file(made, tmp_path / "a.safetensors", {"format": "np", "step": "7"})
    return made


def test_lists_names_types_shapes_and_places(tool, tensors):
    listed = json.loads(tool("ls", "a.safetensors", "--json").stdout)
    assert {t["name"]: tuple(t["shape"]) for t in listed["tensors"]} == {n: t.shape for n, t in tensors.items()}
    assert listed["metadata"] == {"format": "np", "step": "7"}
    text = tool("ls", "a.safetensors", "-n", "layer.?.norm.*").stdout
    assert "6 tensors" in text and "q_proj" not in text
    assert 'no tensor matches "x*"' in tool("ls", "a.safetensors", "-n", "x*", code=6).stderr


def test_prints_parts_of_a_tensor(tool, tensors):
    shown = json.loads(tool("cat", "a.safetensors", "half", "--slice", "3,-2:", "--json").stdout)
    assert [np.float16(v) for v in shown["values"]] == list(tensors["half"][3, -2:])
    assert tool("cat", "a.safetensors", "ids").stdout.split("\n")[1] == "[0, 1, 2, 3, 4, 5, 6]"


@pytest.mark.parametrize("asked, meant", [
    ("layer.1.norm.weigth", '"layer.1.norm.weight"'),
    ("q_proj.weight", '"layer.0.q_proj.weight", "layer.1.q_proj.weight", "layer.2.q_proj.weight" or 3 more?'),
    ("idss", '"ids"?'),
])
def test_names_the_tensors_that_were_perhaps_meant(tool, tensors, asked, meant):
    assert f"did you mean {meant}" in tool("cat", "a.safetensors", asked, code=6).stderr


def test_says_where_names_are_listed_when_none_is_like_it(tool, tensors):
    assert "sconce tensors ls lists them" in tool("cat", "a.safetensors", "tokenizer", code=6).stderr


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int8, np.uint16, np.int64])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 4096, 5003])
def test_statistics_are_those_of_numpy(tool, tmp_path, dtype, count):
    values = np.random.default_rng(count).normal(90, 20, count).astype(dtype)
    values[count // 2] = 0
    save_file({"t": values}, tmp_path / "s.safetensors")
    (found,) = json.loads(tool("stats", "s.safetensors", "--json").stdout)["tensors"]
    wide = values.astype(np.float64)
    assert (found["min"], found["max"], found["zeros"]) == (wide.min(), wide.max(), (wide == 0).sum())
    assert found["mean"] == pytest.approx(wide.mean(), rel=1e-12)
    assert found["std"] == pytest.approx(wide.std(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("places", [[0], [5000], [3, 4100, 9999], range(10_000), range(0, 10_000, 2)])
def test_what_is_not_finite_is_counted_apart(tool, tmp_path, places):
    values = np.random.default_rng(1).normal(5, 1, 10_000).astype(np.float32)
    places = list(places)
    values[places] = np.nan
    values[places[::3]] = -np.inf
    save_file({"t": values}, tmp_path / "s.safetensors")
    (found,) = json.loads(tool("stats", "s.safetensors", "--json", code=1).stdout)["tensors"]
    assert (found["nans"], found["infinities"]) == (np.isnan(values).sum(), np.isinf(values).sum())
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size:
        assert found["mean"] == pytest.approx(finite.mean(), rel=1e-12)
        assert (found["min"], found["max"]) == (finite.min(), finite.max())
    else:
        assert found["mean"] is None and found["min"] is None


def test_says_what_differs_and_where(tool, tensors, tmp_path):
    other = {name: tensor.copy() for name, tensor in tensors.items()}
    other["layer.3.norm.weight"][5, 17] += 1
    other["new"] = other.pop("half")
    other["ids"] = other["ids"].astype(np.int32)
    save_file(other, tmp_path / "b.safetensors", {"format": "pt", "step": "7", "by": "x" * 100})
    text = tool("diff", "a.safetensors", "b.safetensors", code=1).stdout
    row = next(line.split() for line in text.splitlines() if line.startswith("layer.3.norm"))
    assert row[1] == "1/1032" and row[2] == "1" and "[5, 17]" in " ".join(row)
    assert "half: only in a.safetensors" in text and "new: only in b.safetensors" in text
    assert "ids: types I64 and I32, values differ by at most 0" in text
    assert 'metadata "format": "np" and "pt"' in text and 'metadata "by": none and 100 bytes of text' in text
    assert "step" not in text and "11 equal, 4 different" in text
    found = json.loads(tool("diff", "a.safetensors", "b.safetensors", "--json", code=1).stdout)
    assert found["metadata"][1] == {"key": "format", "a": "np", "b": "pt"} and not found["metadata_equal"]
    assert tool("diff", "a.safetensors", "a.safetensors").stdout.endswith("14 equal, 0 different\n")


def test_sets_are_split_checked_and_merged(tool, tensors, tmp_path):
    (tmp_path / "set").mkdir()
    tool("split", "a.safetensors", "-o", "set", "--shard-size", "10KB")
    assert json.loads(tool("check", "set", "--json").stdout)[0]["tensors"] == len(tensors)
    tool("merge", "set", "-o", "b.safetensors")
    again = load_file(tmp_path / "b.safetensors")
    assert all((again[name] == tensor).all() for name, tensor in tensors.items())
    shard = sorted((tmp_path / "set").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert shard.name in tool("check", "set", code=4).stdout


def test_metadata_is_shown_set_and_taken_away(tool, tensors):
    tool("metadata", "a.safetensors", "--set", "license=mit", "--remove", "step")
    assert json.loads(tool("metadata", "a.safetensors", "--json").stdout) == {"format": "np", "license": "mit"}
    assert "no metadata is named" in tool("metadata", "a.safetensors", "--remove", "step", code=6).stderr


def test_lists_what_a_packed_file_holds_and_a_sealed_one_with_its_key(tool, tensors, tmp_path):
    tool("pack", "a.safetensors", "-o", "p.safetensors")
    listed = json.loads(tool("ls", "p.safetensors", "--json").stdout)
    assert listed["container"] == "packed" and {t["name"] for t in listed["tensors"]} == tensors.keys()
    assert all(t["stored_bytes"] <= t["bytes"] for t in listed["tensors"])
    assert "14 tensors" in tool("ls", "p.safetensors").stdout
    tool("sealkey", "-o", "me")
    tool("seal", "a.safetensors", "-o", "s.safetensors", "--to", "me.pub", "--hide-names")
    parts = tool("ls", "s.safetensors")
    assert "sconce.envelope" in parts.stdout and "a key or passphrase of a recipient is needed" in parts.stderr
    assert "layer.5.norm.weight" in tool("ls", "s.safetensors", "--key", "me", "-n", "*norm*").stdout
    assert 'no tensor matches "x"' in tool("ls", "s.safetensors", "--key", "me", "-n", "x", code=6).stderr
    tool("ls", "a.safetensors", "--key", "me", code=4)  # not sealed, though a key was given
    (tmp_path / "none.safetensors.index.json").write_text('{"weight_map": {}}')
    assert "set in shards" in tool("ls", "none.safetensors.index.json", "--key", "me", code=3).stderr
    damaged = bytearray((tmp_path / "p.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "p.safetensors").write_bytes(damaged)
    parts = tool("ls", "p.safetensors")
    assert "sconce.index" in parts.stdout and "index is damaged" in parts.stderr


def test_other_commands_say_that_a_file_is_packed(tool, tensors):
    tool("pack", "a.safetensors", "-o", "p.safetensors")
    assert "note: p.safetensors: Losslessly compressed" in tool("stats", "p.safetensors").stderr
    assert tool("stats", "a.safetensors").stderr == ""


def test_one_tensor_of_a_packed_file_is_verified_by_its_chunks(tool, tensors, tmp_path):
    tool("keygen", "-o", "k.pem")
    tool("pack", "a.safetensors", "-o", "p.safetensors", "--sign", "k.pem")
    arguments = ["verify", "p.safetensors", "--key", "k.pub", "--tensor"]
    report = json.loads(tool(*arguments, "half", "--json").stdout)
    assert report["tensors"][0]["shape"] == [24, 40]
    assert report["bytes_read"] < (tmp_path / "p.safetensors").stat().st_size - 4096
    file = bytearray((tmp_path / "p.safetensors").read_bytes())
    file[4096 + 10] ^= 1  # in the first tensor
    (tmp_path / "p.safetensors").write_bytes(file)
    tool(*arguments, "half")
    tool(*arguments, "ids", code=1)
    file[-30] ^= 1  # in the index
    (tmp_path / "p.safetensors").write_bytes(file)
    assert "index was changed" in tool(*arguments, "half", code=1).stderr
    assert 'no tensor "nothing" is signed' in tool(*arguments, "nothing", code=6).stderr


def test_the_peer_verifies_a_packed_file_that_was_signed_on_the_way(tool, tensors, tmp_path):
    tool("keygen", "-o", "k.pem")
    tool("pack", "a.safetensors", "-o", "p.safetensors", "--sign", "k.pem", "--sign-dot-name")
    peer = [sys.executable, "-m", "model_signing", "verify", "key", "p.safetensors", "--signature", "p.safetensors.sig",
            "--public_key", "k.pub"]
    done = subprocess.run(peer, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 tensor" in tool("verify", "p.safetensors", "--key", "k.pub", "--tensor", "half").stdout
