"""Kernels of one's own as operators of a model: exported, compiled, run, compared with torch."""

import subprocess

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

SWIGLU = """version 2

kernel swiglu(M, K, N) {
  operator examples::swiglu.default(x, w, v, b)
  in x f32[M, K]
  in w f32[K, N] panels 0
  in v f32[K, N] panels 0
  in b f32[N]
  out y f32[M, N]
  parallel m : M
  parallel n : N
  span k : K
  %0 = load b[n]
  %1 = load x[m, k]
  %2 = load w[k, n]
  %3 = dot %0, %1, %2 over k
  %4 = silu %3
  %5 = constant f32 0
  %6 = load v[k, n]
  %7 = dot %5, %1, %6 over k
  %8 = mul %4, %7
  store y[m, n], %8
}
"""
# Two results, a number as argument.
SPLIT = """version 2

kernel parts(M, N) {
  operator examples::parts(x, limit)
  in limit f32[]
  in x f32[M, N]
  out low f32[M, N]
  out count i64[M]
  parallel m : M
  span n : N
  %0 = load x[m, n]
  %1 = load limit[]
  %2 = min %0, %1
  store low[m, n], %2
  %3 = lt %0, %1
  %4 = cast i64 %3
  %5 = reduce sum %4 over n
  store count[m], %5
}
"""
GELU = """version 2

kernel my_gelu(M, N) {
  operator aten::gelu(x)
  in x f32[M, N]
  out y f32[M, N]
  parallel m : M
  parallel n : N
  %0 = load x[m, n]
  %1 = relu %0
  store y[m, n], %1
}
"""


