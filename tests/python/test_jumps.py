"""Stock's files with jumps (cond, map, scan) are compiled anew: branches become branches again, loops of
known rounds are written out. The answer is that of stock's runtime for the file as stock made it."""

import warnings

import pytest
import torch
from torch import nn

from both_runtimes import BothRuntimes

warnings.filterwarnings("ignore")


class Choice(nn.Module):
    """A branch within a branch; one gives its operand back, constants lie in both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, limit):
        def larger(x, limit):
            return torch.cond(x.max() > 2 * limit.sum(), lambda x: (self.a(x).relu(), x * 3),
                              lambda x: (self.a(x) + 1, x.clone()), (x,))

        def smaller(x, limit):
            return self.b(x).tanh(), x + limit

        y, z = torch.cond(x.sum() > limit.sum(), larger, smaller, (x, limit))
        return y + z, z.relu()


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, rows, shift):
        from torch._higher_order_ops.map import map as map_rows

        return map_rows(lambda x, y: torch.sigmoid(self.layer(x)) + y, rows, shift).mean(0)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, state, steps):
        from torch._higher_order_ops.scan import scan

        def step(state, x):
            state = torch.tanh(self.layer(state) + x)
            return state, state * 2

        return scan(step, state, steps)


CASES = {
    "choice": (Choice(), [(torch.full((2, 4), v) + torch.randn(2, 4) * 0.1, torch.tensor([l]))
                          for v, l in ((1.0, 0.2), (1.0, 4.0), (-1.0, 0.5), (1.0, 0.9))]),
    "rows": (Rows(), [(torch.randn(5, 2, 4), torch.randn(3)) for _ in range(2)]),
    "recurrent": (Recurrent(), [(torch.randn(2, 4), torch.randn(6, 2, 4)) for _ in range(2)]),
}


@pytest.mark.parametrize("name", CASES)
def test_stocks_file_compiled_anew_answers_as_stock_does(name, sconce, oracle, tmp_path):
    from executorch.exir import EdgeCompileConfig, to_edge

    module, calls = CASES[name]
    exported = torch.export.export(module.eval().requires_grad_(False), calls[0], strict=True)
    stock = tmp_path / "stock.pte"
    lowered = to_edge(exported, compile_config=EdgeCompileConfig(_check_ir_validity=False))
    stock.write_bytes(lowered.to_executorch().buffer)
    both = BothRuntimes(oracle, sconce, tmp_path, calls)
    both.on_stock(stock, "expected")
    both.on_ours(stock, "--as-is")
    both.judge("ours")
    assert "compiled anew" in both.on_ours(stock, "--verbose")
    both.judge("ours")
    both.check_for_stock(stock)
