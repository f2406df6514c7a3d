"""ExecuTorch's operators for language models (llama::*): stock's files that hold them run here as its
own library runs them, and our files of the same programs too, here and on stock.

The answer is that of stock's runtime with its library of custom operators, for calls in order on one
loaded file, so that what lies in the caches counts.
"""

import importlib
import warnings
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

import compare
from both_runtimes import BothRuntimes

LIBRARY = "executorch.extension.llm.custom_ops.custom_ops"
warnings.filterwarnings("ignore")
try:
    importlib.import_module(LIBRARY)
except (ImportError, OSError) as problem:
    pytest.skip(f"no library of custom operators: {problem}", allow_module_level=True)
llama = torch.ops.llama

POSITIONS, HEADS, SHARED, FEATURES = 24, 4, 2, 8
WIDTH = HEADS * FEATURES


@dataclass
class Case:
    module: nn.Module
    calls: list[tuple]  # the first is what it is exported with
    dynamic_shapes: object = None
    limit: float | None = None
    hostile: list[tuple] = field(default_factory=list)  # calls that our runtime has to refuse


class Layer(nn.Module):
    """An attention layer with caches. What it does with them is the subclass's business."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH, dtype=dtype)
        self.key, self.value = (nn.Linear(WIDTH, SHARED * FEATURES, dtype=dtype) for _ in range(2))
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, POSITIONS, SHARED, FEATURES, dtype=dtype))

    def heads(self, x):
        batches, count, _ = x.shape
        return (self.query(x).view(batches, count, HEADS, FEATURES),
                *(f(x).view(batches, count, SHARED, FEATURES) for f in (self.key, self.value)))

    @staticmethod
    def start(position, count):
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at < POSITIONS)
        torch._check(at + count <= POSITIONS)
        return at


class Causal(Layer):
    def forward(self, x, position):
        q, k, v = self.heads(x)
        at = self.start(position, x.shape[1])
        llama.update_cache(k, self.keys, at)
        llama.update_cache(v, self.values, at)
        return llama.custom_sdpa(q, self.keys, self.values, at, None, 0.0, True)


class Together(Layer):
    """The operator that does all of it; a cache is read afterwards, and what it held before."""

    def forward(self, x, position):
        before = self.keys.clone()
        q, k, v = self.heads(x)
        at = self.start(position, x.shape[1])
        y = llama.sdpa_with_kv_cache(q, k, v, self.keys, self.values, at, x.shape[1], None, 0.0, True, 0.3)
        return y, self.keys.sum(-1), before.sum(-1)


class Masked(Layer):
    def forward(self, x, position, mask):
        q, k, v = self.heads(x)
        at = self.start(position, x.shape[1])
        llama.update_cache(k, self.keys, at)
        llama.update_cache(v, self.values, at)
        return llama.custom_sdpa(q, self.keys, self.values, at, mask)


class Ring(Layer):
    """A cache that is written at positions of any order, twice in one call."""

    def forward(self, x, indices, mask):
        q, k, v = self.heads(x)
        llama.update_cache_with_indices(k, self.keys, 0, indices)
        llama.update_cache_with_indices(v, self.values, 0, indices)
        llama.update_cache_with_indices(v, self.values, 0, (indices + 1) % POSITIONS)
        return llama.custom_sdpa(q, self.keys, self.values, 0, mask)


class Quantized(nn.Module):
    """Caches of integers, with a scale and zero point for each position and head."""

    def __init__(self, heads_first: bool) -> None:
        super().__init__()
        self.heads_first = heads_first
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, POSITIONS, SHARED, FEATURES, dtype=torch.int8))
            self.register_buffer(name + "_zero", torch.zeros(1, POSITIONS, SHARED, 1, dtype=torch.int8))
            self.register_buffer(name + "_scale", torch.ones(1, POSITIONS, SHARED, 1))

    def forward(self, q, q_zero, q_scale, k, zero, scale, position):
        at = Layer.start(position, k.shape[1])
        caches = []
        for name in ("keys", "values"):
            for suffix, given in (("", k), ("_zero", zero), ("_scale", scale)):
                cache = getattr(self, name + suffix)
                llama.update_cache(given, cache, at)
                caches.append(cache.transpose(1, 2).contiguous() if self.heads_first else cache)
        keys, k_zero, k_scale, values, v_zero, v_scale = caches
        if self.heads_first:
            q, q_zero, q_scale = (t.transpose(1, 2).contiguous() for t in (q, q_zero, q_scale))
        return llama.custom_quantized_sdpa(q, keys, values, at, None, 0.0, True, None, q_zero, q_scale, k_zero,
                                           k_scale, v_zero, v_scale, self.heads_first)


class Hadamard(nn.Module):
    def forward(self, x, y):
        return llama.fast_hadamard_transform(x), llama.fast_hadamard_transform(y) * 2


def at(position: int) -> torch.Tensor:
    return torch.tensor([position])


def steps(count: int, *positions: int, dtype=torch.float32) -> list[tuple]:
    return [(torch.randn(1, count, WIDTH, dtype=dtype), at(position)) for position in positions]


def mask_of(rows: int) -> torch.Tensor:
    mask = torch.zeros(rows, POSITIONS).masked_fill(torch.rand(rows, POSITIONS) > 0.5, -torch.inf)
    mask[:, 0] = 0.25
    return mask


def integers() -> tuple:
    def whole(*sizes):
        return torch.randint(-128, 128, sizes).to(torch.int8)

    return (whole(1, 2, HEADS, FEATURES), whole(1, 2, HEADS, 1) // 16, torch.rand(1, 2, HEADS, 1) * 0.02,
            whole(1, 2, SHARED, FEATURES), whole(1, 2, SHARED, 1) // 16, torch.rand(1, 2, SHARED, 1) * 0.02)


def cases() -> dict[str, Case]:
    torch.manual_seed(0)
    outside = (-1, -POSITIONS, POSITIONS, 10**6, 2**62, -2**63)
    count = torch.export.Dim("count", min=1, max=8)
    many = [call for n, where in ((5, 0), (1, 5), (8, 6), (2, POSITIONS - 2)) for call in steps(n, where)]
    indices = [(torch.randn(1, 3, WIDTH), torch.randperm(POSITIONS)[None, :3], mask_of(3)) for _ in range(3)]
    return {
        "one_token": Case(Causal(), steps(1, 0, 1, 2, 3, POSITIONS - 1),
                          hostile=steps(1, *outside)),
        "some_tokens": Case(Causal(), steps(6, 0, 6, 12, 3), hostile=steps(6, POSITIONS - 5, *outside)),
        "any_number_of_tokens": Case(Causal(), many, dynamic_shapes=({1: count}, None)),
        "halves": Case(Causal(torch.float16), steps(3, 0, 3, 6, dtype=torch.float16), limit=4e-3),
        "together": Case(Together(), steps(2, 0, 2, 4, 1), hostile=steps(2, POSITIONS - 1, *outside)),
        "masked": Case(Masked(), [(*call, mask_of(3)) for call in steps(3, 0, 3, 6)]),
        "ring": Case(Ring(), indices, hostile=[
            (torch.randn(1, 3, WIDTH), torch.tensor([[0, 1, wrong]]), mask_of(3)) for wrong in outside]),
        "quantized": Case(Quantized(False), [(*integers(), at(p)) for p in (0, 2, 4)]),
        "quantized_heads_first": Case(Quantized(True), [(*integers(), at(p)) for p in (0, 2, 4)]),
        "hadamard": Case(Hadamard(), [(torch.randn(3, 512), torch.randn(2, 28 * 8))]),
    }


NAMES = list(cases())


class Made(BothRuntimes):
    """Stock's file of a case, its answers on stock, and our files."""

    def __init__(self, oracle, sconce, name: str, folder) -> None:
        from executorch.exir import EdgeCompileConfig, to_edge

        self.case = cases()[name]
        super().__init__(oracle, sconce, folder, self.case.calls, [LIBRARY], self.case.limit)
        module = self.case.module.eval().requires_grad_(False)
        exported = torch.export.export(module, self.case.calls[0], dynamic_shapes=self.case.dynamic_shapes,
                                       strict=True)
        torch.export.save(exported, folder / "model.pt2")
        lowered = to_edge(exported, compile_config=EdgeCompileConfig(_check_ir_validity=False))
        self.stock = folder / "stock.pte"
        self.stock.write_bytes(lowered.to_executorch().buffer)


