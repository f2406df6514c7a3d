"""Makes linear.ptd, with torch 2.13.0 and executorch 1.5.1: python make.py"""

import pathlib

import torch
from executorch.exir import ExecutorchBackendConfig, to_edge

torch.manual_seed(0)
program = torch.export.export(torch.nn.Linear(3, 2).requires_grad_(False), (torch.randn(1, 3),))
lowered = to_edge(program).to_executorch(ExecutorchBackendConfig(external_constants=True))
for name, blob in lowered._tensor_data.items():
    print(name, len(bytes(blob)))
    (pathlib.Path(__file__).parent / "linear.ptd").write_bytes(bytes(blob))
