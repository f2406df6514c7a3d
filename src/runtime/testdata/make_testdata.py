"""Makes the small .pte files of this folder with stock ExecuTorch, and cases.txt beside them.

Versions used: torch 2.13.0, executorch 1.5.1. Run: python make_testdata.py
cases.txt, one line per tensor: FILE METHOD CALL in|out INDEX DTYPE SIZES VALUES, where CALL counts
the calls made one after the other on the same loaded method.
"""

import os
import torch
from torch.export import Dim, export
from executorch.exir import (EdgeCompileConfig, ExecutorchBackendConfig, to_edge,
                             to_edge_transform_and_lower)
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
from executorch.runtime import Runtime
from functorch.experimental.control_flow import cond, map as torch_map

torch.manual_seed(0)
HERE = os.path.dirname(os.path.abspath(__file__))
CASES = []
NAMES = {torch.float32: "f32", torch.int64: "i64", torch.bool: "b8", torch.int32: "i32",
         torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16", torch.int8: "i8",
         torch.uint8: "u8"}


def text(kind, file, method, call, index, value):
    if not isinstance(value, torch.Tensor):
        name = {bool: "bool", int: "int", float: "float"}[type(value)]
        return f"{file} {method} {call} {kind} {index} {name} - {float(value)!r}"
    sizes = "x".join(map(str, value.shape)) or "-"
    values = ",".join(repr(float(v)) for v in value.contiguous().flatten())
    return f"{file} {method} {call} {kind} {index} {NAMES[value.dtype]} {sizes} {values or '-'}"


def save(name, programs, calls, constant_methods=None, backend=None, partitioner=None, here=HERE):
    """calls: {method: [inputs tuple, ...]}; expected values come from stock's own runtime."""
    config = EdgeCompileConfig(_check_ir_validity=False)
    if partitioner:
        edge = to_edge_transform_and_lower(programs, partitioner=partitioner,
                                           compile_config=config,
                                           constant_methods=constant_methods)
    else:
        edge = to_edge(programs, constant_methods=constant_methods, compile_config=config)
    program = edge.to_executorch(backend or ExecutorchBackendConfig())
    path = os.path.join(here, name + ".pte")
    with open(path, "wb") as f:
        f.write(program.buffer)
    loaded = Runtime.get().load_program(path)
    for method_name, inputs_list in calls.items():
        method = loaded.load_method(method_name)
        for call, inputs in enumerate(inputs_list):
            outputs = method.execute(inputs)
            for i, v in enumerate(inputs):
                CASES.append(text("in", name, method_name, call, i, v))
            for i, v in enumerate(outputs):
                CASES.append(text("out", name, method_name, call, i, v))
    print(name, os.path.getsize(path))


class Add(torch.nn.Module):
    def forward(self, x, y):
        return x + y


class AddMul(torch.nn.Module):
    def forward(self, a, x, b):
        return torch.mm(a, x) + b


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(4, 8)
        self.two = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


class Cond(torch.nn.Module):
    def forward(self, x):
        return cond(x.sum() > 0, lambda v: v + v, lambda v: v * v, [x])


class Map(torch.nn.Module):
    def forward(self, x, y):
        return torch_map(lambda v, w: v + w, x, y)


class Counter(torch.nn.Module):
    def __init__(self, start):
        super().__init__()
        self.register_buffer("state", torch.full((3,), start))

    def forward(self, x):
        self.state.add_(x)
        return self.state * 2.0


class View(torch.nn.Module):
    def forward(self, x):
        y = x + x
        return y.view(y.shape[0] * 2, 2) * 3.0, y.shape[0]


class Item(torch.nn.Module):
    def forward(self, x, n):
        k = n.item()
        torch._check(k >= 1)
        torch._check(k <= 5)
        return x * k + torch.full((k,), 1.0).sum()


class Mixed(torch.nn.Module):
    def forward(self, x, n: int, flag: bool):
        return x * n if flag else x + n


def main():
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    save("add", export(Add(), (x, y)), {"forward": [(x, y), (y, y)]})
    a, m, b = torch.randn(2, 4), torch.randn(4, 3), torch.randn(2, 3)
    save("addmul", export(AddMul(), (a, m, b)), {"forward": [(a, m, b)]})
    v = torch.randn(2, 4)
    save("linear", export(Linear(), (v,)), {"forward": [(v,), (-v,)]})
    save("cond", export(Cond(), (torch.ones(4),)),
         {"forward": [(torch.ones(4),), (-2 * torch.ones(4),), (torch.ones(4),)]})
    save("map", export(Map(), (torch.randn(4, 3), torch.randn(3))),
         {"forward": [(torch.randn(4, 3), torch.randn(3)), (torch.randn(4, 3), torch.randn(3))]})
    ones = torch.ones(3)
    save("buffer_zero", export(Counter(0.0), (ones,)), {"forward": [(ones,), (ones,), (2 * ones,)]})
    save("buffer_start", export(Counter(5.0), (ones,)), {"forward": [(ones,), (ones,)]},
         backend=ExecutorchBackendConfig(passes=[InitializedMutableBufferPass(["state"])],
                                         emit_mutable_buffer_names=True))
    n = Dim("n", min=2, max=6)
    shapes = {"x": {0: n}, "y": {0: n}}
    save("dynamic", export(Add(), (torch.randn(3, 2), torch.randn(3, 2)), dynamic_shapes=shapes),
         {"forward": [(torch.randn(k, 2), torch.randn(k, 2)) for k in (2, 5, 6, 3)]})
    save("view", export(View(), (torch.randn(3, 4),), dynamic_shapes={"x": {0: n}}),
         {"forward": [(torch.randn(3, 4),), (torch.randn(6, 4),)]})
    save("item", export(Item(), (torch.randn(2), torch.tensor(3))),
         {"forward": [(torch.randn(2), torch.tensor(3)), (torch.randn(2), torch.tensor(5))]})
    save("mixed", export(Mixed(), (torch.randn(2), 3, True)),
         {"forward": [(torch.randn(2), 3, True)]})
    save("methods", {"forward": export(Add(), (x, y)), "both": export(Linear(), (v,))},
         {"forward": [(x, y)], "both": [(v,)], "limit": [()], "name": [()], "table": [()]},
         constant_methods={"limit": 128, "name": 0.5, "table": torch.arange(4)})
    unplanned = ExecutorchBackendConfig(memory_planning_pass=MemoryPlanningPass(
        alloc_graph_input=False, alloc_graph_output=False))
    save("unplanned", export(Add(), (x, y)), {"forward": [(x, y)]}, backend=unplanned)
    image = torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last)
    save("channels_last", export(Add(), (image, image)), {"forward": [(image, image)]})
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        save("delegate", export(Linear(), (v,)), {"forward": [(v,)]},
             partitioner=[XnnpackPartitioner()])
    except Exception as e:
        print("no delegate:", e)
    with open(os.path.join(HERE, "cases.txt"), "w") as f:
        f.write("\n".join(CASES) + "\n")


if __name__ == "__main__":
    main()
