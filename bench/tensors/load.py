"""How long the first owned load of a tensor file takes in a fresh process, beside its rivals.

    python bench/tensors/load.py [--mb 537] [--pairs 9] [--json]

Each figure is one new process with everything imported; the file is in the page cache. The ways take
turns, so that a busy moment meets all of them. Owned means memory that does not belong to the file: every
byte is there when the clock stops. Also: opening a header of 100,000 tensors and listing its names, from
Python (a list of as many str) and from C++ (records, by name). Needs sconce, safetensors and torch
installed, and for C++ the program sconce_header_bench.
"""

import argparse
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import bars

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
import sys, time, numpy
{imports}
path = sys.argv[1]
{setup}
start, cpu = time.perf_counter(), time.process_time()
result = run()
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def measure(setup, path, imports):
    """(wall, processor) seconds of one fresh process."""
    done = subprocess.run([sys.executable, "-c", PROCESS.format(setup=setup, imports=imports), str(path)],
                          check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()))


def rounds(journal, case, settings, ways, make_file, pairs, imports="", more=None):
    """({way: [(wall, processor)]}, load), one figure a round; `more`: other ways, given the path."""
    path = None

    def one_round(number):
        nonlocal path
        path = path or make_file()
        calls = {name: lambda setup=setup: measure(setup, path, imports) for name, setup in ways.items()}
        calls |= {name: lambda call=call: call(path) for name, call in (more or {}).items()}
        names = list(calls)
        figures = {}
        for name in names[number % len(names):] + names[:number % len(names)]:
            bars.progress(f"load.py: {case}, round {number} of {pairs}: {name}")
            figures[name] = calls[name]()
        return figures

    journal.measure(case, settings, pairs, one_round)
    return journal.figures(case, settings, pairs)


def wall(times):
    return [1e3 * w for w, _ in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=537, help="size of the file")
    parser.add_argument("--pairs", type=int, default=9, help="rounds")
    parser.add_argument("--header-bench", default="build/release/sconce_header_bench")
    bars.add_options(parser)
    options = parser.parse_args()
    import sconce
    extension = next(pathlib.Path(sconce.__file__).parent.glob("_tensors.*"))
    journal, rows = bars.Journal(options.journal), []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = pathlib.Path(name)

        def make_data():
            import torch
            from safetensors.torch import save_file
            path = folder / "load.safetensors"
            tensors = {f"layer.{i}.weight": torch.rand(1024, 1024) for i in range(count)}
            save_file(tensors, path)
            torch.save(tensors, f"{path}.pt")
            return path

        count = max(1, options.mb * 1_000_000 // (4 << 20))
        size = count * (4 << 20)
        settings = {"bytes": size, "program": bars.program(extension)}
        loads, load = rounds(journal, "load", settings, LOADS, make_data, options.pairs, "import torch")
        for peer in list(LOADS)[1:]:
            rows.append(bars.bar("owned load, fresh process", [size / t / 1e6 for t in wall(loads["sconce"])],
                                 [size / t / 1e6 for t in wall(loads[peer])], 1.5, "GB/s", peer=peer, load=load))
        for file in folder.iterdir():
            file.unlink()

        def make_header():
            names = [f"model.layers.{i // 8}.mlp.experts.{i % 8}.gate_proj.weight" for i in range(100_000)]
            text = "{" + ",".join(f'"{name}":{{"dtype":"BF16","shape":[2,2],"data_offsets":[{8 * i},{8 * i + 8}]}}'
                                  for i, name in enumerate(names)) + "}"
            path = folder / "header.safetensors"
            path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(8 * len(names)))
            return path

        native = {}
        if os.path.exists(options.header_bench):
            def run(path):
                done = subprocess.run([options.header_bench, str(path)], check=True, capture_output=True, text=True)
                return tuple(map(float, done.stdout.split()[:2]))
            native["sconce, C++"] = run
        settings = {"tensors": 100_000, "program": bars.program(extension), "C++": bars.program(options.header_bench)}
        headers, load = rounds(journal, "header", settings, HEADERS, make_header, options.pairs, more=native)
        for name, way in {"Python": "sconce", "C++": "sconce, C++"}.items():
            title = f"header of 100,000 tensors, {name}"
            if way not in headers:
                rows.append(bars.not_measured(title, f"no {options.header_bench}"))
                continue
            for kind, place in {"": 0, ", processor time": 1}.items():
                ours, peers = ([1e-3 / times[place] for times in headers[w]] for w in (way, "safetensors"))
                rows.append(bars.bar(title + kind, ours, peers, 10, "a ms", peer="safetensors, Python", load=load))
    bars.finish(rows, options.json, file_bytes=size, loads=loads, headers=headers)


if __name__ == "__main__":
    main()
