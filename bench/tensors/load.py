"""How long the first owned load of a tensor file takes in a fresh process, beside its rivals.

    python bench/tensors/load.py [--mb 537] [--pairs 9] [--json]

Each figure is one new process with everything imported; the file is in the page cache. The ways take
turns, so that a busy moment meets all of them. Owned means memory that does not belong to the file: every
byte is there when the clock stops. Twice: with memory as it is found, which a virtual machine may have given back to
its host, who is then asked for it anew, 16 to 45 us for 4 KiB; and with memory at hand, which another process has
touched and left a moment before. Also: opening a header of 100,000 tensors and listing its names, from
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
import subprocess, sys, time, numpy
{imports}
path, touch = sys.argv[1:]
{setup}
if touch:
    subprocess.run([sys.executable, "-c", touch], check=True)
start, cpu = time.perf_counter(), time.process_time()
result = run()
print(time.perf_counter() - start, time.process_time() - cpu)
"""

# Touches memory and leaves it to who comes next, before the system gives it to others.
TOUCH = """
import mmap
memory = mmap.mmap(-1, {bytes}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for at in range(0, len(memory), 4096):
    memory[at] = 1
"""


def measure(setup, path, imports, touch):
    """(wall, processor) seconds of one fresh process."""
    program = PROCESS.format(setup=setup, imports=imports)
    done = subprocess.run([sys.executable, "-c", program, str(path), TOUCH.format(bytes=touch) if touch else ""],
                          check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()))


def rounds(journal, case, settings, ways, make_file, pairs, imports="", more=None, touch=0):
    """({way: [(wall, processor)]}, load), one figure a round; `more`: other ways, given the path; `touch`: bytes at hand."""
    path = None

    def one_round(number):
        nonlocal path
        path = path or make_file()
        calls = {name: lambda setup=setup: measure(setup, path, imports, touch) for name, setup in ways.items()}
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
        all_loads = {}
        for memory, touch in {"as found": 0, "at hand": 3 * size}.items():
            case = f"load, memory {memory}"
            loads, load = rounds(journal, case, settings, LOADS, make_data, options.pairs, "import torch", touch=touch)
            all_loads[case] = loads
            for peer in list(LOADS)[1:]:
                rows.append(bars.bar(f"owned {case}", [size / t / 1e6 for t in wall(loads["sconce"])],
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
    bars.finish(rows, options.json, file_bytes=size, loads=all_loads, headers=headers)


if __name__ == "__main__":
    main()
