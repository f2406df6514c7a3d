"""Checkpoints: torch writes, `sconce tensors convert` converts, the safetensors package reads."""

import argparse
import collections
import importlib.util
import io
import json
import os
import pathlib
import pickle
import resource
import struct
import subprocess
import zipfile

import numpy
import pytest
import safetensors
import safetensors.torch
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTOCOLS = [2, 3, 4, 5]
WRITERS = [(new, protocol) for new in (True, False) for protocol in PROTOCOLS]
MEMORY = 1 << 30  # more than any of the small files here needs


def limits():
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    if not os.environ.get("SCONCE_SANITIZED"):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


@pytest.fixture
def run(sconce, tmp_path):
    def call(*arguments):
        done = subprocess.run(
            [sconce, "tensors", "convert", *map(str, arguments)],
            capture_output=True, text=True, preexec_fn=limits, timeout=60, errors="replace",
        )
        return done

    return call


@pytest.fixture
def convert(run, tmp_path):
    """Path and options to tensors and metadata."""

    def call(path, *options):
        out = tmp_path / "out.safetensors"
        out.unlink(missing_ok=True)
        done = run(path, "-o", out, *options)
        assert done.returncode == 0, done.stderr
        with safetensors.safe_open(out, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}

    return call


def flat(value, path=""):
    """Tensors by name, as the tool names them."""
    if isinstance(value, torch.Tensor):
        return {path or "tensor": value}
    found = {}
    if isinstance(value, dict):
        for key, item in value.items():
            found |= flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            found |= flat(item, f"{path}.{index}" if path else str(index))
    return found


def same(found, wanted, metadata=()):
    aliases = {k: v for k, v in dict(metadata).items() if k != "format"}
    assert set(found) | set(aliases) == set(wanted)
    assert not set(found) & set(aliases)
    for name, tensor in wanted.items():
        other = found[aliases.get(name, name)]
        tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
        assert other.dtype == tensor.dtype, name
        assert other.shape == tensor.shape, name
        if tensor.numel():
            a, b = (t.flatten().view(torch.uint8).numpy() for t in (other, tensor))
            assert (a == b).all(), name


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.uint32,
    torch.uint64, torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e5m2fnuz,
    torch.float8_e4m3fnuz, torch.float8_e8m0fnu,
]


def every_dtype():
    data = torch.arange(1, 49, dtype=torch.uint8)
    values = {}
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        tensor = (data % 2).bool() if dtype == torch.bool else data.clone().view(dtype)
        values[name] = tensor
        values[f"{name}.scalar"] = tensor[:1].reshape(()).clone()
        values[f"{name}.empty"] = tensor[:0].clone()
        values[f"{name}.rows"] = tensor.reshape(2, -1).clone()
    return values


def views():
    base = torch.randn(5, 6, 7)
    return {
        "base": base, "whole": base.view(30, 7), "row": base[2], "column": base[:, 1, 2],
        "steps": base[::2, 1::3, ::4], "moved": base.permute(2, 0, 1), "matrix": base[0].t(),
        "once": torch.randn(1, 4).expand(3, 4), "end": base.flatten()[-1:], "flat": base.flatten(),
        "tail": torch.arange(100)[90:], "wide": torch.randn(300, 200).t(),
        "half": torch.randn(64, 33).half().t(), "channels": torch.randn(2, 3, 4, 5).to(
            memory_format=torch.channels_last),
    }


def model():
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 4)
    )
    net[3].weight.sticker = "with attributes"
    return net


def training():
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, amsgrad=True)
    net(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict(),
        "rng": torch.get_rng_state(),
        "numpy": numpy.random.RandomState(0).get_state(),
        "epoch": 3, "big": 1 << 100, "best": numpy.float64(0.5), "f32": numpy.float32(0.25),
        "flag": numpy.bool_(True), "small": numpy.int8(-3), "text": "\u00e9\u6f22\U0001f600",
        "array": numpy.asfortranarray(numpy.arange(6, dtype=">i4").reshape(2, 3)),
        "bytes": bytes(range(256)), "mutable": bytearray(b"xy"), "tags": {"a", "b"},
        "frozen": frozenset([1]), "counts": collections.Counter("aab"),
        "queue": collections.deque([1, 2], maxlen=5), "default": collections.defaultdict(dict, a={}),
        "none": None, "complex": 1 - 2j, "type": float, "dtype": torch.bfloat16,
        "device": torch.device("cuda:1"), "size": torch.Size([1, 2]), "layout": torch.strided,
    }


