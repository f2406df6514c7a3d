"""Stock's quantised files (PT2E and torchao through its XNNPACK partitioner) compiled anew: the answer is
that of stock's runtime for the file as stock made it, within two steps of 8 bits (XNNPACK's vector
kernels multiply with fewer bits than its reference); the file for XNNPACK is one payload again."""

import warnings

import pytest
import torch

import compare
from export_models import flat_tensors, save_tensors
from oracle import Oracle
from test_quantized import CASES, STEP

warnings.filterwarnings("ignore")
NAMES = ("static_per_channel", "dynamic", "dynamic_int4_channels", "dynamic_int4_groups")


@pytest.fixture(scope="module")
def oracle():
    made = Oracle()
    yield made
    made.close()


def stocks_file(exported, dynamic: bool) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner, XnnpackPartitioner)
    from executorch.exir import to_edge_transform_and_lower

    partitioners = [XnnpackDynamicallyQuantizedPartitioner()] if dynamic else []
    return to_edge_transform_and_lower(exported, partitioner=[*partitioners, XnnpackPartitioner()]
                                       ).to_executorch().buffer


@pytest.mark.parametrize("name", NAMES)
def test_stocks_quantised_file_compiled_anew_answers_as_stock_does(name, sconce, oracle, tmp_path):
    torch.manual_seed(0)
    exported, example = CASES[name][0]()
    stock = tmp_path / "stock.pte"
    stock.write_bytes(stocks_file(exported, "dynamic" in name))
    files = []
    for number, scale in enumerate((1, 0.5, 3)):
        tensors, leaves = flat_tensors(tuple(torch.randn_like(x) * scale for x in example))
        save_tensors(tmp_path / f"in.{number}", "input", tensors)
        files.append({"inputs": leaves, "from": str(tmp_path / f"in.{number}")})

    def on_stock(pte, to: str) -> None:
        oracle.ask({"do": "run", "pte": str(pte),
                    "calls": [{**file, "to": str(tmp_path / f"{to}.{i}")} for i, file in enumerate(files)]})

    def judge() -> None:
        for i in range(len(files)):
            compare.error_of(tmp_path / f"got.{i}", tmp_path / f"expected.{i}", 2 * STEP)

    on_stock(stock, "expected")
    arguments = []
    for i, file in enumerate(files):
        arguments += ["--method", "forward", "--inputs", file["from"], "--outputs", tmp_path / f"got.{i}"]
    assert "compiled anew" in compare.run_cli(sconce, "run", stock, *arguments, "--verbose")
    judge()
    for target in ("portable", "xnnpack"):
        pte = tmp_path / f"{target}.pte"
        said = compare.run_cli(sconce, "compile", stock, "-o", pte, "--target", target)
        assert "stays as it stands" not in said
        on_stock(pte, "got")
        judge()
    assert "forward: 1 instructions" in said