@pytest.fixture(scope="module")
def made_of(oracle, sconce, tmp_path_factory):
    """Exports of cases, each made once."""
    exports: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in exports:
            exports[name] = Made(oracle, sconce, name, tmp_path_factory.mktemp(name))
        return exports[name]

    return make


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_stocks_own_library_does(name, sconce, made_of):
    made = made_of(name)
    made.on_stock(made.stock, "expected")

    made.on_ours(made.stock, "--as-is")
    made.judge("ours")
    said = made.on_ours(made.stock, "--verbose")
    made.judge("ours")
    if made.case.dynamic_shapes is None:
        assert "compiled anew" in said
    for target in ("cpu", "portable"):
        pte = made.folder / f"{target}.pte"
        compare.run_cli(sconce, "compile", made.folder / "model.pt2", "-o", pte, "--target", target)
        made.on_ours(pte)
        made.judge("ours")
    made.on_stock(made.folder / "portable.pte", "stock")
    made.judge("stock")


@pytest.mark.parametrize("name", [name for name, case in cases().items() if case.hostile])
def test_refuses_positions_outside_the_cache(name, sconce, made_of):
    made = made_of(name)
    cpu = made.folder / "cpu.pte"
    compare.run_cli(sconce, "compile", made.folder / "model.pt2", "-o", cpu, "--target", "cpu")
    for call in made.case.hostile:
        path, _ = made.write("hostile", call)
        for pte, how in ((made.stock, "--as-is"), (made.stock, "--verbose"), (cpu, "--verbose")):
            with pytest.raises(compare.Wrong, match=r"cache|index -?\d+ into dimension 1 of "):
                compare.run_cli(sconce, "run", pte, "--inputs", path, "--outputs", made.folder / "none", how)


def test_changes_a_cache_where_it_is(sconce, made_of):
    """Nothing is copied but the new rows."""
    made = made_of("one_token")
    cpu = made.folder / "cpu.pte"
    compare.run_cli(sconce, "compile", made.folder / "model.pt2", "-o", cpu, "--target", "cpu")
    said = compare.run_cli(sconce, "inspect", cpu)
    assert "SconceBackend" in said and "updated_cache" not in said and "aten::copy_" not in said
