"""Signing beside the speed of the hash itself and beside model-signing.

    python bench/tensors/signing.py --sconce build/release/sconce [--json]

Two models of --megabytes of random bytes: one .safetensors file, and the same tensors in eight. "hash" is OpenSSL's
SHA-256 (hashlib) over the same bytes resident in memory, one piece for each file: no signer that hashes whole files can
be faster. "hash, read" is the same, read from the files on the way, as every signer must. Signing tensors too hashes
every byte a second time, so it stands beside twice the hash. All runs take turns, files in the page cache. One thread is
compared by processor time of the whole process, which a busy machine distorts least; two threads by wall time.
"""

import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy
from safetensors.numpy import save_file

import bars


MODELS = ["one file", "eight files"]


def make_models(folder, megabytes):
    random = numpy.random.default_rng(1)
    tensors = {f"layer.{i}": random.integers(0, 255, (megabytes * 125_000 // 8, 8), numpy.uint8) for i in range(8)}
    models = dict(zip(MODELS, [folder / "one", folder / "eight"]))
    for model in models.values():
        model.mkdir()
        (model / "config.json").write_text("{}")
    save_file(tensors, models["one file"] / "model.safetensors")
    for i, (name, tensor) in enumerate(tensors.items()):
        save_file({name: tensor}, models["eight files"] / f"model-{i + 1:05}-of-00008.safetensors")
    return models


def timed(run):
    """(wall, processor) seconds, those of children included."""
    def used():
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    start, before = time.perf_counter(), used()
    run()
    return time.perf_counter() - start, used() - before


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


def command(*arguments):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: {done.stdout}{done.stderr}")


def make_runs(model, folder, options):
    """{"what, threads": call} for one model; 0 threads: the peer's own choice."""
    key, signature = folder / "k.pem", folder / "model.sig"
    paths = sorted(model.iterdir())
    buffers = [path.read_bytes() for path in paths]
    sign = [options.sconce, "tensors", "sign", model, "--key", key, "-o", signature]
    verify = [options.sconce, "tensors", "verify", model, "--key", key.with_suffix(".pub"), "--signature", signature]
    runs = {}
    for t in options.threads:
        runs[f"hash, {t}"] = lambda t=t: raw(buffers, t)
        runs[f"hash, read, {t}"] = lambda t=t: raw_read(paths, t)
        runs[f"sign files, {t}"] = lambda t=t: command(*sign, "--threads", t, "--no-tensors")
        runs[f"sign files and tensors, {t}"] = lambda t=t: command(*sign, "--threads", t)
        runs[f"verify, {t}"] = lambda t=t: command(*verify, "--threads", t)
    runs["verify one tensor, 1"] = lambda: command(*verify, "--tensor", "layer.3")
    if not options.no_peer:
        peer = [sys.executable, "-m", "model_signing"]
        runs["model-signing sign, 0"] = lambda: command(
            *peer, "sign", "key", model, "--signature", folder / "peer.sig", "--private_key", key)
        runs["model-signing verify, 0"] = lambda: command(
            *peer, "verify", "key", model, "--signature", signature, "--public_key", key.with_suffix(".pub"))
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sconce", default="build/release/sconce")
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count()}))
    parser.add_argument("--no-peer", action="store_true", help="leave model-signing out")
    bars.add_options(parser)
    options = parser.parse_args()

    journal, rows, details = bars.Journal(options.journal), [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = pathlib.Path(temporary)
        command(options.sconce, "tensors", "keygen", "-o", folder / "k.pem")
        models = {}
        for name in MODELS:
            runs = {}  # filled when a round is missing

            def one_round(number, name=name, runs=runs):
                if not models:
                    models.update(make_models(folder, options.megabytes))
                if not runs:
                    runs.update(make_runs(models[name], folder, options))
                figures = {}
                for what, run in runs.items():
                    bars.progress(f"signing.py: {name}, round {number} of {options.rounds}: {what}")
                    figures[what] = timed(run)
                return figures

            settings = {"megabytes": options.megabytes, "threads": options.threads, "peer": not options.no_peer,
                        "program": bars.program(options.sconce)}
            journal.measure(name, settings, options.rounds, one_round)
            runs.clear()  # and the model's bytes with them
            figures, load = journal.figures(name, settings, options.rounds)
            wall = {what: [w for w, _ in pairs] for what, pairs in figures.items()}
            cpu = {what: [c for _, c in pairs] for what, pairs in figures.items()}
            for t in options.threads:
                times = cpu if t == 1 else wall
                kind = f"{t} thread, processor s" if t == 1 else f"{t} threads, wall s"
                twice = [2 * seconds for seconds in times[f"hash, {t}"]]
                for what, beside, peers, wanted in [
                        ("sign files", "hash", times[f"hash, {t}"], 1.1),
                        ("sign files", "hash, read", times[f"hash, read, {t}"], 1.1),
                        ("sign files and tensors", "hash", times[f"hash, {t}"], 1.1),
                        ("sign files and tensors", "hash, twice", twice, None),
                        ("verify", "hash", times[f"hash, {t}"], None)]:
                    rows.append(bars.bar(f"{name}: {what}, {kind}", times[f"{what}, {t}"], peers, wanted, "s", peer=beside,
                                         at_most=True, load=load))
            if not options.no_peer:
                for what in ["sign", "verify"]:
                    ours = "sign files and tensors" if what == "sign" else what
                    rows.append(bars.bar(f"{name}: {ours}, wall s", wall[f"{ours}, {max(options.threads)}"],
                                         wall[f"model-signing {what}, 0"], None, "s", peer="model-signing",
                                         at_most=True, load=load))
            details.append({"model": name, "wall": wall, "processor": cpu})
    bars.finish(rows, options.json, runs=details)


if __name__ == "__main__":
    main()
