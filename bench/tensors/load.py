"""How long the first owned load of a tensor file takes in a fresh process, beside its rivals.

    python bench/tensors/load.py [--mb 537] [--pairs 9] [--json]

Each figure is one new process with everything imported; the file is in the page cache. The ways take
turns, so that a busy moment meets all of them; the ratio is the median of the pairs of one round. Owned
means memory that does not belong to the file: every byte is there when the clock stops. Also: opening a
header of 100 000 tensors and listing its names. Needs sconce, safetensors and torch installed.
"""

import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile

LOADS = {
    "sconce": "from sconce.tensors.torch import load_file as f\nrun = lambda: f(path, backend='pread')",
    "safetensors, clone": "from safetensors.torch import load_file as f\n"
                          "run = lambda: {k: v.clone() for k, v in f(path).items()}",
    "safetensors, pread": "from safetensors.torch import load_file as f\nrun = lambda: f(path, backend='pread')",
    "torch.load": "run = lambda: torch.load(path + '.pt')",
}
HEADERS = {
    "sconce": "from sconce.tensors import safe_open\nrun = lambda: safe_open(path, 'np').keys()",
    "safetensors": "from safetensors import safe_open\nrun = lambda: safe_open(path, 'np').keys()",
}
PROCESS = """
import sys, time, numpy, torch
path = sys.argv[1]
{setup}
start = time.perf_counter()
result = run()
stop = time.perf_counter()
print(stop - start)
"""


def measure(setup, path):
    done = subprocess.run([sys.executable, "-c", PROCESS.format(setup=setup), str(path)], check=True,
                          capture_output=True, text=True)
    return float(done.stdout)


def rounds(ways, path, pairs):
    times = {name: [] for name in ways}
    for name, setup in ways.items():
        measure(setup, path)  # warms the page cache and compiled Python
    for number in range(pairs):
        names = list(ways)
        for name in names[number % len(names):] + names[:number % len(names)]:
            times[name].append(measure(ways[name], path))
    ours = times["sconce"]
    return {name: {"median_ms": statistics.median(values) * 1e3, "min_ms": min(values) * 1e3,
                   "times_sconce": statistics.median(v / o for v, o in zip(values, ours))}
            for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=537, help="size of the file")
    parser.add_argument("--pairs", type=int, default=9, help="rounds")
    parser.add_argument("--folder", help="where the files are made (default: a temporary one)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import torch
    from safetensors.torch import save_file
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = pathlib.Path(folder) / "load.safetensors"
        count = max(1, options.mb * 1_000_000 // (4 << 20))
        tensors = {f"layer.{i}.weight": torch.rand(1024, 1024) for i in range(count)}
        save_file(tensors, path)
        torch.save(tensors, f"{path}.pt")
        size = os.path.getsize(path)
        del tensors
        names = [f"model.layers.{i // 8}.mlp.experts.{i % 8}.gate_proj.weight" for i in range(100_000)]
        text = "{" + ",".join(f'"{name}":{{"dtype":"BF16","shape":[2,2],"data_offsets":[{8 * i},{8 * i + 8}]}}'
                              for i, name in enumerate(names)) + "}"
        big = pathlib.Path(folder) / "header.safetensors"
        big.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(8 * len(names)))
        result = {"file_bytes": size, "pairs": options.pairs, "cpus": os.cpu_count(),
                  "load": rounds(LOADS, path, options.pairs),
                  "header_bytes": len(text), "header": rounds(HEADERS, big, options.pairs)}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for title, part, amount in [("owned load", "load", size), ("header of 100 000 tensors", "header", len(text))]:
        print(f"{title}, {amount / 1e6:.0f} MB, {options.pairs} rounds on {os.cpu_count()} cores")
        for name, row in result[part].items():
            print(f"  {name:20} median {row['median_ms']:7.1f} ms  least {row['min_ms']:7.1f} ms  "
                  f"{amount / row['median_ms'] / 1e6:5.2f} GB/s  {row['times_sconce']:5.2f} x sconce's time")


if __name__ == "__main__":
    main()
