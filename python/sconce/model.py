"""Model, load and compile: the Python face of include/sconce/{load,compile}.h."""

import os
import sys
import tempfile

from . import _core


def _torch_of(values):
    """The torch module when any value is one of its tensors, else None."""
    torch = sys.modules.get("torch")
    if torch and any(isinstance(value, torch.Tensor) for value in values):
        return torch
    return None


def _flatten(values):
    """Tensors and numbers of nested tuples, lists and dictionaries, in torch's pytree order."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flatten(value)
        elif isinstance(value, dict):
            yield from _flatten(value.values())
        else:
            yield value


class Model:
    """A .pte program that can be called.

    Inputs are tensors (torch or numpy, row-major, on the CPU; read in place, never copied on the
    Python side; what the model changes in place is changed in them, as in torch, or in a copy of a
    numpy array that is read-only), numbers or None, in the order of the exported forward; nested containers are
    flattened. Results are a tensor, or a tuple when there are several, of the inputs' kind (numpy
    when there is no torch tensor among them) and own their memory; with `copy_results = False` they
    are views of the model's memory, which its next call overwrites. Not safe for several threads at
    once: load one Model per thread.
    """

    copy_results = True

    def __init__(self, path, threads=1, as_is=False, _keep=None):
        self._module = _core.Module(os.fspath(path), threads, as_is)
        self._keep = _keep  # a temporary directory that holds the file

    @property
    def methods_as_is(self):
        """Names of methods that run as the file has them, with the reason; "*" stands for all."""
        return dict(self._module.methods_as_is)

    @property
    def method_names(self):
        return self._module.method_names

    def __call__(self, *inputs, **named):
        return self.run("forward", *inputs, **named)

    def run(self, method, *inputs, **named):
        """Calls one method by name. Keyword inputs follow the positional ones, in the order given."""
        flat = list(_flatten(inputs)) + list(_flatten(named.values()))
        torch = _torch_of(flat)
        if torch:
            flat = [
                value.detach().contiguous() if isinstance(value, torch.Tensor) else value
                for value in flat
            ]
        flat = [value if getattr(getattr(value, "flags", None), "writeable", True) else value.copy()
                for value in flat]
        results = self._module.execute(method, flat, torch is not None, self.copy_results)
        return results[0] if len(results) == 1 else tuple(results)

    def reset(self, method="forward"):
        """Gives mutable buffers the values they had after load."""
        self._module.reset(method)


def load(path, threads=1, as_is=False):
    """Loads a .pte file. Raises sconce.Error when it is broken or cannot run here.

    A file of stock ExecuTorch is compiled anew in memory, which takes milliseconds and gives the same
    answers but for rounding; `as_is` runs it as it stands. `threads`: how many tile programs run on, 0
    for one on each processor; results do not depend on it.
    """
    return Model(path, threads, as_is)


def compile(
    model,
    example_inputs=None,
    example_kwargs=None,
    *,
    output=None,
    target="cpu",
    dynamic_shapes=None,
    constant_methods=None,
    prefer="balance",
):
    """Compiles a torch module, an ExportedProgram, a .pt2 or .pte file, or a dictionary of these by
    method name, and returns the result loaded. A .pte has all its methods, or the one that is named.

    example_inputs (a tuple) and dynamic_shapes are for modules that are still to be exported, as in
    torch.export.export. `output` is the .pte to write; without it the file is temporary and lives as
    long as the Model. constant_methods maps names to integers that the file answers with.
    prefer: "size", "balance" or "speed", where speed costs bytes of the file.
    """
    with tempfile.TemporaryDirectory(prefix="sconce-") as scratch:
        methods = model if isinstance(model, dict) else {"": model}
        inputs = []
        for name, one in methods.items():
            if isinstance(one, (str, os.PathLike)):
                inputs.append((name, os.fspath(one)))
                continue
            import torch  # only needed to export

            if not isinstance(one, torch.export.ExportedProgram):
                if example_inputs is None:
                    raise TypeError("compile() of a module needs example_inputs, a tuple")
                one = torch.export.export(
                    one.eval() if hasattr(one, "eval") else one,
                    tuple(example_inputs),
                    example_kwargs,
                    dynamic_shapes=dynamic_shapes,
                )
            path = os.path.join(scratch, f"{len(inputs)}.pt2")
            torch.export.save(one, path)
            inputs.append((name, path))
        keep = None
        if output is None:
            keep = tempfile.TemporaryDirectory(prefix="sconce-")
            output = os.path.join(keep.name, "model.pte")
        _core.compile_file(inputs, os.fspath(output), target, constant_methods or {}, prefer)
    return Model(output, as_is=True, _keep=keep)
