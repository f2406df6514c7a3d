"""What torch quantises (PT2E with XNNPACK's quantizer, torchao) compiles for every target and gives
torch's answer, within one step of 8 bits, on our runtime and on stock's."""

import os
import pathlib
import re
import subprocess
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import compare
from export_models import save_tensors
from oracle import Oracle

pytest.importorskip("torchao")
warnings.filterwarnings("ignore")

STEP = 1 / 127


class Picture(nn.Module):
    """Convolutions of three kinds, sums, products, pools and what moves elements."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.groups = nn.Conv2d(8, 8, 1, groups=2)
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        y = F.relu6(self.norm(self.first(x)))
        z = self.groups(torch.relu(self.depthwise(y))) + y
        z = F.max_pool2d(z, 2)
        z = torch.cat([z, z * z], 1)[:, :8]
        return self.last(F.adaptive_avg_pool2d(z, 1).flatten(1))


class Heads(nn.Module):
    """Attention written out: products of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)

    def forward(self, x):
        q, k, v = self.all(x).view(1, 21, 3, 2, 16).permute(2, 0, 3, 1, 4)
        weights = (torch.matmul(q, k.transpose(-2, -1)) * 0.25).softmax(-1)
        return x + self.out(torch.matmul(weights, v).transpose(1, 2).reshape(1, 21, 32))


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))


