"""Stock's quantised files (PT2E and torchao through its XNNPACK partitioner) compiled anew: the answer is
that of stock's runtime for the file as stock made it, within one step of 8 bits; the file for XNNPACK
is one payload again."""

import pathlib
import warnings

import pytest
import torch

from both_runtimes import BothRuntimes
from test_quantized import CASES, STEP, with_pt2e

warnings.filterwarnings("ignore")
NAMES = ("static_per_channel", "dynamic", "dynamic_int4_channels", "dynamic_int4_groups")


def stocks_file(exported, dynamic: bool) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
    from executorch.exir import to_edge_transform_and_lower

    partitioners = [XnnpackDynamicallyQuantizedPartitioner()] if dynamic else []
    return to_edge_transform_and_lower(exported, partitioner=[*partitioners, XnnpackPartitioner()]
                                       ).to_executorch().buffer


def range_of_answers(exported) -> float | None:
    """What the model's last integers can say, 127 steps, whatever a call's answer uses of it; None for
    models that end in numbers."""
    graph = list(exported.graph.nodes)
    last = graph[-1].args[0][0]
    if "dequantize_per_tensor.default" not in str(last.target):
        return None
    return last.args[1] / STEP


def made(name: str, seed: int, folder: pathlib.Path):
    """A flow's program with random weights, stock's file of it, and calls of three sizes."""
    torch.manual_seed(seed)
    exported, example = CASES[name][0]()
    stock = folder / "stock.pte"
    stock.write_bytes(stocks_file(exported, "dynamic" in name))
    return exported, stock, [tuple(torch.randn_like(x) * scale for x in example) for scale in (1, 0.5, 3)]


@pytest.mark.parametrize("name", NAMES)
def test_stocks_quantised_file_compiled_anew_answers_as_stock_does(name, sconce, oracle, tmp_path):
    exported, stock, calls = made(name, 0, tmp_path)
    # One step, whatever a float makes of it.
    both = BothRuntimes(oracle, sconce, tmp_path, calls, limit=1.01 * STEP, scale=range_of_answers(exported))
    both.on_stock(stock, "expected")
    assert "compiled anew" in both.on_ours(stock, "--verbose")
    both.judge("ours")
    assert "forward: 1 instructions" in both.check_for_stock(stock)


class Means(torch.nn.Module):
    """Of 16 integers: one in sixteen ends in a half."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x + x, 1)


@pytest.mark.parametrize("seed", (1, 3))
def test_halves_of_means_are_rounded_as_stock_rounds_them(seed, sconce, oracle, tmp_path):
    torch.manual_seed(seed)
    x = torch.randn(1, 2000, 4, 4)
    exported = with_pt2e(Means().eval(), (x,), is_per_channel=True)
    last = [node for node in exported.graph.nodes if "dequantize_per_tensor" in str(node.target)][-1]
    assert last.args[2] % 2, "the zero point is even: halves are the same anyway"
    stock = tmp_path / "stock.pte"
    stock.write_bytes(stocks_file(exported, False))
    both = BothRuntimes(oracle, sconce, tmp_path, [(x,), (x / 2,)], limit=1e-6)
    both.on_stock(stock, "expected")
    both.on_ours(stock)
    both.judge("ours")
