"""Sconce: compile torch.export programs to .pte files and run them.

    import sconce
    model = sconce.compile(module, (example,), output="model.pte")
    y = model(x)                       # torch tensors in, torch tensors out; numpy likewise
    y = sconce.load("model.pte")(x)

Running needs numpy only; compiling a torch module needs torch, which does the exporting.
"""

from ._core import Error
from .model import Model, compile, load

__all__ = ["Error", "Model", "compile", "load"]
__version__ = "0.1.0"