def with_quantizer(model, inputs, quantizer):
    """A graph of PT2E whose ranges are those of the inputs."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph = torch.export.export(model, inputs).module(check_guards=False)
    graph = prepare_pt2e(graph, quantizer)
    graph(*inputs)
    return torch.export.export(convert_pt2e(graph), inputs)


def with_pt2e(model, inputs, **options):
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer, get_symmetric_quantization_config)

    return with_quantizer(model, inputs,
                          XNNPACKQuantizer().set_global(get_symmetric_quantization_config(**options)))


def inductor(processor: str, is_dynamic: bool = False):
    """torchao's quantizer for a kind of processors. For x86: unsigned activations; what comes out of a
    layer is quantised where the next one wants it."""
    import importlib

    module = importlib.import_module(f"torchao.quantization.pt2e.quantizer.{processor}_inductor_quantizer")
    config = getattr(module, f"get_default_{processor}_inductor_quantization_config")(
        **({"is_dynamic": True} if is_dynamic else {}))
    name = {"x86": "X86", "xpu": "XPU", "arm": "Arm"}[processor]
    quantizer = getattr(module, f"{name}InductorQuantizer")().set_global(config)
    if processor == "x86" and not is_dynamic:
        quantizer.set_function_type_qconfig(torch.matmul, config)
    return quantizer


def with_torchao(model, inputs, config):
    from torchao.quantization import quantize_
    from torchao.utils import unwrap_tensor_subclass

    quantize_(model, config)
    return torch.export.export(unwrap_tensor_subclass(model), inputs)


def dynamic_int8():
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    return Int8DynamicActivationInt8WeightConfig()


def dynamic_int4(granularity):
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig

    return Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=granularity)


def weights_only(dtype, granularity):
    from torchao.quantization import IntxWeightOnlyConfig

    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity)


def weights_f8():
    from torchao.quantization import Float8WeightOnlyConfig

    return Float8WeightOnlyConfig()


def granularity(name, *args):
    from torchao.quantization import granularity as kinds

    return getattr(kinds, name)(*args)


def example(*sizes):
    """The same numbers in every run: ranges, and so steps, are those of these."""
    return (torch.randn(*sizes, generator=torch.Generator().manual_seed(0)),)


def picture(**options):
    x = example(1, 3, 16, 16)
    return lambda: (with_pt2e(Picture().eval(), x, **options), x)


def picture_for_x86():
    x = example(1, 3, 16, 16)
    return with_quantizer(Picture().eval(), x, inductor("x86")), x


def heads():
    x = example(1, 21, 32)
    return with_quantizer(Heads().eval(), x, inductor("x86")), x


def rows(quantize):
    x = example(3, 64)
    return lambda: (quantize(layers().eval(), x), x)


# Instructions of the XNNPACK file, or None for many; error that is allowed, of the output's scale, per
# step.
CASES = {
    "static_per_channel": (picture(is_per_channel=True), 1, 2 * STEP),
    "static_per_tensor": (picture(is_per_channel=False), 1, 2 * STEP),
    # PT2E chooses one scale for all rows, XNNPACK one for each.
    "dynamic": (rows(lambda m, x: with_pt2e(m, x, is_per_channel=True, is_dynamic=True)), 1, 3 * STEP),
    # Stock has no products of bytes: sums of 32 bits stand for them.
    "dynamic_int8": (rows(lambda m, x: with_torchao(m, x, dynamic_int8())), None, STEP),
    "dynamic_int4_channels": (rows(lambda m, x: with_torchao(m, x, dynamic_int4(
        granularity("PerAxis", 0)))), 1, STEP),
    # XNNPACK keeps the scales of groups as bf16.
    "dynamic_int4_groups": (rows(lambda m, x: with_torchao(m, x, dynamic_int4(
        granularity("PerGroup", 32)))), 1, STEP),
    # XNNPACK has no products of two activations, and none of integers that give numbers.
    "x86_heads": (heads, 2, 2 * STEP),
    "x86_picture": (picture_for_x86, 4, 2 * STEP),
    "x86_dynamic": (rows(lambda m, x: with_quantizer(
        m, x, inductor("x86", is_dynamic=True))), 1, 3 * STEP),
    "weights_int8": (rows(lambda m, x: with_torchao(m, x, weights_only(
        torch.int8, granularity("PerAxis", 0)))), 1, STEP),
    "weights_int4_groups": (rows(lambda m, x: with_torchao(m, x, weights_only(
        torch.int4, granularity("PerGroup", 32)))), 1, STEP),
    "weights_f8": (rows(lambda m, x: with_torchao(m, x, weights_f8())), 1, STEP),
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    oracle = Oracle(tmp_path_factory.mktemp("stock") / "stock.log")
    yield oracle
    oracle.close()


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """The exported program, its inputs, what torch makes of them, and how far that may be."""
    torch.manual_seed(0)
    make, instructions, limit = CASES[request.param]
    exported, inputs = make()
    folder = tmp_path_factory.mktemp(request.param)
    torch.export.save(exported, folder / "model.pt2")
    save_tensors(folder / "inputs.safetensors", "input", list(inputs))
    save_tensors(folder / "expected.safetensors", "output", [exported.module()(*inputs)])
    return folder, instructions, limit


def compiled(sconce: pathlib.Path, folder: pathlib.Path, target: str) -> tuple[pathlib.Path, int]:
    pte = folder / f"{target}.pte"
    done = subprocess.run([sconce, "compile", folder / "model.pt2", "-o", pte, "--target", target],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return pte, int(re.search(r"forward: (\d+) instructions", done.stdout + done.stderr).group(1))


def answers(sconce, stock, folder, pte, on_stock) -> pathlib.Path:
    got = folder / "got.safetensors"
    got.unlink(missing_ok=True)
    if on_stock:
        stock.ask({"do": "run", "pte": str(pte), "calls": [
            {"inputs": [{"tensor": 0}], "from": str(folder / "inputs.safetensors"), "to": str(got)}]})
    else:
        compare.run_cli(sconce, "run", pte, "--as-is", "--inputs", folder / "inputs.safetensors",
                        "--outputs", got)
    return got


@pytest.mark.parametrize("target", ["portable", "xnnpack", "cpu"])
def test_gives_torchs_answer(case, target, sconce, stock):
    folder, instructions, limit = case
    pte, count = compiled(sconce, folder, target)
    if target == "xnnpack" and instructions is not None:
        assert count == instructions, "the model is not one payload"
    for on_stock in (False, True):
        if on_stock and target == "cpu":
            continue
        got = answers(sconce, stock, folder, pte, on_stock)
        compare.error_of(got, folder / "expected.safetensors", limit)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_integers_of_tile_programs_have_the_same_bits_everywhere(case, sconce):
    """On every instruction set, on one thread and on more; in one call of the backend. Numbers are the
    same on those sets that round a multiply-add once."""
    folder, _, _ = case
    pte, count = compiled(sconce, folder, "cpu")
    assert count == 1, "the model is not one call"
    got, first = folder / "got.safetensors", None
    for isa in ("plain", "sse2", "avx2", "avx512", ""):
        for threads in (1, 3):
            got.unlink(missing_ok=True)
            done = subprocess.run(
                [sconce, "run", pte, "--as-is", "--inputs", folder / "inputs.safetensors", "--outputs", got,
                 "--threads", str(threads)], capture_output=True, text=True, timeout=60,
                env={**os.environ, **({"SCONCE_ISA": isa} if isa else {})})
            if isa == "sse2" and "static" not in folder.name:
                continue
            if isa and done.returncode != 0 and "SCONCE_ISA" in done.stderr:
                print(f"[SKIP] {done.stderr.strip()}")
                continue
            assert done.returncode == 0, done.stderr
            answer = list(load_file(got).values())
            first = first or answer
            for tensor, wanted in zip(answer, first, strict=True):
                assert torch.equal(tensor, wanted), f"{isa or 'the best set'}, {threads} threads"
