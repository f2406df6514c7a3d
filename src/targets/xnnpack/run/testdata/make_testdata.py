"""Makes the .pte files of this folder with stock's XNNPACK partitioner, and cases.txt beside them.

Versions used: torch 2.13.0, executorch 1.5.1. Run: python make_testdata.py [NAME ...]
cases.txt is laid out as in src/runtime/testdata; its answers come from stock's own runtime.
"""

import copy
import os
import sys

import torch
from torch import nn
from torch.export import Dim, export
from torch.nn import functional as F
from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
    XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer, get_symmetric_quantization_config)
from torchao.quantization.granularity import PerAxis, PerGroup
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig, quantize_

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../../../runtime/testdata"))
import make_testdata as runtime_testdata

MADE = {}


def made(make):
    MADE[make.__name__] = make
    return make


class Of(nn.Module):
    """A module of a function and the modules it uses."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)
        self.eval()

    def forward(self, *x):
        return self.function(*self.parts, *x)


def save(name, module, *calls, shapes=None, partitioner=None):
    with torch.no_grad():
        program = export(module, calls[0], dynamic_shapes=shapes, strict=False)
    runtime_testdata.save(name, program, {"forward": list(calls)},
                          partitioner=partitioner or [XnnpackPartitioner()], here=HERE)


def quantized(module, *calls, **options):
    with torch.no_grad():
        program = export(module, calls[0], strict=False).module()
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(**options))
        program = prepare_pt2e(program, quantizer)
        for call in calls:
            program(*call)
        return convert_pt2e(program)


x = lambda *sizes: torch.randn(*sizes)


@made
def linear(name):
    save(name, Of(lambda a, b, x: b(F.relu(a(x))), nn.Linear(5, 7), nn.Linear(7, 3, bias=False)),
         (x(2, 5),))


@made
def linear_dynamic(name):
    save(name, Of(lambda a, x: F.hardtanh(a(x).view(x.shape[0], 2, 2) * 3), nn.Linear(3, 4)),
         (x(4, 3),), (x(2, 3),), (x(7, 3),), shapes=(({0: Dim("n", min=1, max=8)},),))


@made
def conv(name):
    parts = (nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, groups=4, dilation=2, padding=2),
             nn.Conv2d(4, 6, (1, 2), groups=2, bias=False))
    save(name, Of(lambda a, b, c, x: F.relu(c(F.relu6(b(a(x))))), *parts), (x(1, 3, 9, 8),))


@made
def conv_channels_last(name):
    image = x(2, 2, 5, 4).to(memory_format=torch.channels_last)
    save(name, Of(lambda a, x: a(x), nn.Conv2d(2, 3, 3)), (image,))


@made
def conv_transpose(name):
    parts = (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
             nn.ConvTranspose2d(4, 4, (2, 3), stride=(1, 2)))
    save(name, Of(lambda a, b, x: b(F.relu(a(x))), *parts), (x(1, 3, 4, 5),))


@made
def pools(name):
    def run(x):
        a = F.max_pool2d(x, 3, 2, 1)
        b = F.avg_pool2d(x, 2, 2, 0)
        return a, b, x.mean((2, 3), keepdim=True), F.max_pool2d(x, 2, 1, dilation=2)
    save(name, Of(run), (x(1, 3, 6, 7),))


@made
def unary(name):
    functions = (torch.sigmoid, torch.floor, torch.ceil, F.hardswish, torch.neg, torch.abs, F.gelu,
                 torch.tanh, torch.exp, torch.sin, torch.cos, lambda x: x ** 2,
                 lambda x: F.leaky_relu(x, 0.1))
    values = torch.tensor([[-3.5, -1.0, -0.25, 0.0], [0.3, 1.0, 2.5, 5.0]])
    save(name, Of(lambda x: tuple(f(x) for f in functions)), (values,))


@made
def unary_positive(name):
    values = torch.tensor([[0.01, 0.5, 1.0], [2.0, 9.0, 100.0]])
    save(name, Of(lambda x: (torch.sqrt(x), torch.rsqrt(x), torch.log(x))), (values,))


@made
def limits(name):
    values = torch.tensor([-float("inf"), -2.0, -0.0, 0.5, float("inf"), float("nan")])
    functions = (F.relu, F.relu6, lambda x: torch.clamp(x, -1, 1), lambda x: torch.clamp(x, max=0.25),
                 lambda x: F.relu(x + x), F.hardtanh)
    save(name, Of(lambda x: tuple(f(x) for f in functions)), (values,))


@made
def binary(name):
    def run(x, y, z):
        return x + y, x - z, x * z, x / y, torch.maximum(x, y), torch.minimum(z, x), F.relu(x - y)
    save(name, Of(run), (x(2, 3, 4), x(3, 1), x(2, 3, 4)))


@made
def prelu(name):
    save(name, Of(lambda a, x: a(x), nn.PReLU(3)), (x(2, 3, 2, 2),))


@made
def softmax(name):
    save(name, Of(lambda x: F.softmax(x, -1)), (x(2, 3, 5) * 4,))


@made
def moves(name):
    def run(x, y):
        joined = torch.cat([x.permute(0, 2, 1), y.reshape(2, 4, 5), x.permute(0, 2, 1)[:, :, 1:3]], -1)
        return F.pad(joined[:, 1:3, 2:], (1, 2, 0, 1), value=-1.5).unsqueeze(1)
    save(name, Of(run), (x(2, 3, 4), x(4, 10)))


@made
def cat5(name):
    save(name, Of(lambda a, b, c, d, e, f: torch.cat([a, b, c, d, e, f, a], 1)),
         tuple(x(2, n) for n in (1, 2, 3, 1, 2, 1)))


@made
def bmm(name):
    save(name, Of(lambda x, y: F.softmax(torch.bmm(x, y) * 0.5, -1)), (x(3, 2, 4), x(3, 4, 5)))


@made
def resize(name):
    def run(x):
        return (F.interpolate(x, size=(5, 7), mode="bilinear", align_corners=True),
                F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
    save(name, Of(run), (x(1, 2, 3, 4),))


@made
def argmax(name):
    save(name, Of(lambda x: tuple(torch.max(x, dim=2, keepdim=True))), (x(1, 2, 5, 6),))


@made
def half(name):
    save(name, Of(lambda a, b, x: F.relu(b(a(x))),
                  nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 1)).half(), (x(1, 2, 4, 4).half(),))


@made
def half_linear(name):
    save(name, Of(lambda a, x: torch.sigmoid(a(x)) + 1, nn.Linear(6, 4)).half(), (x(3, 6).half(),))


@made
def brain_linear(name):
    save(name, Of(lambda a, x: a(x), nn.Linear(6, 4)).bfloat16(), (x(3, 6).bfloat16(),),
         partitioner=[XnnpackPartitioner(enable_bf16=True)])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.deep = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, groups=4)
        self.linear = nn.Linear(16, 5)
        self.eval()

    def forward(self, x):
        y = F.relu(self.conv(x))
        y = self.deep(y + y * 0.5)
        y = F.max_pool2d(y, 2).reshape(x.shape[0], 16)
        return self.linear(y)


@made
def int8_per_tensor(name):
    call = (x(2, 3, 6, 6),)
    save(name, quantized(Net(), call, is_per_channel=False), call)


@made
def int8_per_channel(name):
    call = (x(2, 3, 6, 6),)
    save(name, quantized(Net(), call, is_per_channel=True), call)


@made
def int8_moves(name):
    def run(a, x):
        y = F.hardtanh(a(x))
        y = torch.cat([y, y + 1, y * 2], 1).permute(0, 2, 1)[:, 1:]
        return y.unsqueeze(0).mean((2, 3)) - 0.25
    call = (x(2, 3, 4),)
    save(name, quantized(Of(run, nn.Linear(4, 4)), call, is_per_channel=True), call)


@made
def int8_conv_transpose(name):
    call = (x(1, 2, 4, 4),)
    save(name, quantized(Of(lambda a, x: a(x), nn.ConvTranspose2d(2, 3, 2, stride=2)), call), call)


def dynamic(name, module, *calls):
    save(name, module, *calls, partitioner=[XnnpackDynamicallyQuantizedPartitioner()])


@made
def dynamic_int8(name):
    call = (x(3, 6),)
    module = Of(lambda a, b, x: b(F.relu(a(x))), nn.Linear(6, 4), nn.Linear(4, 3, bias=False))
    dynamic(name, quantized(module, call, is_per_channel=True, is_dynamic=True), call)


@made
def dynamic_int8_conv(name):
    call = (x(2, 3, 5, 5),)
    module = quantized(Of(lambda a, x: a(x), nn.Conv2d(3, 4, 3, padding=1)), call,
                       is_per_channel=True, is_dynamic=True)
    dynamic(name, module, call)


def int4(granularity):
    module = Of(lambda a, x: a(x), nn.Linear(64, 3))
    quantize_(module, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4,
                                                            weight_granularity=granularity))
    return module


@made
def int4_channel(name):
    dynamic(name, int4(PerAxis(0)), (x(2, 64),))


@made
def int4_group(name):
    dynamic(name, int4(PerGroup(32)), (x(2, 64),))


def main():
    path, chosen = os.path.join(HERE, "cases.txt"), sys.argv[1:] or list(MADE)
    kept = [line for line in open(path)] if os.path.exists(path) else []
    lines = {name: [line for line in kept if line.split()[0] == name] for name in MADE}
    for name in chosen:
        torch.manual_seed(1)
        runtime_testdata.CASES.clear()
        try:
            MADE[name](name)
        except Exception as error:
            print(name, "FAILED", type(error).__name__, str(error)[:300])
            continue
        lines[name] = [line + "\n" for line in runtime_testdata.CASES]
    with open(path, "w") as f:
        f.writelines(line for name in MADE for line in lines[name])


if __name__ == "__main__":
    main()
