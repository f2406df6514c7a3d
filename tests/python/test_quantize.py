"""sconce quantize: float models become integers that answer like them, bad samples are refused with words, and
nothing is written then."""

import json
import pathlib
import subprocess
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import compare

warnings.filterwarnings("ignore")


class Picture(nn.Module):
    """Convolutions with batch norm, a residual sum, pools, what moves elements, two linears."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.last = nn.Conv2d(16, 32, 1)
        self.hidden, self.out = nn.Linear(32, 64), nn.Linear(64, 10)

    def forward(self, x):
        y = F.relu(self.norm(self.first(x)))
        y = F.max_pool2d(F.relu(self.depthwise(y)) + y, 2)
        y = F.adaptive_avg_pool2d(F.relu6(self.last(y)), 1).flatten(1)
        return self.out(F.relu(self.hidden(y)))


class Text(nn.Module):
    """An embedding, attention, norms before linears, and state of no kind."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 64)
        self.before, self.after = nn.LayerNorm(64), nn.LayerNorm(64)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, tokens):
        x = self.table(tokens)
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(F.gelu(self.up(self.after(x))))


class Counted(nn.Module):
    """State from call to call, in front of a linear."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sum", torch.zeros(1, 32))
        self.out = nn.Linear(32, 8)

    def forward(self, x):
        self.sum.mul_(0.5).add_(x)
        return self.out(self.sum)


SAMPLES = {
    "picture": (Picture, lambda: torch.rand(1, 3, 16, 16)),
    "text": (Text, lambda: torch.randint(0, 50, (1, 12))),
    "counted": (Counted, lambda: torch.randn(1, 32)),
}
SHORT = {f"{name} in {dtype}": (lambda kind=kind, dtype=dtype: kind().to(dtype), draw if name == "text" else
                                lambda draw=draw, dtype=dtype: draw().to(dtype))
         for name, (kind, draw) in SAMPLES.items() for dtype in (torch.float16, torch.bfloat16)}


@pytest.fixture(scope="module", params=SAMPLES)
def model(request, tmp_path_factory):
    """A folder with model.pt2, samples.safetensors, inputs.safetensors and what torch makes of them."""
    return exported(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return exported("picture", tmp_path_factory.mktemp("for_errors"))


def exported(name: str, folder: pathlib.Path) -> pathlib.Path:
    torch.manual_seed(0)
    kind, draw = (SAMPLES | SHORT)[name]
    module = kind().eval().requires_grad_(False)
    x = draw()
    torch.export.save(torch.export.export(module, (x,)), folder / "model.pt2")
    save_file({"input.0": torch.cat([draw() for _ in range(16)])}, folder / "samples.safetensors")
    save_file({"input.0": x}, folder / "inputs.safetensors")
    if name.startswith("counted"):
        module.sum.zero_()
    save_file({"output.0": module(x).contiguous()}, folder / "expected.safetensors")
    return folder


def quantize(sconce, folder, *options, samples="samples.safetensors", out="out.pte"):
    command = [sconce, "quantize", folder / "model.pt2", "-o", folder / out, "--json", *map(str, options)]
    if samples:
        command += ["--calibrate", folder / samples]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def relative_error(sconce, folder, pte="out.pte") -> float:
    compare.run_cli(sconce, "run", folder / pte, "--as-is", "--inputs", folder / "inputs.safetensors", "--outputs",
                    folder / "got.safetensors")
    got, wanted = (load_file(folder / f)["output.0"] for f in ("got.safetensors", "expected.safetensors"))
    assert got.shape == wanted.shape
    return float((got - wanted).norm() / wanted.norm())


LIMITS = {"int8": 0.03, "int8-fixed": 0.06, "int8-dynamic": 0.03, "int8w": 0.03, "int4-dynamic-g32": 0.25,
          "int4w-g32": 0.25}


@pytest.mark.parametrize("target", ["xnnpack", "portable", "cpu"])
def test_answers_like_the_float_model(model, target, sconce):
    for scheme, limit in LIMITS.items():
        done = quantize(sconce, model, "--scheme", scheme, "--target", target)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert relative_error(sconce, model) < limit, (scheme, target)
        assert all(o["error"] < limit for o in report["outputs"]), scheme
        assert report["samples"] == 16
        assert report["weight_bytes_after"] < report["weight_bytes_before"] * (0.36 if "8" in scheme else 0.25)
        for layer in report["layers"]:
            assert layer["why_float"] or layer["bits"] in (8, 4)
            assert layer["why_float"] or layer["sqnr_alone_db"] > 8


def test_writes_archives_that_torch_loads(model, sconce):
    """A .pt2 answers in torch like the float model, and compiled like the program that is written at once."""
    import torch.ao.quantization.fx._decomposed  # noqa: F401  registers operators
    pytest.importorskip("executorch.exir.passes._quant_patterns_and_replacements")
    x = load_file(model / "inputs.safetensors")["input.0"]
    wanted = load_file(model / "expected.safetensors")["output.0"]
    for scheme, limit in LIMITS.items():
        assert quantize(sconce, model, "--scheme", scheme, "--target", "cpu").returncode == 0
        at_once = relative_error(sconce, model), load_file(model / "got.safetensors")["output.0"]
        done = quantize(sconce, model, "--scheme", scheme, out="out.pt2")
        assert done.returncode == 0, done.stderr
        program = torch.export.load(model / "out.pt2")
        traces = [node.meta.get("stack_trace") or "" for node in program.graph.nodes]
        assert any('File "test_quantize.py", line' in trace for trace in traces)
        answer = program.module()(x)
        assert (answer - wanted).norm() < limit * wanted.norm(), scheme
        assert any(t.dtype in (torch.int8, torch.uint8) for t in program.state_dict.values())
        compare.run_cli(sconce, "compile", model / "out.pt2", "-o", model / "again.pte", "--target", "cpu")
        assert relative_error(sconce, model, "again.pte") == at_once[0], scheme
        assert torch.equal(load_file(model / "got.safetensors")["output.0"], at_once[1]), scheme


class Nested(nn.Module):
    """Arguments in a dictionary, one of them fixed; results in one; a number where a tensor is; shapes of what
    was transposed; several results of one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 4)

    def forward(self, inputs, flag=True):
        y = torch.where(inputs["mask"], self.up(inputs["x"]), -3.5)
        left, right = y.transpose(1, 2).reshape(2, 6, 16).chunk(2, 1)
        largest, where = torch.maximum(left, right.exp() if flag else right).max(2)
        return {"y": self.down(left + 1), "largest": largest, "where": where}


