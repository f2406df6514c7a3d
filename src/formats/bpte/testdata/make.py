"""Makes the .bpte files of this folder with stock ExecuTorch's devtools: python make.py

Versions used: torch 2.13.0, executorch 1.5.1.
methods.bpte: two methods, three cases; numbers as inputs, sizes that vary, a case without answers.
channels_last.bpte: a method that wants its input channels-last; stock stores it contiguous.
"""

import pathlib

import torch
from executorch.devtools import BundledProgram
from executorch.devtools.bundled_program.config import MethodTestCase, MethodTestSuite
from executorch.devtools.bundled_program.serialize import serialize_from_bundled_program_to_flatbuffer
from executorch.exir import to_edge

HERE = pathlib.Path(__file__).parent


class Scale(torch.nn.Module):
    def forward(self, x, count: int, flag: bool, factor: float):
        return (x + count) * (factor if flag else 1.0), x.sum()


class Rows(torch.nn.Module):
    def forward(self, x):
        return x @ torch.full((2, 3), 0.5)


class Image(torch.nn.Module):
    def forward(self, x):
        return x.relu() + 1


def save(name, modules, cases, dynamic=None):
    """modules: {method: (module, example)}; cases: [(method, inputs, has answers)]."""
    programs = {method: torch.export.export(module, example, dynamic_shapes=(dynamic or {}).get(method), strict=True)
                for method, (module, example) in modules.items()}
    suites = {}
    for method, inputs, answers in cases:
        outputs = modules[method][0](*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        suites.setdefault(method, []).append(
            MethodTestCase(inputs=inputs, expected_outputs=outputs if answers else None))
    bundle = BundledProgram(to_edge(programs).to_executorch(),
                            [MethodTestSuite(method_name=method, test_cases=list(made))
                             for method, made in suites.items()])
    (HERE / f"{name}.bpte").write_bytes(serialize_from_bundled_program_to_flatbuffer(bundle))


if __name__ == "__main__":
    torch.manual_seed(0)
    scale = (torch.randn(2, 2), 3, True, 0.5)
    save("methods", {"forward": (Scale(), scale), "rows": (Rows(), (torch.randn(4, 2),))},
         [("forward", scale, True), ("rows", (torch.randn(1, 2),), True), ("rows", (torch.randn(4, 2),), False)],
         {"rows": ({0: torch.export.Dim("rows", max=4)},)})
    image = torch.randn(1, 3, 2, 2).to(memory_format=torch.channels_last)
    save("channels_last", {"forward": (Image(), (image,))}, [("forward", (image,), True)])
