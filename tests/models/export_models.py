"""Builds the test models, exports them and records what torch answers.

    python tests/models/export_models.py mobilenet_v2 tiny -o build/models

For each NAME writes
    NAME.pt2                  torch.export.save of the model
    NAME.inputs.safetensors   input.0, input.1, ...: the tensor inputs in order
    NAME.outputs.safetensors  output.0, output.1, ...: torch's answer, flattened
    NAME.inputs.K.safetensors, NAME.outputs.K.safetensors
                              call K >= 1 on the same module, state carried over from call K - 1
    NAME.json                 the flat inputs of each call, and what the files were made from
`tiny`, `families` and `all` (the rest and `tiny`) name groups. A model is made again only when the code that builds it, the exporter
or a version changed.
"""

import argparse
import copy
import gc
import hashlib
import inspect
import json
import pathlib
import platform
import sys
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import catalog
import families
import tiny

CASES = {**catalog.MODELS, **tiny.MODELS, **families.MODELS}
GROUPS = {"big": list(catalog.MODELS), "tiny": list(tiny.MODELS), "families": list(families.MODELS),
          "all": [*catalog.MODELS, *tiny.MODELS]}
FORMAT = 2  # raise it when the files written for the same model change


def expand(names: list[str]) -> list[str]:
    chosen: list[str] = []
    for name in names:
        if name not in GROUPS and name not in CASES:
            raise SystemExit(f"unknown model {name}; known: {', '.join([*GROUPS, *CASES])}")
        chosen += [n for n in GROUPS.get(name, [name]) if n not in chosen]
    return chosen


def stamp_of(name: str) -> str:
    """Changes with anything that could change the files of a model."""
    from importlib.metadata import PackageNotFoundError, version

    parts = [str(FORMAT), name, platform.machine(), inspect.getsource(CASES[name])]
    parts.append(repr(getattr(CASES[name], "row", "")))
    module = sys.modules[CASES[name].__module__]
    parts += [inspect.getsource(v) for v in vars(module).values()
              if inspect.isfunction(v) and v.__name__ in getattr(module, "SHARED", ("randomise",))]
    if "example(" in parts[3]:
        parts += [p.read_text() for p in sorted((catalog.ROOT / "examples").glob("*/model.py"))]
    if "crepe." in parts[3]:
        parts.append(inspect.getsource(catalog.crepe))
    for package in ("torch", "transformers"):
        try:
            parts.append(version(package))
        except PackageNotFoundError:
            parts.append("none")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def flat_tensors(tree) -> tuple[list, list]:
    """The tensors of a tree in order, and for every leaf {"tensor": i} or {"value": python value}."""
    import torch
    from torch.utils import _pytree as pytree

    tensors, leaves = [], []
    for leaf in pytree.tree_leaves(tree):
        if isinstance(leaf, torch.Tensor):
            leaves.append({"tensor": len(tensors)})
            tensors.append(leaf.detach().clone().contiguous())
        else:
            leaves.append({"value": leaf})
    return tensors, leaves


def save_tensors(path: pathlib.Path, prefix: str, tensors: list) -> None:
    from safetensors.torch import save_file

    save_file({f"{prefix}.{i}": t for i, t in enumerate(tensors)}, path)


def built(name: str) -> catalog.Case:
    """The same weights and calls every time."""
    import torch

    torch.manual_seed(0)
    case = CASES[name]()
    case.module.eval().requires_grad_(False)  # stock cannot lower buffers fed by trainable weights
    return case


def export(name: str, folder: pathlib.Path) -> str:
    """Writes the files of one model; returns one word on what happened."""
    meta_path = folder / f"{name}.json"
    stamp = stamp_of(name)
    if meta_path.exists():
        meta = json.loads(meta_path.read_text())
        if meta.get("stamp") == stamp and (folder / f"{name}.pt2").exists():
            return "cached"
    meta_path.unlink(missing_ok=True)

    import torch

    case = built(name)
    calls = [(case.args, case.kwargs), *case.calls]
    frozen = copy.deepcopy(calls)  # a model may write to its inputs
    original = copy.deepcopy(case.module) if len(case.module.state_dict()) else case.module
    program = torch.export.export(
        case.module, case.args, case.kwargs, dynamic_shapes=case.dynamic_shapes, strict=case.strict
    )
    if case.core:
        program = program.run_decompositions()
    torch.export.save(program, folder / f"{name}.pt2")
    stateful = bool(program.graph_signature.buffers_to_mutate)
    del program
    records = []
    for k, (args, kwargs) in enumerate(frozen):
        dot = f".{k}" if k else ""
        inputs, leaves = flat_tensors((args, kwargs))
        save_tensors(folder / f"{name}.inputs{dot}.safetensors", "input", inputs)
        with torch.no_grad():
            answer = original(*args, **kwargs)
        outputs, output_leaves = flat_tensors(answer)
        save_tensors(folder / f"{name}.outputs{dot}.safetensors", "output", outputs)
        records.append({"inputs": leaves, "outputs": output_leaves})
    meta = {"name": name, "stamp": stamp, "calls": records, "dynamic": bool(case.dynamic_shapes), "stateful": stateful,
            "stock_cannot": case.stock_cannot, "torch": torch.__version__}
    meta_path.write_text(json.dumps(meta, indent=1) + "\n")
    return "exported"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=["all"], help="models or groups (big, tiny, families, all)")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=catalog.ROOT / "build" / "models")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(CASES))
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    failed = 0
    for name in expand(options.names):
        start = time.monotonic()
        try:
            what = export(name, options.output)
        except catalog.Unavailable as reason:
            what = f"skipped: {reason}"
        except Exception as error:  # one model that torch cannot export must not hide the others
            failed += 1
            what = f"FAILED: {type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
        print(f"{name:<28}{what:<10}{time.monotonic() - start:8.1f} s", flush=True)
        gc.collect()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