@torch.library.custom_op("examples::swiglu", mutates_args=())
def swiglu(x: torch.Tensor, w: torch.Tensor, v: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.silu(x @ w + b) * (x @ v)


@swiglu.register_fake
def _(x, w, v, b):
    return x.new_empty(x.shape[0], w.shape[1])


@torch.library.custom_op("examples::parts", mutates_args=())
def parts(x: torch.Tensor, limit: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.clamp(x, max=limit), (x < limit).sum(1)


@parts.register_fake
def _(x, limit):
    return torch.empty_like(x), x.new_empty(x.shape[0], dtype=torch.int64)


class Gated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(12, 20))
        self.v = torch.nn.Parameter(torch.randn(12, 20))
        self.b = torch.nn.Parameter(torch.randn(20))
        self.out = torch.nn.Linear(20, 12)

    def forward(self, x):
        y = swiglu(torch.relu(x), self.w, self.v, self.b)
        return x + self.out(y)


class Split(torch.nn.Module):
    def forward(self, x):
        low, count = parts(x * 2, 0.25)
        return low + 1, count


class Gelu(torch.nn.Module):
    def __init__(self, approximate="none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, x):
        return torch.nn.functional.gelu(x, approximate=self.approximate) + 1


class Model:
    """A module exported, with a file of kernels beside it."""

    def __init__(self, sconce, folder, module, inputs, kernels, dynamic=None):
        self.sconce, self.folder, self.inputs, self.module = sconce, folder, inputs, module
        torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic),
                          folder / "m.pt2")
        (folder / "k.tile").write_text(kernels)

    def compile(self, *options):
        return subprocess.run(
            [self.sconce, "compile", self.folder / "m.pt2", "--kernels", self.folder / "k.tile", "-o",
             self.folder / "m.pte", *options], capture_output=True, text=True)

    def run(self):
        done = self.compile()
        assert done.returncode == 0, done.stderr
        (self.folder / "k.tile").unlink()  # the program holds what it needs
        save_file({f"input.{i}": x.numpy() for i, x in enumerate(self.inputs)},
                  self.folder / "in.safetensors")
        done = subprocess.run(
            [self.sconce, "run", self.folder / "m.pte", "--inputs", self.folder / "in.safetensors",
             "--outputs", self.folder / "out.safetensors"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs = load_file(self.folder / "out.safetensors")
        return [outputs[name] for name in sorted(outputs)]


def test_custom_operator_runs_as_its_kernel(sconce, tmp_path):
    torch.manual_seed(0)
    model = Model(sconce, tmp_path, Gated(), (torch.randn(5, 12),), SWIGLU)
    (got,) = model.run()
    want = model.module(*model.inputs).detach().numpy()
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_numbers_are_arguments_and_results_may_be_several(sconce, tmp_path):
    torch.manual_seed(0)
    model = Model(sconce, tmp_path, Split(), (torch.randn(3, 17),), SPLIT)
    got = model.run()
    want = [t.numpy() for t in model.module(*model.inputs)]
    assert np.array_equal(got[0], want[0]) and np.array_equal(got[1], want[1])


def test_operator_that_is_known_can_be_replaced(sconce, tmp_path):
    torch.manual_seed(0)
    model = Model(sconce, tmp_path, Gelu(), (torch.randn(3, 17),), GELU)
    (got,) = model.run()
    assert np.array_equal(got, torch.relu(model.inputs[0]).numpy() + 1)  # the kernel says relu


def error_of(model, *options):
    done = model.compile(*options)
    assert done.returncode != 0
    assert not (model.folder / "m.pte").exists()
    return done.stderr


@pytest.mark.parametrize("old, new, told", [
    ("in x f32[M, K]", "in x f16[M, K]", "input x is f16[M, K]; the model has f32[5, 12]"),
    ("in b f32[N]", "in b f32[21]", "input b is f32[21]; the model has f32[20]"),
    ("in b f32[N]", "in b f32[K]", "input b is f32[K], where K is 12; the model has f32[20]"),
    ("out y f32[M, N]", "out y f32[M, N, 1]", "output y is f32[M, N, 1]; the model has f32[5, 20]"),
])
def test_kernel_that_does_not_fit_names_both(sconce, tmp_path, old, new, told):
    text = SWIGLU.replace(old, new)
    if "1]" in new and "out" in new:
        text = text.replace("store y[m, n]", "store y[m, n, 0]")
    model = Model(sconce, tmp_path, Gated(), (torch.randn(5, 12),), text)
    problem = error_of(model)
    assert told in problem and "kernel swiglu" in problem and "examples.swiglu" in problem, problem


def test_what_cannot_be_says_why(sconce, tmp_path):
    model = Model(sconce, tmp_path, Gated(), (torch.randn(5, 12),), SWIGLU)
    problem = error_of(model, "--target", "portable")
    assert "examples::swiglu" in problem and "target portable runs no tile kernels" in problem
    (tmp_path / "k.tile").write_text(SWIGLU.replace("version 2", "version 3"))
    assert "version 3; 1 to 2 can be read" in error_of(model)
    (tmp_path / "k.tile").write_text(SWIGLU.replace("version 2\n", ""))
    assert 'has to begin with the line "version 2"' in error_of(model)
    (tmp_path / "k.tile").write_text(SWIGLU.replace("(x, w, v, b)", "(x, w, v)"))
    assert "buffer b is 0 of its arguments; 1 is wanted" in error_of(model)
    (tmp_path / "k.tile").write_text("\n".join(l for l in SWIGLU.splitlines() if "operator" not in l))
    assert "no kernel says which operator it stands for" in error_of(model)
    (tmp_path / "k.tile").write_text(SWIGLU + SWIGLU.replace("kernel swiglu", "kernel other")[11:])
    assert "kernels swiglu and other stand for examples::swiglu" in error_of(model)
    done = subprocess.run([sconce, "compile", tmp_path / "m.pt2", "-o", tmp_path / "m.pte"],
                          capture_output=True, text=True)
    assert "examples::swiglu" in done.stderr and "--kernels" in done.stderr


def test_argument_beyond_the_kernels_is_an_error(sconce, tmp_path):
    model = Model(sconce, tmp_path, Gelu("tanh"), (torch.randn(3, 17),), GELU)
    assert 'the model also gives "approximate"' in error_of(model)


def test_sizes_have_to_be_known(sconce, tmp_path):
    batch = torch.export.Dim("batch", min=2, max=9)
    model = Model(sconce, tmp_path, Gated(), (torch.randn(5, 12),), SWIGLU, {"x": {0: batch}})
    assert "sizes of x are known only when it runs" in error_of(model)
