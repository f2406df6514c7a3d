"""Converting a checkpoint: `sconce tensors convert` against torch.load + save_file, and a plain copy.

    python bench/tensors/checkpoint.py --sconce build/release/sconce [--megabytes 512] [--json]

Each round runs every contender once, in a fresh process, so that a busy machine is as unfair to one
as to the other. Medians; the page cache is warm. The Python contender is timed from the call of
torch.load on (its imports take seconds more), the tool as a whole process.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import bars

REFERENCE = """
import sys, time, torch, safetensors.torch
start = time.perf_counter()
value = torch.load(sys.argv[1], weights_only=True, mmap=sys.argv[3] == "mmap")
safetensors.torch.save_file(value, sys.argv[2])
print(time.perf_counter() - start)
"""


def make(path, megabytes, new):
    import torch

    count = max(1, megabytes // 4)
    torch.save({f"layer.{i}.weight": torch.randn(1024, 1024) for i in range(count)}, path,
               _use_new_zipfile_serialization=new)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sconce", required=True)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    bars.add_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = pathlib.Path(name)
        paths = {"zip": folder / "zip.pt", "stream": folder / "stream.pt"}
        out = folder / "out"

        def tool(path):
            subprocess.run([options.sconce, "tensors", "convert", path, "-o", out], check=True,
                           stdout=subprocess.DEVNULL)

        def reference(path, how="read"):
            done = subprocess.run([sys.executable, "-c", REFERENCE, path, out, how], check=True,
                                  capture_output=True, text=True)
            return float(done.stdout)

        contenders = {
            "sconce, zip": lambda: tool(paths["zip"]),
            "sconce, stream": lambda: tool(paths["stream"]),
            "torch.load + save_file, zip": lambda: reference(paths["zip"]),
            "torch.load(mmap) + save_file, zip": lambda: reference(paths["zip"], "mmap"),
            "torch.load + save_file, stream": lambda: reference(paths["stream"]),
            "copy of the file": lambda: shutil.copyfile(paths["zip"], out),
        }

        def one_round(number):
            if not paths["zip"].exists():
                make(paths["zip"], options.megabytes, True)
                make(paths["stream"], options.megabytes, False)
            figures = {"bytes": paths["zip"].stat().st_size}
            for name, call in contenders.items():
                bars.progress(f"checkpoint.py: round {number} of {options.rounds}: {name}")
                out.unlink(missing_ok=True)
                start = time.perf_counter()
                inner = call()
                elapsed = time.perf_counter() - start
                figures[name] = inner if isinstance(inner, float) else elapsed
            return figures

        journal = bars.Journal(options.journal)
        settings = {"megabytes": options.megabytes, "program": bars.program(options.sconce)}
        journal.measure("checkpoint", settings, options.rounds, one_round)
        times, load = journal.figures("checkpoint", settings, options.rounds)
        size = times.pop("bytes")[0]
    rows = []
    for ours, peer in [("sconce, zip", "torch.load + save_file, zip"), ("sconce, zip", "torch.load(mmap) + save_file, zip"),
                       ("sconce, stream", "torch.load + save_file, stream"), ("sconce, zip", "copy of the file")]:
        wanted = None if peer == "copy of the file" else 1
        rows.append(bars.bar(f"convert: {ours.removeprefix('sconce, ')}", [size / s / 1e9 for s in times[ours]],
                             [size / s / 1e9 for s in times[peer]], wanted, "GB/s", peer=peer,
                             load=load))
    bars.finish(rows, options.json, megabytes=options.megabytes, seconds=times)


if __name__ == "__main__":
    main()