def test_writes_archives_of_nested_arguments(sconce, tmp_path):
    import torch.ao.quantization.fx._decomposed  # noqa: F401
    torch.manual_seed(0)
    inputs = {"x": torch.randn(2, 3, 16), "mask": torch.rand(2, 3, 1) > 0.3}
    program = torch.export.export(Nested().eval(), (inputs,), {"flag": True})
    torch.export.save(program, tmp_path / "model.pt2")
    done = quantize(sconce, tmp_path, "--scheme", "int8w", samples=None, out="out.pt2")
    assert done.returncode == 0, done.stderr
    answer, wanted = (p.module()(inputs, flag=True) for p in (torch.export.load(tmp_path / "out.pt2"), program))
    assert list(answer) == list(wanted)
    for name in ("y", "largest"):
        assert (answer[name] - wanted[name]).norm() < 0.02 * wanted[name].norm(), name
    assert answer["where"].dtype == torch.int64


def test_refuses_archives_of_sizes_that_change(sconce, tmp_path):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(nn.Linear(16, 8).eval(), (torch.randn(2, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    (tmp_path / "out.pt2").write_text("as before")
    done = quantize(sconce, tmp_path, "--scheme", "int8w", samples=None, out="out.pt2")
    assert done.returncode == 5 and "a size that changes" in done.stderr, done.stderr
    assert (tmp_path / "out.pt2").read_text() == "as before"


@pytest.mark.parametrize("name", SHORT)
def test_models_of_16_bits_are_quantised_as_those_of_f32(name, sconce, tmp_path):
    folder = exported(name, tmp_path)
    for scheme, target in [("int8", "cpu"), ("int8-dynamic", "xnnpack"), ("int4w-g32", "portable")]:
        done = quantize(sconce, folder, "--scheme", scheme, "--target", target)
        assert done.returncode == 0, done.stderr
        assert load_file(folder / "inputs.safetensors")["input.0"].dtype != torch.float32
        assert relative_error(sconce, folder) < LIMITS[scheme], (scheme, target)
        assert any("as one of f32" in note for note in json.loads(done.stdout)["notes"])


@pytest.mark.parametrize("observer", ["min-max", "moving-average", "percentile", "kl", "mse"])
def test_every_observer_gives_a_model_that_works(picture, observer, sconce):
    done = quantize(sconce, picture, "--observer", observer, "--equalize")
    assert done.returncode == 0, done.stderr
    assert relative_error(sconce, picture) < 0.1


def test_keeps_layers_that_it_is_told_to(picture, sconce):
    done = quantize(sconce, picture, "--keep", "*wise", "--keep", "aten::linear")
    floats = {x["name"] for x in json.loads(done.stdout)["layers"] if x["why_float"]}
    assert floats == {"depthwise", "hidden", "out"}


def test_keeps_as_many_layers_float_as_the_error_asks_for(picture, sconce):
    loose = json.loads(quantize(sconce, picture, "--scheme", "int4w-g32").stdout)
    wanted = loose["outputs"][0]["error"] / 2
    tight = json.loads(quantize(sconce, picture, "--scheme", "int4w-g32", "--max-error", wanted).stdout)
    floats = [x for x in tight["layers"] if x["why_float"]]
    assert 0 < len(floats) < len(tight["layers"])
    assert tight["outputs"][0]["error"] < loose["outputs"][0]["error"] / 1.5
    refused = quantize(sconce, picture, "--max-error", 1e-12)
    assert refused.returncode and "alone" in refused.stderr


def test_gives_as_many_layers_4_bits_as_the_size_asks_for(model, sconce):
    if model.name.startswith("counted"):
        return  # one layer
    whole = json.loads(quantize(sconce, model, "--scheme", "int8-dynamic").stdout)
    limit = whole["file_bytes_after"] - 1000
    small = json.loads(quantize(sconce, model, "--scheme", "int8-dynamic", "--max-size", limit).stdout)
    assert small["file_bytes_after"] <= limit
    assert {x["bits"] for x in small["layers"]} == {4, 8}
    refused = quantize(sconce, model, "--scheme", "int8-dynamic", "--max-size", 100)
    assert refused.returncode and "smallest" in refused.stderr


def test_writes_a_page_of_its_own(picture, sconce):
    assert quantize(sconce, picture, "--report", picture / "page.html").returncode == 0
    page = (picture / "page.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 2
    assert "depthwise" in page and "http" not in page


def test_reads_folders_of_npy_and_safetensors(picture, sconce):
    folder = picture / "folder"
    folder.mkdir()
    np.save(folder / "a.npy", np.random.rand(1, 3, 16, 16).astype(np.float32))
    save_file({"input.0": torch.rand(4, 1, 3, 16, 16)}, folder / "b.safetensors")  # one dimension in front
    (folder / "notes.txt").write_text("no tensors")
    report = json.loads(quantize(sconce, picture, samples="folder").stdout)
    assert report["samples"] == 5


def nan_at(index: int) -> torch.Tensor:
    x = torch.rand(2, 3, 16, 16)
    x.view(-1)[index] = float("nan")
    return x


BAD_SAMPLES = {
    "nan": ({"input.0": nan_at(1000)}, "1000"),
    "infinite": ({"input.0": torch.full((1, 3, 16, 16), float("inf"))}, "inf"),
    "shape": ({"input.0": torch.rand(1, 3, 16, 17)}, "[1, 3, 16, 17]"),
    "rank": ({"input.0": torch.rand(16)}, "[16]"),
    "dtype": ({"input.0": torch.rand(1, 3, 16, 16, dtype=torch.float64)}, "f64"),
    "empty": ({"input.0": torch.rand(0, 3, 16, 16)}, "no sample"),
    "name": ({"image": torch.rand(1, 3, 16, 16)}, "input.0"),
    "too_many": ({"input.0": torch.rand(1, 3, 16, 16), "input.1": torch.rand(1)}, "input.1"),
    "large": ({"input.0": torch.full((1, 3, 16, 16), 3e38)}, "finite"),  # infinite inside the model
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_refuses_samples_that_are_wrong(picture, name, sconce):
    tensors, says = BAD_SAMPLES[name]
    save_file(tensors, picture / "bad.safetensors")
    done = quantize(sconce, picture, samples="bad.safetensors", out="bad.pte")
    assert done.returncode and says in done.stderr, done.stderr
    assert "bad.safetensors" in done.stderr
    assert not (picture / "bad.pte").exists()


@pytest.mark.parametrize("options, says", [
    (["--scheme", "int3"], "int8-dynamic"),
    (["--target", "toaster"], "xnnpack"),
    (["--observer", "magic"], "percentile"),
    (["--keep", "typo"], "typo"),
    (["--keep", "*"], "kept by"),
    (["--percentile", "3"], "percentile"),
    (["--smooth", "2"], "smooth"),
    (["--max-error", "-1"], "max error"),
])
def test_refuses_options_that_are_wrong(picture, options, says, sconce):
    done = quantize(sconce, picture, *options, out="bad.pte")
    assert done.returncode and says in done.stderr, done.stderr
    assert not (picture / "bad.pte").exists()


def test_refuses_fixed_ranges_without_samples_and_empty_folders(picture, sconce):
    done = quantize(sconce, picture, samples=None, out="bad.pte")
    assert done.returncode and "samples" in done.stderr
    (picture / "none").mkdir()
    done = quantize(sconce, picture, samples="none", out="bad.pte")
    assert done.returncode and "none" in done.stderr
    assert quantize(sconce, picture, "--scheme", "int8w", samples=None, out="w.pte").returncode == 0


def test_keeps_constant_and_dead_channels(tmp_path, sconce):
    torch.manual_seed(0)
    module = Picture().eval().requires_grad_(False)
    module.first.weight[3] = 0
    module.first.bias[3] = 0
    module.depthwise.weight[5] = 1e-30
    module.hidden.weight[:] = 0
    x = torch.rand(1, 3, 16, 16)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "model.pt2")
    save_file({"input.0": torch.zeros(4, 3, 16, 16)}, tmp_path / "samples.safetensors")
    save_file({"input.0": x}, tmp_path / "inputs.safetensors")
    save_file({"output.0": module(x)}, tmp_path / "expected.safetensors")
    done = quantize(sconce, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 in all samples" in done.stdout
    assert relative_error(sconce, tmp_path) < 0.02


def test_refuses_weights_that_are_no_numbers(tmp_path, sconce):
    module = nn.Sequential(nn.Linear(4, 4))
    module[0].weight.data[1, 2] = float("nan")
    torch.export.save(torch.export.export(module, (torch.rand(1, 4),)), tmp_path / "model.pt2")
    done = quantize(sconce, tmp_path, "--scheme", "int8w", samples=None)
    assert done.returncode and "element 6" in done.stderr and "nan" in done.stderr
