"""Planned memory of each model: ours beside stock's, in bytes.

    python tests/models/arena.py                      compile, print, fail where ours is larger
    python tests/models/arena.py --refresh            lower with stock again and rewrite the table

Stock's figures are kept in stock_arena.tsv with the versions that gave them, for lowering takes
minutes. Both are read from the .pte by stock's own reader; the sum of all planned buffers counts,
inputs and outputs included.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import catalog
from compare import ROOT, Bench, Wrong, find_sconce
from export_models import expand

TABLE = pathlib.Path(__file__).with_name("stock_arena.tsv")


def read_table() -> dict[str, int]:
    rows = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return {name: int(arena) for name, arena, *_ in rows[1:]}


def refresh(bench: Bench, names: list[str]) -> None:
    from importlib.metadata import version

    rows = []
    for name in names:
        bench.lower(name)
        made = json.loads((bench.models / "stock" / f"{name}.portable.json").read_text())
        size = (bench.models / "stock" / f"{name}.portable.pte").stat().st_size
        rows.append(f"{name}\t{sum(made['arena'])}\t{made['seconds']:.1f}\t{size}\n")
    TABLE.write_text(
        f"# executorch {version('executorch')}, torch {version('torch')}, transformers "
        f"{version('transformers')}: to_edge_transform_and_lower without partitioner, to_executorch\n"
        "model\tarena_bytes\tlower_s\tpte_bytes\n" + "".join(rows))


def measure(bench: Bench, name: str) -> int:
    """Bytes of all planned buffers of our file."""
    pte = bench.compile(name)
    said = subprocess.run([bench.sconce, "inspect", pte, "--json"], capture_output=True, text=True, check=True)
    return sum(sum(method["memories"]) for method in json.loads(said.stdout)["methods"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(catalog.BARS))
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build" / "models")
    parser.add_argument("--sconce")
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    names = expand(options.names)
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(options.models, pathlib.Path(work), find_sconce(options.sconce))
        if options.refresh:
            refresh(bench, names)
        stock, rows, larger = read_table(), [], 0
        print(f"{'model':<18}{'ours':>14}{'stock':>14}{'ours/stock':>12}")
        for name in names:
            try:
                ours = measure(bench, name) if bench.sconce else None
            except Wrong as wrong:
                print(f"{name:<18} {wrong}")
                larger += 1
                continue
            theirs = stock.get(name)
            ratio = ours / theirs if ours is not None and theirs else None
            larger += bool(ratio and ratio > 1)
            rows.append({"name": name, "ours": ours, "stock": theirs})
            print(f"{name:<18}{ours if ours is not None else '':>14}{theirs or '':>14}"
                  f"{f'{ratio:.3f}' if ratio else '':>12}", flush=True)
        bench.oracle.close()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if larger else 0


if __name__ == "__main__":
    sys.exit(main())