@pytest.mark.parametrize("new,protocol", WRITERS)
@pytest.mark.parametrize("make", [every_dtype, views, training])
def test_equals_torch(convert, tmp_path, make, new, protocol):
    torch.manual_seed(0)
    path, value = tmp_path / "in.pt", make()
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    try:
        wanted = flat(torch.load(path, weights_only=False))
    except AttributeError:  # torch writes its newer dtypes into streams, but cannot read them there
        assert not new
        wanted = flat(value)
    found, metadata = convert(path)
    assert metadata["format"] == "pt"
    same(found, wanted, metadata)


@pytest.mark.parametrize("new", [True, False])
def test_lists_tuples_and_a_bare_tensor(convert, tmp_path, new):
    path = tmp_path / "in.pt"
    for value in ([torch.ones(2), (torch.zeros(1), {"a": torch.ones(3)})], torch.arange(5)):
        torch.save(value, path, _use_new_zipfile_serialization=new)
        same(convert(path)[0], flat(value))


@pytest.mark.parametrize("new", [True, False])
def test_shared_tensors_are_written_once(convert, run, tmp_path, new):
    path, tied = tmp_path / "in.pt", torch.randn(100, 10)
    value = {"embed": tied, "head": tied, "also": tied.view(100, 10), "other": tied[:50]}
    torch.save(value, path, _use_new_zipfile_serialization=new)
    found, metadata = convert(path)
    assert metadata == {"embed": "also", "head": "also", "format": "pt"}
    same(found, value, metadata)
    found, metadata = convert(path, "--repeat-shared")
    same(found, value)
    # What save_model of the reference makes of it can be read the same way.
    module = torch.nn.Module()
    module.a = torch.nn.Parameter(tied)
    module.b = module.a
    torch.save(module.state_dict(), path)
    assert run(path, "-o", tmp_path / "m.safetensors").returncode == 0
    with torch.no_grad():
        module.a.zero_()
    safetensors.torch.load_model(module, tmp_path / "m.safetensors")
    assert torch.equal(module.b, tied)


def test_conjugate_and_negative_views(convert, tmp_path):
    value = {"conj": torch.randn(4, 3, dtype=torch.complex64).conj().t(),
             "imag": torch.randn(5, dtype=torch.complex64).conj().imag}
    torch.save(value, tmp_path / "in.pt")
    same(convert(tmp_path / "in.pt")[0], value)


@pytest.mark.parametrize("new", [True, False])
def test_parameters_buffers_and_subclasses(convert, run, tmp_path, new):
    path = tmp_path / "in.pt"
    with_state = torch.nn.Parameter(torch.ones(2))
    with_state.note = "a"
    with_attribute = torch.ones(3)
    with_attribute.note = 4
    value = {"p": torch.nn.Parameter(torch.ones(2)), "q": with_state, "t": with_attribute}
    torch.save(value, path, _use_new_zipfile_serialization=new)
    same(convert(path)[0], value)
    torch.save({"s": torch.ones(2).as_subclass(Subclass)}, path, _use_new_zipfile_serialization=new)
    done = run(path, "-o", tmp_path / "out.safetensors")
    assert done.returncode == 5 and "Subclass is not on the list" in done.stderr
    same(convert(path, "--ignore-unknown")[0], {"s": torch.ones(2)})


class Subclass(torch.Tensor):
    pass


UNSUPPORTED = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse.csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 1, torch.quint8),
    "quantised.channel": lambda: torch.quantize_per_channel(
        torch.ones(2, 2), torch.ones(2), torch.zeros(2, dtype=torch.int64), 0, torch.qint8),
    "meta": lambda: torch.empty(3, device="meta"),
    "complex128": lambda: torch.ones(2, dtype=torch.complex128),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", UNSUPPORTED)
def test_refuses_what_safetensors_cannot_hold(convert, run, tmp_path, name):
    path = tmp_path / "in.pt"
    torch.save({"a": torch.ones(2), "b": UNSUPPORTED[name]()}, path)
    done = run(path, "-o", tmp_path / "out.safetensors")
    assert done.returncode == 5 and 'tensor "b" ' in done.stderr, done.stderr
    assert name.split(".")[0] in done.stderr
    assert not (tmp_path / "out.safetensors").exists()
    same(convert(path, "--ignore-unknown")[0], {"a": torch.ones(2)})


