"""sconce.tensors: arrays of numpy and torch in and out of tensor files, beside the package safetensors."""

import importlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

import test_safetensors_suite as suite


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A folder for sys.path with the package as it is installed."""
    folder = tmp_path_factory.mktemp("package")
    suite.link_package(folder, suite.extension_folder())
    return folder


@pytest.fixture(scope="module")
def tensors(path):
    sys.path.insert(0, str(path))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "sconce"}
    yield importlib.import_module("sconce.tensors")
    sys.path.remove(str(path))
    sys.modules.update(kept)


@pytest.fixture
def many():
    torch.manual_seed(1)
    result = {f"layer.{i}.weight": torch.randn(3 + i, 4).to(dtype)
              for i, dtype in enumerate([torch.float32, torch.bfloat16, torch.float16, torch.float64,
                                         torch.float8_e4m3fn, torch.float8_e5m2])}
    result["ids"] = torch.arange(5)
    result["flag"] = torch.tensor([True, False, True])
    result["empty"] = torch.zeros(0, 7)
    result["scalar"] = torch.tensor(2.5)
    result["complex"] = torch.randn(2, 2, dtype=torch.complex64)
    return result


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert torch.equal(a[name].flatten().view(torch.uint8), b[name].flatten().view(torch.uint8)), name


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"\u00e9\n\"\\\x01\x7f/": "\U0001f600"}])
def test_writes_the_bytes_of_the_reference(tensors, many, tmp_path, metadata):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    importlib.import_module("sconce.tensors.torch").save_file(many, ours, metadata)
    safetensors.torch.save_file(many, theirs, metadata)
    assert ours.read_bytes() == theirs.read_bytes()
    assert importlib.import_module("sconce.tensors.torch").save(many, metadata) == theirs.read_bytes()


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_reads_what_the_reference_writes(tensors, many, tmp_path, backend):
    safetensors.torch.save_file(many, tmp_path / "a.safetensors")
    same(tensors.load_file(tmp_path / "a.safetensors", "pt", backend=backend), many)
    with tensors.safe_open(tmp_path / "a.safetensors", "pt", backend=backend) as f:
        same({name: f.get_tensor(name) for name in f.keys()}, many)
        same(f.get_tensors(), many)
        with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as g:
            assert f.keys() == g.keys() and f.offset_keys() == g.offset_keys()
    same(tensors.load((tmp_path / "a.safetensors").read_bytes(), "pt"), many)


def test_slices_like_the_reference(tensors, tmp_path):
    data = {"x": np.arange(120, dtype=np.int16).reshape(4, 5, 6)}
    safetensors.numpy.save_file(data, tmp_path / "a.safetensors")
    parts = [slice(None), slice(1, 3), slice(0, 1), slice(2, 2), 0, -1, 3, slice(4, None), slice(0, 9), 7, -5]
    with tensors.safe_open(tmp_path / "a.safetensors", "np") as ours, \
            safetensors.safe_open(tmp_path / "a.safetensors", "np") as theirs:
        mine, other = ours.get_slice("x"), theirs.get_slice("x")
        assert mine.get_shape() == other.get_shape() and mine.get_dtype() == other.get_dtype()
        compared = 0
        for count in (1, 2, 3):
            for index in itertools.product(parts, repeat=count):
                try:
                    wanted = other[index]
                except safetensors.SafetensorError as problem:
                    with pytest.raises(tensors.SafetensorError) as found:
                        mine[index]
                    assert str(found.value) == str(problem), index
                    continue
                assert np.array_equal(mine[index], wanted) and mine[index].shape == wanted.shape
                compared += 1
        assert compared > 200
        for wrong in (slice(None, None, 2), slice(-2, None)):
            with pytest.raises(Exception):
                mine[wrong]


def test_tensors_outlive_the_file_and_are_written_only_in_memory(tensors, tmp_path):
    name = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"x": torch.ones(1000), "y": torch.zeros(3)}, name)
    before = name.read_bytes()
    for backend in ("mmap", "pread"):
        with tensors.safe_open(name, "pt", backend=backend) as f:
            x = f.get_tensor("x")
            all_of_it = f.get_tensors()
        with pytest.raises(tensors.SafetensorError, match="File is closed"):
            f.keys()
        x += 1
        all_of_it["y"] += 1
        assert x.sum() == 2000 and all_of_it["y"].sum() == 3
    assert name.read_bytes() == before
    safetensors.torch.save_file({"x": torch.zeros(5)}, name)  # over the mapped file
    assert x.sum() == 2000


def test_reads_unaligned_data_of_old_writers(tensors, tmp_path):
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}'
    name = tmp_path / "a.safetensors"
    name.write_bytes(len(header).to_bytes(8, "little") + header + b"\7" + np.float32([1, 2]).tobytes())
    for backend in ("mmap", "pread"):
        assert tensors.load_file(name, "pt", backend=backend)["b"].tolist() == [1, 2]
        assert tensors.load_file(name, "np", backend=backend)["b"].tolist() == [1, 2]


def test_refuses_names_given_twice_unless_asked_as_the_reference(tensors, tmp_path):
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}'
    name = tmp_path / "a.safetensors"
    name.write_bytes(len(header).to_bytes(8, "little") + header + b"\7")
    with pytest.raises(tensors.SafetensorError, match="DuplicateName"):
        tensors.safe_open(name, "np")
    assert tensors.load_file(name, "np", accept="reference")["a"].dtype == np.int8


def test_takes_big_endian_and_strided_numpy_arrays(tensors, tmp_path):
    numpy_files = importlib.import_module("sconce.tensors.numpy")
    data = {"big": np.arange(3, dtype=">i4"), "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "steps": np.arange(10)[::3]}
    numpy_files.save_file(data, tmp_path / "a.safetensors")
    back = numpy_files.load_file(tmp_path / "a.safetensors")
    for name in data:
        assert np.array_equal(back[name], data[name]) and back[name].dtype == data[name].dtype.newbyteorder("=")


def test_refuses_what_torch_files_cannot_hold(tensors, tmp_path):
    save_file = importlib.import_module("sconce.tensors.torch").save_file
    whole = torch.arange(6.0).reshape(2, 3)
    name = tmp_path / "a.safetensors"
    for wrong, kind in [({"x": whole.t()}, ValueError), ({"x": whole, "y": whole[1:]}, RuntimeError),
                        ({"x": whole.to_sparse()}, ValueError), ({"x": 1}, ValueError), ("x", ValueError)]:
        with pytest.raises(kind):
            save_file(wrong, name)
    assert list(tmp_path.iterdir()) == []
    save_file({"x": whole[:1], "y": whole[1:]}, name)  # parts that do not touch


def test_saves_and_loads_models_with_shared_tensors(tensors, tmp_path):
    module = importlib.import_module("sconce.tensors.torch")

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(7, 3)
            self.head = torch.nn.Linear(3, 7, bias=False)
            self.head.weight = self.embedding.weight

    a, b = Tied(), Tied()
    module.save_model(a, tmp_path / "a.safetensors")
    safetensors.torch.save_model(a, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert module.load_model(b, tmp_path / "a.safetensors") == (set(), [])
    assert torch.equal(a.head.weight, b.embedding.weight)


def test_many_threads_read_one_file(tensors, many, tmp_path):
    safetensors.torch.save_file(many, tmp_path / "a.safetensors")
    with tensors.safe_open(tmp_path / "a.safetensors", "pt", backend="pread") as f:
        problems = []

        def read():
            try:
                for _ in range(50):
                    same({name: f.get_tensor(name) for name in f.keys()}, many)
            except Exception as problem:
                problems.append(problem)

        threads = [threading.Thread(target=read) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not problems


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from sconce.tensors.numpy import save_file
tensors = {f"t{i}": np.full(1 << 18, int(sys.argv[3]), np.uint8) for i in range(64)}
print("ready", flush=True)
while True:
    save_file(tensors, sys.argv[2])
"""


def test_a_killed_writer_leaves_the_old_file_whole(tensors, path, tmp_path):
    name = tmp_path / "a.safetensors"
    random = np.random.default_rng(7)
    kills = int(os.environ.get("SCONCE_KILLS", 25))
    for kill in range(kills):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(name), str(kill % 200)],
                                  stdout=subprocess.PIPE)
        writer.stdout.readline()
        while kill == 0 and not name.exists():  # the first is let finish once
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        found = tensors.load_file(name)
        assert len(found) == 64 and len({int(byte) for value in found.values() for byte in (value.min(), value.max())}) == 1
        for left in tmp_path.glob(".*.partial"):
            left.unlink()
