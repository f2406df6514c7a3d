"""Signing beside the speed of the hash itself and beside model-signing.

    python bench/tensors/signing.py --sconce build/release/sconce [--json]

Two models of --megabytes of random bytes: one .safetensors file, and the same tensors in eight. "raw" is OpenSSL's
SHA-256 (hashlib) over the same bytes resident in memory, one piece for each file, on as many threads as sconce
uses: no signer that hashes whole files can be faster. "raw, read" is the same, read from the files on the way, as
every signer must. All runs alternate; each figure is the median of the wall
time of the whole process (raw: of the hashing), files in the page cache.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
from safetensors.numpy import save_file


def make_models(folder, megabytes):
    random = numpy.random.default_rng(1)
    tensors = {f"layer.{i}": random.integers(0, 255, (megabytes * 125_000 // 8, 8), numpy.uint8) for i in range(8)}
    models = {"one file": folder / "one", "eight files": folder / "eight"}
    for model in models.values():
        model.mkdir()
        (model / "config.json").write_text("{}")
    save_file(tensors, models["one file"] / "model.safetensors")
    for i, (name, tensor) in enumerate(tensors.items()):
        save_file({name: tensor}, models["eight files"] / f"model-{i + 1:05}-of-00008.safetensors")
    return models


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def raw(buffers, threads):
    if threads == 1:
        for buffer in buffers:
            hashlib.sha256(buffer).digest()
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda buffer: hashlib.sha256(buffer).digest(), buffers))


def raw_read(paths, threads):
    def digest(path):
        with open(path, "rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(digest, paths))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sconce", default="build/release/sconce")
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count()}))
    parser.add_argument("--no-peer", action="store_true", help="leave model-signing out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    def command(*arguments):
        done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{arguments}: {done.stdout}{done.stderr}")

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        models = make_models(folder, options.megabytes)
        key, signature = folder / "k.pem", folder / "model.sig"
        command(options.sconce, "tensors", "keygen", "-o", key)
        for name, model in models.items():
            paths = sorted(model.iterdir())
            buffers = [path.read_bytes() for path in paths]
            total = sum(map(len, buffers))
            sign = [options.sconce, "tensors", "sign", model, "--key", key, "-o", signature]
            verify = [options.sconce, "tensors", "verify", model, "--key", key.with_suffix(".pub"), "--signature", signature]
            peer = [sys.executable, "-m", "model_signing"]
            runs = {}
            for t in options.threads:
                runs["raw", t] = lambda t=t: raw(buffers, t)
                runs["raw, read", t] = lambda t=t: raw_read(paths, t)
                runs["sign files", t] = lambda t=t: command(*sign, "--threads", t, "--no-tensors")
                runs["sign files and tensors", t] = lambda t=t: command(*sign, "--threads", t)
                runs["verify", t] = lambda t=t: command(*verify, "--threads", t)
            runs["verify one tensor", 1] = lambda: command(*verify, "--tensor", "layer.3")
            if not options.no_peer:
                runs["model-signing sign", 0] = lambda: command(
                    *peer, "sign", "key", model, "--signature", folder / "peer.sig", "--private_key", key)
                runs["model-signing verify", 0] = lambda: command(
                    *peer, "verify", "key", model, "--signature", signature, "--public_key", key.with_suffix(".pub"))
            times = {what: [] for what in runs}
            for number in range(options.rounds + 1):  # the first round warms up
                for what, run in runs.items():
                    seconds = timed(run)
                    if number:
                        times[what].append(seconds)
            for (what, t), values in times.items():
                median = statistics.median(values)
                base = statistics.median(times["raw", t]) if ("raw", t) in times else None
                rows.append({
                    "model": name, "what": what, "threads": t or None, "seconds": round(median, 4),
                    "spread": round(max(values) - min(values), 4), "gb_per_s": round(total / median / 1e9, 3),
                    "of_raw": round(median / base, 3) if base and what != "verify one tensor" else None,
                })
    if options.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rounds": options.rounds,
                          "megabytes": options.megabytes, "rows": rows}, indent=1))
        return
    print(f"{'model':12} {'what':24} {'threads':>7} {'s':>8} {'spread':>8} {'GB/s':>7} {'time of raw':>11}")
    for row in rows:
        of_raw = f"{row['of_raw']:.2f}" if row["of_raw"] else ""
        print(f"{row['model']:12} {row['what']:24} {row['threads'] or 'own':>7} {row['seconds']:8.3f} "
              f"{row['spread']:8.3f} {row['gb_per_s']:7.2f} {of_raw:>11}")


if __name__ == "__main__":
    main()
