"""Files of `--target cpu` on stock ExecuTorch with our library loaded: in the package's Python runtime
and in a C++ app (tests/executorch/app.cc)."""

import os
import pathlib
import subprocess

import numpy
import pytest
from safetensors.numpy import load_file

import compare
import export_models
from conftest import MODELS
from oracle import Oracle, OracleError

LIBRARY = pathlib.Path(os.environ.get("SCONCE_EXECUTORCH_LIBRARY", "libsconce_executorch.so"))
APP = os.environ.get("SCONCE_EXECUTORCH_APP", "executorch_app")
# Names of the app's options; -1 leaves the default.
NOT_SAID = -1


@pytest.fixture(scope="session")
def stock(sconce, tmp_path_factory):
    made = compare.Bench(MODELS, tmp_path_factory.mktemp("delegate"), sconce, "cpu", LIBRARY)
    yield made
    made.oracle.close()


@pytest.mark.parametrize("name", export_models.GROUPS["all"])
def test_gives_torchs_answer_on_stocks_runtime(name, stock, exported):
    if why := stock.meta(exported(name))["stock_cannot"]:
        pytest.skip(f"stock cannot: {why}")
    stock.on_stock(name, stock.compile(name))


def raw_inputs(stock, name, folder) -> list[pathlib.Path]:
    tensors = load_file(stock.file(name, "inputs", 0))
    paths = []
    for i, leaf in enumerate(stock.meta(name)["calls"][0]["inputs"]):
        paths.append(folder / f"{name}.{i}.raw")
        paths[-1].write_bytes(tensors[f"input.{leaf['tensor']}"].tobytes())
    return paths


def run_app(model, out, threads, copies, inputs) -> subprocess.CompletedProcess:
    return subprocess.run([APP, model, out, str(threads), str(copies), *inputs], capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("name", ["mobilenet_v2", "deit_tiny", "minilm"])
def test_an_app_gets_the_same_bits_with_any_threads_and_several_models_at_once(name, stock, exported, tmp_path):
    pte = stock.compile(exported(name))
    inputs = raw_inputs(stock, name, tmp_path)
    answers = set()
    for threads, copies in ((1, 1), (2, 1), (3, 2), (NOT_SAID, 2)):
        out = tmp_path / f"{threads}.{copies}"
        done = run_app(pte, out, threads, copies, inputs)
        assert done.returncode == 0, done.stderr
        answers.add(out.read_bytes())
    assert len(answers) == 1
    wanted = load_file(stock.file(name, "outputs", 0))
    wanted = numpy.concatenate([wanted[f"output.{i}"].ravel() for i in range(len(wanted))])
    found = numpy.frombuffer(answers.pop(), wanted.dtype)
    assert numpy.abs(found - wanted).max() <= 1e-4 * numpy.abs(wanted).max()


def test_a_changed_payload_ends_in_an_error_with_its_place(stock, exported, tmp_path):
    pte = stock.compile(exported("linear"))
    whole = bytearray(pte.read_bytes())
    start = whole.index(b"SCT1") - 4  # the identifier of tile programs stands behind the root's offset
    whole[start:start + 4] = b"\xff\xff\xff\x7f"
    bad = tmp_path / "bad.pte"
    bad.write_bytes(whole)
    done = run_app(bad, tmp_path / "out", 1, 1, raw_inputs(stock, "linear", tmp_path))
    assert done.returncode == 1
    assert "SconceBackend: forward: " in done.stderr, done.stderr
    with pytest.raises(OracleError):
        stock.on_stock("linear", bad)


def test_without_the_library_stock_says_what_is_missing(stock, exported):
    pte = stock.compile(exported("linear"))
    alone = Oracle()
    with pytest.raises(OracleError):
        alone.ask({"do": "run", "pte": str(pte), "calls": []})
    alone.close()
