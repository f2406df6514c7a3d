"""Makes the sample .pt2 archives of this folder: python make.py [FOLDER].

Each shows one thing of the format and has a few kB. Made with torch 2.13.0.
"""

import pathlib
import sys
import zipfile

import torch
from torch import nn
from torch.export import Dim, export, save

torch.manual_seed(0)


class Parameters(nn.Module):
    """Linear layer: two parameters, one of which is used through a view."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x)


class Tied(nn.Module):
    """One storage behind three names: a tied weight and a slice of it."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("rows", self.embedding.weight.detach()[2:5])
        self.register_buffer("columns", self.embedding.weight.detach().t())

    def forward(self, ids):
        return self.head(self.embedding(ids)) + (self.rows.sum() + self.columns.sum())


class Constants(nn.Module):
    """Lifted constants: an attribute, a literal tensor, a buffer that is not saved, a scalar."""

    def __init__(self):
        super().__init__()
        self.table = torch.arange(4, dtype=torch.int64)
        self.register_buffer("mask", torch.tensor([True, False, True, True]), persistent=False)
        self.register_buffer("scale", torch.tensor(0.5, dtype=torch.float16))

    def forward(self, x):
        return torch.where(self.mask, x + self.table, torch.tensor([1.0, 2.0, 3.0, 4.0])) * self.scale


class MutatedBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.count.add_(1)
        return x * self.count


class MutatedInput(nn.Module):
    def forward(self, cache, x):
        cache[:, 0].copy_(x)
        return cache.sum(1)