def rewrite(source, target, change=lambda name, data: data, method=zipfile.ZIP_STORED, extra=()):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(zipfile.ZipInfo(info.filename), change(info.filename, old.read(info)), method)
        for name, data in extra:
            new.writestr(zipfile.ZipInfo(name), data, method)


@pytest.mark.parametrize("make", [every_dtype, views])
def test_big_endian_elements(convert, tmp_path, make):
    value = {k: v for k, v in make().items() if v.dtype.itemsize in (1, 2, 4, 8)}
    # torch reads these of uint8 storages without turning them.
    value = {k: v for k, v in value.items() if not str(v.dtype).startswith("torch.uint") or
             v.dtype == torch.uint8}
    torch.save(value, tmp_path / "in.pt")
    rewrite(tmp_path / "in.pt", tmp_path / "big.pt",
            lambda name, data: b"big" if name.endswith("/byteorder") else data)
    wanted = flat(torch.load(tmp_path / "big.pt"))
    found, metadata = convert(tmp_path / "big.pt")
    same(found, wanted, metadata)


def test_deflated_archives(convert, run, tmp_path):
    torch.save(training(), tmp_path / "in.pt")
    rewrite(tmp_path / "in.pt", tmp_path / "small.pt", method=zipfile.ZIP_DEFLATED)
    wanted = flat(torch.load(tmp_path / "small.pt", weights_only=False))
    found, metadata = convert(tmp_path / "small.pt", "--output-limit", 1 << 20)
    same(found, wanted, metadata)


def test_deflate_bomb_meets_the_limit(run, tmp_path):
    torch.save({"a": torch.zeros(10_000_000)}, tmp_path / "in.pt")
    rewrite(tmp_path / "in.pt", tmp_path / "small.pt", method=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "small.pt").stat().st_size < 100_000
    done = run(tmp_path / "small.pt", "-o", tmp_path / "out.safetensors")
    assert done.returncode == 7 and "--output-limit raises it" in done.stderr


def test_whole_modules_give_the_names_of_their_state_dict(convert, run, tmp_path):
    net = model()
    net.register_buffer("temporary", torch.ones(1), persistent=False)
    for new in (True, False):
        torch.save(net, tmp_path / "in.pt", _use_new_zipfile_serialization=new)
        done = run(tmp_path / "in.pt", "-o", tmp_path / "out.safetensors")
        assert done.returncode == 5 and "torch.nn.modules.container.Sequential" in done.stderr
        same(convert(tmp_path / "in.pt", "--ignore-unknown")[0], net.state_dict())


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
        self.register_buffer("scale", torch.randn(3, 4).t())
        self.sizes = [1, 2]

    def forward(self, x):
        return self.net(x) * self.scale.sum() * self.sizes[0]


def test_torchscript_archives(convert, tmp_path):
    module = Scripted()
    torch.jit.save(torch.jit.script(module), str(tmp_path / "in.pt"))
    same(convert(tmp_path / "in.pt")[0], module.state_dict())
    traced = torch.jit.trace(module.eval(), torch.randn(1, 1, 5, 5))
    torch.jit.save(traced, str(tmp_path / "in.pt"))
    same(convert(tmp_path / "in.pt")[0], module.state_dict())


def test_arrays_become_tensors_when_asked(convert, run, tmp_path):
    value = {"a": numpy.arange(6.0).reshape(2, 3), "f": numpy.asfortranarray(numpy.ones((2, 3), "f4")),
             "b": numpy.arange(3, dtype=">i2"), "s": numpy.array(["text"]), "o": numpy.array([None])}
    for protocol in PROTOCOLS:
        (tmp_path / "in.pkl").write_bytes(pickle.dumps(value, protocol))
        found, _ = convert(tmp_path / "in.pkl", "--arrays", "--ignore-unknown")
        wanted = {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("=")))
                  for k, v in value.items() if v.dtype.kind in "fi"}
        same(found, wanted)
        assert run(tmp_path / "in.pkl", "-o", tmp_path / "o").returncode == 6  # no tensors


