"""Sconce: compile torch.export programs to .pte files and run them.

    import sconce
    model = sconce.compile(module, (example,), output="model.pte")
    y = model(x)                       # torch tensors in, torch tensors out; numpy likewise
    y = sconce.load("model.pte")(x)

Running needs numpy only; compiling a torch module needs torch, which does the exporting.
"""

import importlib

__all__ = ["Error", "Model", "compile", "load"]
__version__ = "0.1.0"


def __getattr__(name):
    """The compiler is loaded when it is asked for: sconce.tensors works without it."""
    if name in __all__:
        return getattr(importlib.import_module("._core" if name == "Error" else ".model", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
