"""Graphs of PT2E by the quantizers of torchao and of stock's backends: whatever integers they choose,
where they put them and how wide they are, a model is one call of tile programs with torch's answer,
within a step of 8 bits (sums of numbers in another order may round one to its neighbour).

Quantizers whose packages are not installed (tosa-tools for Arm's, nncf and openvino for OpenVINO's, SDKs of
vendors) are skipped, with the reason.
"""

import functools
import pathlib
import re
import subprocess
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import compare
from export_models import save_tensors
from test_quantized import STEP, Heads, Picture, inductor, with_quantizer

pytest.importorskip("torchao")
warnings.filterwarnings("ignore")


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 8)

    def forward(self, x):
        return self.last(F.silu(self.norm(F.gelu(self.first(x))))).softmax(-1)


class Up(nn.Module):
    """A transposed convolution, a skip around it, gates, sizes that change."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 16, 3, 2, 1), nn.ConvTranspose2d(16, 8, 2, 2)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        y = torch.sigmoid(self.up(F.hardswish(self.down(x))))
        y = self.last(torch.cat([y, x], 1))
        return F.avg_pool2d(F.interpolate(y, scale_factor=2), 2)


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv1d(4, 16, 3, padding=1), nn.Conv1d(16, 16, 3, padding=1, groups=16)
        self.last = nn.Linear(16, 5)

    def forward(self, x):
        return self.last(F.leaky_relu(self.deep(torch.tanh(self.wide(x)))).mean(-1))


MODELS = {"picture": (Picture, (1, 3, 16, 16)), "heads": (Heads, (1, 21, 32)), "norms": (Norms, (4, 16)),
          "up": (Up, (1, 4, 12, 12)), "rows": (Rows, (2, 4, 20))}


def vulkan():
    from executorch.backends.vulkan.quantizer import vulkan_quantizer as v
    return v.VulkanQuantizer().set_global(v.get_symmetric_quantization_config(is_dynamic=False))


def qualcomm():
    from executorch.backends.qualcomm.quantizer.quantizer import QnnQuantizer
    return QnnQuantizer()


def tosa(extension: str, config: str):
    def make():
        from executorch.backends.arm import quantizer
        from executorch.backends.arm.tosa.specification import TosaSpecification
        specification = TosaSpecification.create_from_string("TOSA-1.0+INT" + extension)
        return quantizer.TOSAQuantizer(specification).set_global(getattr(quantizer, config)())
    return make


def cortex_m():
    from executorch.backends.cortex_m.quantizer.quantizer import CortexMQuantizer
    return CortexMQuantizer()


def openvino():
    from executorch.backends.openvino.quantizer import OpenVINOQuantizer
    return OpenVINOQuantizer()


QUANTIZERS = {
    **{name: functools.partial(inductor, name) for name in ("x86", "xpu", "arm")},
    "vulkan": vulkan, "qualcomm": qualcomm, "tosa": tosa("", "get_symmetric_quantization_config"),
    "tosa_16_bits": tosa("+int16", "get_symmetric_a16w8_quantization_config"), "cortex_m": cortex_m,
    "openvino": openvino,
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", QUANTIZERS)
def test_one_call_gives_torchs_answer(name, model, sconce: pathlib.Path, tmp_path):
    try:
        quantizer = QUANTIZERS[name]()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name}: {error}")
    torch.manual_seed(0)
    make, sizes = MODELS[model]
    inputs = (torch.randn(*sizes),)
    try:
        exported = with_quantizer(make().eval(), inputs, quantizer)
    except IndexError as error:  # OpenVINO's, of a bias by channel
        pytest.skip(f"{name} does not take the model: {error}")
    torch.export.save(exported, tmp_path / "model.pt2")
    save_tensors(tmp_path / "inputs", "input", list(inputs))
    save_tensors(tmp_path / "expected", "output", [exported.module()(*inputs).contiguous()])
    done = subprocess.run([sconce, "compile", tmp_path / "model.pt2", "-o", tmp_path / "model.pte"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.search(r"forward: 1 instructions", done.stdout + done.stderr), done.stdout
    compare.run_cli(sconce, "run", tmp_path / "model.pte", "--as-is", "--inputs", tmp_path / "inputs",
                    "--outputs", tmp_path / "got")
    compare.error_of(tmp_path / "got", tmp_path / "expected", STEP)