def test_keys_and_values(convert, run, tmp_path):
    value = training()
    torch.save(value, tmp_path / "in.pt")
    same(convert(tmp_path / "in.pt", "--key", "model")[0], value["model"])
    same(convert(tmp_path / "in.pt", "--key", "optimizer.state.0")[0], value["optimizer"]["state"][0])
    _, metadata = convert(tmp_path / "in.pt", "--values")
    assert metadata["epoch"] == "3" and json.loads(metadata["text"]) == value["text"]
    assert json.loads(metadata["optimizer.param_groups"])[0]["lr"] == 1e-3
    done = run(tmp_path / "in.pt", "-o", tmp_path / "out", "--key", "nothing")
    assert done.returncode == 6 and "there are: model, optimizer" in done.stderr


def test_scan_reports_what_is_there(run, tmp_path):
    torch.save({"a": torch.ones(2), "args": argparse.Namespace(lr=1)}, tmp_path / "in.pt")
    done = run(tmp_path / "in.pt", "--scan", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and not report["convertible"]
    assert [t["name"] for t in report["tensors"]] == ["a"]
    assert [(u["name"], u["called"]) for u in report["unknown"]] == [("argparse.Namespace", 1)]
    torch.save({"a": torch.ones(2)}, tmp_path / "in.pt")
    assert run(tmp_path / "in.pt", "--scan").returncode == 0


@pytest.fixture(scope="session")
def samples():
    path = ROOT / "src/formats/checkpoint/testdata/make.py"
    spec = importlib.util.spec_from_file_location("make_checkpoints", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_tar_archives_of_the_first_torch(convert, tmp_path, samples):
    data, path = torch.randn(24), tmp_path / "in.tar"
    tensors = {
        "a": (data, 0, (2, 3, 4), (12, 4, 1)), "b": (data, 1, (3, 2), (2, 7)),
        "c": (torch.arange(5), 4, (1,), (1,)), "d": (data, 3, (), ()), "e": (data, 0, (0, 3), (3, 1)),
    }
    samples.write_tar(path, tensors, lambda named: collections.OrderedDict(
        (name, [named(name)]) for name in tensors))
    same(convert(path)[0], flat(torch.load(path, weights_only=False)))


# ---- Files that lie ----


class Run:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def calls(canary):
    mark = f"touch {canary}"
    import builtins
    import importlib as importer

    return {
        "os_system": Run(os.system, mark),
        "eval": Run(eval, f"__import__('os').system('{mark}')"),
        "exec": Run(exec, f"__import__('os').system('{mark}')"),
        "subprocess": Run(subprocess.check_call, ["touch", str(canary)]),
        "open_for_writing": Run(open, str(canary), "w"),
        "import_module": Run(importer.import_module, "antigravity"),
        "getattr": Run(getattr, builtins, "eval"),
        "nested_pickle": Run(pickle.loads, pickle.dumps(Run(os.system, mark))),
        "nested_torch": Run(torch.storage._load_from_bytes, b"\x80\x02."),
        "torch_load": Run(torch.load, str(canary)),
        "numpy_load": Run(numpy.load, str(canary)),
        "in_a_dict": {"w": torch.ones(2), "x": Run(os.system, mark)},
        "in_a_key": {Run(os.system, mark): 1},
        "in_metadata": collections.OrderedDict(w=torch.ones(1), _metadata=Run(os.system, mark)),
    }


@pytest.mark.parametrize("new,protocol", [(True, 2), (True, 4), (False, 2), (False, 5)])
def test_runs_nothing(run, tmp_path, new, protocol):
    canary = tmp_path / "was_run"
    for name, value in calls(canary).items():
        path, out = tmp_path / f"{name}.pt", tmp_path / "out.safetensors"
        try:
            torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
        except (pickle.PicklingError, TypeError) as error:
            print(f"[SKIP] {name}: {error}")
            continue
        done = run(path, "-o", out)
        assert done.returncode == 5 and "is not on the list" in done.stderr, (name, done.stderr)
        assert "offset" in done.stderr and str(path) in done.stderr
        assert not out.exists()
        assert run(path, "--scan").returncode == 1
        run(path, "-o", out, "--ignore-unknown")
        out.unlink(missing_ok=True)
        assert not canary.exists(), name


def local_headers(data):
    at = 0
    while (at := data.find(b"PK\x03\x04", at)) >= 0:
        yield at
        at += 4


def zip_lies(good):
    """name -> bytes; each differs from a good archive in one lie."""
    central = good.rindex(b"PK\x01\x02", 0, good.rindex(b"PK\x05\x06"))
    first = good.index(b"PK\x01\x02")
    end = good.rindex(b"PK\x05\x06")

    def put(offset, form, value):
        data = bytearray(good)
        struct.pack_into(form, data, offset, value)
        return bytes(data)

    lies = {
        f"flag_{flag:#x}_central": put(first + 8, "<H", flag) for flag in (1, 0x20, 0x40, 0x2000)
    }
    lies |= {f"flag_{flag:#x}_local": put(6, "<H", flag) for flag in (1, 0x20, 0x40, 0x2000)}
    lies |= {
        "checksum_central": put(first + 16, "<I", 1),
        "size_central": put(first + 24, "<I", 7),
        "size_stored_central": put(first + 20, "<I", 7),
        "size_64_without_field": put(first + 24, "<I", 0xFFFFFFFF),
        "offset_central": put(central + 42, "<I", 0),
        "offset_past_the_end": put(central + 42, "<I", 0x7FFFFFFF),
        "method_bzip2": put(first + 10, "<H", 12),
        "method_local": put(8, "<H", 8),
        "name_length": put(first + 28, "<H", 0xFFFF),
        "extra_length": put(first + 30, "<H", 0xFFFF),
        "count_too_large": put(end + 10, "<H", 0xFFFE),
        "count_too_small": put(end + 10, "<H", 1),
        "directory_offset": put(end + 16, "<I", 0),
        "directory_size": put(end + 12, "<I", 1),
        "disk_number": put(end + 4, "<H", 1),
        "local_signature": put(next(local_headers(good)), "<I", 0),
        "appended": good + b"tail",
        "name_differs": good.replace(b"in/data.pkl", b"in/date.pkl", 1),
        "cut_in_half": good[: len(good) // 2],
    }
    return lies


def test_refuses_lying_archives(run, tmp_path):
    torch.save({"w": torch.arange(10.0)}, tmp_path / "in.pt")
    good, out = (tmp_path / "in.pt").read_bytes(), tmp_path / "out.safetensors"
    for name, data in zip_lies(good).items():
        assert data != good, name
        (tmp_path / f"{name}.pt").write_bytes(data)
        done = run(tmp_path / f"{name}.pt", "-o", out)
        assert done.returncode in (4, 5, 7), (name, done.returncode, done.stderr)
        assert f"{name}.pt: " in done.stderr
        assert not out.exists(), name


def test_leaves_the_old_file_when_it_fails(run, tmp_path):
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "in.pt")
    data = bytearray((tmp_path / "in.pt").read_bytes())
    data[data.index(struct.pack("<2f", 500, 501))] ^= 1
    (tmp_path / "in.pt").write_bytes(data)
    (tmp_path / "out.safetensors").write_text("old")
    done = run(tmp_path / "in.pt", "-o", tmp_path / "out.safetensors")
    assert done.returncode == 4 and "checksum" in done.stderr and 'tensor "w"' in done.stderr
    assert (tmp_path / "out.safetensors").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.pt", "out.safetensors"]


ATTACKS = os.environ.get("SCONCE_ATTACKS")


@pytest.mark.skipif(not ATTACKS, reason="SCONCE_ATTACKS names no folder of attacks (such as the "
                    "tests/ of picklescan's repository; its package carries none)")
def test_collections_of_attacks_are_refused_or_harmless(run, tmp_path):
    files = [p for p in sorted(pathlib.Path(ATTACKS).rglob("*")) if p.is_file()]
    out, codes = tmp_path / "out.safetensors", collections.Counter()
    for path in files:
        if path.suffix == ".py":
            continue
        done = run(path, "-o", out)
        codes[done.returncode] += 1
        assert done.returncode in (0, 4, 5, 6, 7), (path, done.returncode, done.stderr)
        if "malicious" in path.name or "GHSA" in path.name:
            assert done.returncode in (4, 5, 7), (path, done.stderr)
        for option in (["--scan"], ["-o", out, "--ignore-unknown"]):
            assert run(path, *option).returncode in (0, 1, 4, 5, 6, 7), path
    print(f"{sum(codes.values())} files, exit codes {dict(codes)}")
