"""How long `sconce compile` takes, and its peak memory: whole process, files in the page cache.

    python tests/models/compile_time.py [--repeat 5] [--target cpu] [--json FILE]

The bars: under a second for each of the five smaller models and under two for OPT-125M; peak memory
at most weights + 200 MB (pages of the mapped archive count); OPT-125M's file at most 505 MB, for its
embedding is stored once. The minimum of the runs is shown, since noise only adds.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, dataclass

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import catalog
from compare import ROOT, find_sconce
from export_models import expand

SECONDS_MAX = {"opt_125m": 2.0}
EXTRA_BYTES_MAX = 200_000_000
PTE_BYTES_MAX = {"opt_125m": 505_000_000}


# A small process that starts the compiler: the peak memory that the system counts for a child begins
# with that of its parent, which here has torch loaded.
LAUNCHER = """
import resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.monotonic() - start
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def output_folder(fallback: pathlib.Path) -> pathlib.Path:
    """Where the .pte goes: memory when there is room, so that a disk's write-back is not measured."""
    memory = pathlib.Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 4_000_000_000:
        return memory
    return fallback


@dataclass
class Figure:
    name: str
    seconds: float
    peak_bytes: int
    weight_bytes: int
    pte_bytes: int

    def problems(self) -> list[str]:
        found = []
        if self.seconds >= SECONDS_MAX.get(self.name, 1.0):
            found.append(f"{self.seconds:.2f} s, bar {SECONDS_MAX.get(self.name, 1.0):g} s")
        if self.peak_bytes > self.weight_bytes + EXTRA_BYTES_MAX:
            found.append(f"peak {self.peak_bytes / 1e6:.0f} MB, bar weights "
                         f"{self.weight_bytes / 1e6:.0f} + 200 MB")
        if self.pte_bytes > PTE_BYTES_MAX.get(self.name, sys.maxsize):
            found.append(f"file {self.pte_bytes / 1e6:.0f} MB, bar "
                         f"{PTE_BYTES_MAX[self.name] / 1e6:.0f} MB")
        return found


def weight_bytes(pt2: pathlib.Path) -> int:
    with zipfile.ZipFile(pt2) as archive:
        return sum(e.file_size for e in archive.infolist()
                   if "/data/weights/" in e.filename or "/data/constants/" in e.filename)


def measure(sconce: pathlib.Path, pt2: pathlib.Path, pte: pathlib.Path, repeat: int,
            target: str = "portable") -> Figure:
    with open(pt2, "rb") as file:
        while file.read(1 << 24):  # into the page cache
            pass
    seconds, peak = float("inf"), 0
    for _ in range(repeat):
        pte.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, sconce, "compile", pt2, "-o", pte,
                               "--target", target], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"sconce compile {pt2.name}: exit {done.returncode}: {done.stderr[:400]}")
        took, kilobytes = done.stdout.split()[-2:]
        seconds = min(seconds, float(took))
        peak = max(peak, int(kilobytes) * 1024)
    return Figure(pt2.stem, seconds, peak, weight_bytes(pt2), pte.stat().st_size)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(catalog.BARS))
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build" / "models")
    parser.add_argument("--sconce")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--target", default="portable")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    sconce = find_sconce(options.sconce)
    if sconce is None:
        parser.error("no sconce found; build it (cmake --workflow --preset release) or name it")
    figures, failed = [], 0
    print(f"{'model':<18}{'seconds':>9}{'peak MB':>10}{'weights MB':>12}{'file MB':>10}")
    with tempfile.TemporaryDirectory(dir=output_folder(options.models)) as folder:
        for name in expand(options.names):
            pte = pathlib.Path(folder) / f"{name}.pte"
            try:
                figure = measure(sconce, options.models / f"{name}.pt2", pte, options.repeat,
                                 options.target)
            except RuntimeError as error:
                failed += 1
                print(f"{name:<18} {error}", flush=True)
                continue
            finally:
                pte.unlink(missing_ok=True)
            figures.append(figure)
            failed += bool(figure.problems())
            print(f"{name:<18}{figure.seconds:>9.2f}{figure.peak_bytes / 1e6:>10.0f}"
                  f"{figure.weight_bytes / 1e6:>12.1f}{figure.pte_bytes / 1e6:>10.1f}"
                  f"  {'; '.join(figure.problems())}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