class Functional(nn.Module):
    """Decomposed program: mutations of a buffer and of an input have become outputs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, cache, x):
        self.count.add_(1)
        cache[:, 0].copy_(x)
        return cache.sum(1) * self.count


class Symbolic(nn.Module):
    """Sizes with bounds, an expression of them, a symbolic int as result and as argument."""

    def forward(self, x, y):
        z = torch.cat([x, y], 0)
        return z.reshape(-1), z.shape[0], x.new_zeros(z.shape[0] + 1, 2)


class Cond(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda v: (v + 1, v * v), lambda v: (v - 1, v * 2), (x,))


class NestedCond(nn.Module):
    def forward(self, x):
        def inner(v):
            return torch.cond(v.sum() > 3, lambda u: u * 2, lambda u: u * 3, (v,))

        return torch.cond(x.sum() > 0, inner, lambda v: v - 1, (x,))


class WhileLoop(nn.Module):
    def forward(self, i, x):
        from torch._higher_order_ops.while_loop import while_loop

        return while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, x * 2), (i, x))


class Map(nn.Module):
    def forward(self, xs, y):
        from torch._higher_order_ops.map import map as map_over

        return map_over(lambda x, y: x + y, xs, y)


class Scan(nn.Module):
    def forward(self, start, xs):
        from torch._higher_order_ops.scan import scan

        return scan(lambda carry, x: (carry + x, carry * x), start, xs, dim=0)


class Lists(nn.Module):
    """Lists of tensors, of ints, of optional tensors (index with a gap), floats, strings, results."""

    def forward(self, x, index):
        first, second, third = torch.split(x, [1, 2, 1])
        picked = x[:, index]
        resized = nn.functional.interpolate(
            x[None, None], scale_factor=(2.0, 0.5), mode="nearest", recompute_scale_factor=False
        )
        return torch.cat([first, second, third, second]), picked, resized


class Options(nn.Module):
    """Optional arguments, dtype, device, memory format, infinity, layer norm without weights."""

    def forward(self, x):
        y = nn.functional.layer_norm(x, (4,), None, None, 1e-5)
        y = torch.clamp(y, min=-float("inf"), max=6.0)
        y = y.to(torch.float64).to(memory_format=torch.channels_last)
        return y, torch.zeros(2, dtype=torch.bfloat16, device="cpu"), x.sum(dtype=torch.float32)


class Numbers(nn.Module):
    """Inputs that are no tensors; one that is never used; a keyword."""

    def forward(self, x, count: int, scale: float, flag: bool, name: str, nothing=None, *, bias):
        return x * count + scale if flag else x, bias


class Outputs(nn.Module):
    """Nested results, one input returned as it came, one result twice, none and a number."""

    def forward(self, x):
        y, indices = torch.topk(x, 2)
        return {"top": (y, indices), "more": [x, y, {"none": None, "three": 3}]}


class Types(nn.Module):
    """Weights of many element types, an empty one, a scalar."""

    def __init__(self):
        super().__init__()
        for name in ("float64", "bfloat16", "int8", "uint8", "int16", "int32", "bool", "complex64",
                     "float8_e4m3fn", "uint16"):
            self.register_buffer("w_" + name, torch.ones(3).to(getattr(torch, name)))
        self.register_buffer("empty", torch.zeros(0, 5))
        self.register_buffer("scalar", torch.tensor(2.5))

    def forward(self, x):
        return (x + self.w_float64 + self.w_bfloat16 + self.w_int8 + self.w_uint8 + self.w_int16 + self.w_int32
                + self.w_bool + self.w_complex64 + self.w_float8_e4m3fn.to(torch.float32)
                + self.w_uint16.to(torch.float32) + self.scalar, self.empty + 1)


def samples():
    x4 = torch.randn(2, 4)
    yield "parameters", Parameters(), (torch.randn(2, 3),), {}
    yield "tied", Tied(), (torch.tensor([1, 5]),), {}
    yield "constants", Constants(), (x4,), {}
    yield "mutated_buffer", MutatedBuffer(), (x4,), {}
    yield "mutated_input", MutatedInput(), (torch.zeros(2, 4), torch.ones(2)), {}
    yield "functional", Functional(), (torch.zeros(2, 4), torch.ones(2)), {}
    batch, more = Dim("batch", min=2, max=16), Dim("more", min=1)
    yield "symbolic", Symbolic(), (x4, torch.randn(3, 4)), {
        "dynamic_shapes": ({0: batch}, {0: more})}
    yield "cond", Cond(), (x4,), {}
    yield "nested_cond", NestedCond(), (x4,), {}
    yield "while_loop", WhileLoop(), (torch.tensor(0), x4), {}
    yield "map", Map(), (torch.randn(3, 4), torch.randn(4)), {}
    yield "scan", Scan(), (torch.zeros(4), torch.randn(3, 4)), {}
    yield "lists", Lists(), (torch.randn(4, 4), torch.tensor([0, 2])), {}
    yield "options", Options(), (torch.randn(1, 2, 3, 4),), {}
    yield "numbers", Numbers(), (x4, 3, 0.5, True, "name"), {"kwargs": {"bias": torch.ones(1)}}
    yield "outputs", Outputs(), (x4,), {}
    yield "types", Types(), (torch.randn(3),), {}


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    programs = {}
    for name, module, arguments, options in samples():
        program = export(module.eval(), arguments, **options)
        if name == "functional":
            program = program.run_decompositions()
        # Traces name the files of the machine that exports; they are not what is shown here.
        for graph_module in program.graph_module.modules():
            if isinstance(graph_module, torch.fx.GraphModule):
                for node in graph_module.graph.nodes:
                    if "stack_trace" in node.meta:
                        node.meta["stack_trace"] = f'File "make.py", in {type(module).__name__}'
        programs[name] = program
        save(program, folder / f"{name}.pt2")
    # Two programs in one archive, with a file beside them.
    from torch.export.pt2_archive._package import package_pt2

    package_pt2(
        str(folder / "two_programs.pt2"),
        exported_programs={"first": programs["parameters"], "second": programs["mutated_buffer"]},
        extra_files={"note.txt": "kept beside the programs"},
    )
    for path in sorted(folder.glob("*.pt2")):
        with zipfile.ZipFile(path) as archive:
            entries = len(archive.namelist())
        print(f"{path.name}: {path.stat().st_size} bytes, {entries} entries")


if __name__ == "__main__":
    main()
