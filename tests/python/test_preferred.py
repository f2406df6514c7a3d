"""`--prefer speed`: products by Strassen's method are torch's, whatever stands around them, and the same bits
on every instruction set and number of threads."""

import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from export_models import save_tensors

WIDTH = 512


class Linears(nn.Module):
    """With what follows in the kernel: a function, a sum with other rows, a clamp."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.third, self.fourth = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, x):
        y = x + self.second(F.gelu(self.first(x)))
        return torch.relu(self.third(y) + x), self.fourth(y).clamp(-1, 0.5)


class Matrices(nn.Module):
    """Columns as they lie in [steps, columns], with a bias and without; one that is no vector."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(WIDTH, WIDTH) / WIDTH**0.5) for _ in range(3))
        self.bias, self.rows = nn.Parameter(torch.randn(WIDTH)), nn.Parameter(torch.randn(96, WIDTH))

    def forward(self, x):
        y = torch.addmm(self.bias, x, self.a)
        return torch.mm(y, self.b), torch.addmm(self.rows, y, self.c)


class BothWays(nn.Module):
    """One square matrix by its rows and by its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(WIDTH, WIDTH) / WIDTH**0.5)

    def forward(self, x):
        return F.linear(x, self.a), torch.mm(x, self.a)


class Heads(nn.Module):
    """Results that are read in another order, and parts of one that lie apart."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.out = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k = self.both(x).unflatten(-1, (16, 64)).transpose(1, 2).split(8, 1)
        return self.out((q + k).transpose(1, 2).flatten(2)), torch.cat([q, k], 2)


# The module, its input, how many products by weights grow, sizes that a call tells.
PAIRS = torch.export.Dim("pairs", min=48, max=256)
CASES = {
    "linears": (Linears, (96, WIDTH), 5, None),
    "batches": (Linears, (3, 64, WIDTH), 5, None),
    "matrices": (Matrices, (96, WIDTH), 2, None),
    "both_ways": (BothWays, (96, WIDTH), 2, None),
    "heads": (Heads, (2, 64, WIDTH), 3, None),
    "any_even_rows": (Linears, (128, WIDTH), 5, {0: 2 * PAIRS}),
    "odd_rows": (Linears, (97, WIDTH), 5, None),
    "odd_rows_of_batches": (Heads, (2, 65, WIDTH), 3, None),
    "few_rows": (Linears, (8, WIDTH), 0, None),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, sconce, tmp_path_factory):
    make, sizes, products, dynamic = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    module = make().eval()
    # One channel is many times as large as the others, as transformers have them.
    x = torch.randn(sizes) * torch.where(torch.arange(WIDTH) == 7, 50.0, 1.0)
    torch.export.save(torch.export.export(module, (x,), dynamic_shapes=(dynamic,) if dynamic else None),
                      folder / "model.pt2")
    for prefer in ("balance", "speed"):
        subprocess.run([sconce, "compile", folder / "model.pt2", "-o", folder / f"{prefer}.pte", "--target", "cpu",
                        "--prefer", prefer], check=True, capture_output=True, timeout=120)
    return folder, module, x, products, dynamic


def run(sconce, folder, x, prefer="speed", threads=1, isa=""):
    save_tensors(folder / "inputs.safetensors", "input", [x])
    done = subprocess.run([sconce, "run", folder / f"{prefer}.pte", "--inputs", folder / "inputs.safetensors",
                           "--outputs", folder / "got.safetensors", "--threads", str(threads)],
                          capture_output=True, text=True, timeout=120,
                          env={**os.environ, **({"SCONCE_ISA": isa} if isa else {})})
    if isa and done.returncode != 0 and "SCONCE_ISA" in done.stderr:
        print(f"[SKIP] {done.stderr.strip()}")
        return None
    assert done.returncode == 0, done.stderr
    return list(load_file(folder / "got.safetensors").values())


def test_answers_are_those_of_torch(case, sconce):
    folder, module, x, products, dynamic = case
    more = (folder / "speed.pte").stat().st_size - (folder / "balance.pte").stat().st_size
    assert abs(more - products * WIDTH * WIDTH * 4 * 3 // 4) < 20_000, "other products than those by this method"
    exact = module.double()
    for rows in (x, x[:96], x[:102]) if dynamic else (x,):
        wanted = exact(rows.double())
        for got, plain, right in zip(run(sconce, folder, rows), run(sconce, folder, rows, "balance"), wanted,
                                     strict=True):
            scale = right.abs().max()
            assert got.shape == right.shape
            error, of_plain = ((y.double() - right).abs().max() / scale for y in (got, plain))
            assert error < 5e-5 and error < 12 * of_plain + 1e-7, (float(error), float(of_plain))
    module.float()


def test_bits_are_the_same_everywhere(case, sconce):
    folder, _, x, _, _ = case
    first = run(sconce, folder, x)
    for isa in ("plain", "avx2", "avx512", ""):
        for threads in (1, 3):
            answer = run(sconce, folder, x, threads=threads, isa=isa)
            for got, wanted in zip(answer or first, first, strict=True):
                assert torch.equal(got, wanted), f"{isa or 'the best set'}, {threads} threads"


def test_what_is_not_finite_stays_in_its_pair_of_rows(case, sconce):
    folder, _, x, products, _ = case
    if x.dim() != 2 or not products:
        pytest.skip("rows in pairs of one matrix")
    x = x.clone()
    x[10, 3] = float("inf")
    # Of an odd number of rows the other one is as far away as half of them.
    pair = {10, 10 + len(x) // 2 if len(x) % 2 else 11}
    for answer in run(sconce, folder, x):
        bad = (~answer.isfinite()).any(1).nonzero().flatten().tolist()
        assert 10 in bad and set(bad) <= pair
