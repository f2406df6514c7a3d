"""sconce tune: what it finds is kept, shipped and shown, and changes no result."""

import json
import os
import subprocess

import pytest
from conftest import MODELS


@pytest.fixture
def tool(sconce, tmp_path):
    def run(*args, fails=False):
        made = subprocess.run([sconce, *map(str, args)], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "SCONCE_CACHE": str(tmp_path / "cache")})
        assert (made.returncode != 0) == fails, made.stderr
        return made.stderr if fails else made.stdout

    return run


@pytest.fixture
def model(exported, tool, tmp_path):
    name = exported("conv_bn_relu")
    path = tmp_path / "model.pte"
    tool("compile", MODELS / f"{name}.pt2", "-o", path, "--target", "cpu")

    def outputs(of, *options):
        made = tmp_path / "outputs.safetensors"
        tool("run", of, "--inputs", MODELS / f"{name}.inputs.safetensors", "--outputs", made, *options)
        return made.read_bytes()

    return path, outputs


def test_results_stay_the_same_bits(model, tool, tmp_path):
    path, outputs = model
    before = outputs(path)
    report = json.loads(tool("tune", path, "--seconds", 0.3, "--json"))
    assert report["steps"] and report["after_ms"] <= report["before_ms"]
    assert list((tmp_path / "cache").iterdir())
    assert outputs(path) == before
    assert outputs(path, "--no-tuned") == before
    assert outputs(path, "--threads", "2", "--tune", "--tune-seconds", "0.1") == before
    assert len(list((tmp_path / "cache").iterdir())) == 2, "a file for each number of threads"


def test_a_program_ships_what_was_found(model, tool, tmp_path):
    path, outputs = model
    tuned = tmp_path / "tuned.pte"
    tool("tune", path, "--seconds", 0.3, "-o", tuned)
    tool("tune", tuned, "--seconds", 0.1, "--threads", 2, "-o", tuned)
    shown = tool("inspect", tuned)
    assert "sconce.schedules" in shown
    assert ", 1 thread\n" in shown and ", 2 threads\n" in shown
    assert outputs(tuned) == outputs(path)


def test_files_of_the_cache_may_hold_anything(model, tool, tmp_path):
    path, outputs = model
    before = outputs(path)
    tool("tune", path, "--seconds", 0.1)
    kept, = (tmp_path / "cache").iterdir()
    text = kept.read_bytes()
    for lie in (b"", b"\0" * 4096, text[:-1], text.replace(b" 1\n", b" 9\n", 1), text + b"\xff" * 100,
                text + b"0000000000000000 tile 9999999999 depth 1\n"):
        kept.write_bytes(lie)
        assert outputs(path) == before


def test_what_cannot_be_tuned_says_what_can(exported, tool, tmp_path):
    name = exported("conv_bn_relu")
    path = tmp_path / "portable.pte"
    tool("compile", MODELS / f"{name}.pt2", "-o", path, "--target", "portable")
    told = tool("tune", path, "-o", tmp_path / "tuned.pte", fails=True)
    assert "no tile programs" in told and "--target cpu" in told
    assert not (tmp_path / "tuned.pte").exists()
