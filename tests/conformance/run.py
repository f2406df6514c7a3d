"""Runs ExecuTorch's backend test suite (its operator cases) through our compiler and our runtime.

    python tests/conformance/run.py                                 every case, the first three flows
    python tests/conformance/run.py -f ours_on_ours -k 'lstm or conv'
    python tests/conformance/run.py -f stock_on_ours --sample 4     every fourth case
    python tests/conformance/run.py -f xnnpack --part 3/8 --json part3.json    an eighth, to be
    python tests/conformance/run.py --show part*.json                          put together later

Flows (routes.py says what counts as right):
    stock_on_ours   stock ExecuTorch's lowering, our runtime
    ours_on_stock   our compiler, stock's runtime
    ours_on_ours    our compiler, our runtime
    our_xnnpack_on_stock, our_xnnpack_on_ours (when asked for): `--target xnnpack`, either runtime
    xnnpack, xnnpack_static_int8_per_channel, xnnpack_static_int8_per_tensor,
    xnnpack_dynamic_int8_per_channel (when asked for): stock's flows of that name, our runtime
    our_xnnpack_static_int8_per_channel_on_stock, ..._on_ours and the like (when asked for): our file
                    of what stock's flow quantises, either runtime

Stock's files run on our runtime twice, compiled anew in memory and as they stand; `anew` counts the
cases of which every file could be compiled anew.

Needs torch and executorch (`make venv`) and the sconce command line: --sconce, else $SCONCE_CLI,
else build/release or build/dev. Prints a line for each case that did not pass and a table of the
flows; the exit code is 1 when a case failed, 77 when torch or executorch is not installed.
"""

import argparse
import collections
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing

from routes import ALL_ROUTES as FLOWS, ROUTES

HERE = pathlib.Path(__file__).resolve().parent


def suite_folder() -> pathlib.Path | None:
    try:
        found = importlib.util.find_spec("executorch.backends.test.suite")
    except ModuleNotFoundError:
        found = None
    return pathlib.Path(found.origin).parent / "operators" if found and found.origin else None


class Part(typing.NamedTuple):
    """Every `of`-th case, beginning with the `first`-th."""

    first: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        try:
            part = cls(*map(int, text.split("/")))
        except (TypeError, ValueError):
            part = cls(1, 0)
        if not 0 <= part.first < part.of:
            raise argparse.ArgumentTypeError(f"wanted I/N with 0 <= I < N, not '{text}'")
        return part

    def shard(self, job: int, jobs: int) -> str:
        return f"{self.first + job * self.of}/{self.of * jobs}"


def start(shard: int, options, suite: pathlib.Path, folder: pathlib.Path) -> subprocess.Popen:
    command = [
        sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "plugin", "-c", os.devnull,
        "-p", "no:cacheprovider", "--rootdir", str(suite), str(suite), "--tb=no", "-rN",
        "-m", " or ".join(f"flow_{flow}" for flow in options.flow),
        "--conformance-shard", options.part.shard(shard, options.jobs),
        "--conformance-seed", str(options.seed),
        "--conformance-report", str(folder / f"{shard}.json"),
    ]
    if options.filter:
        command += ["-k", options.filter]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores
    if options.sconce:
        environment["SCONCE_CLI"] = str(options.sconce.resolve())
    log = open(folder / f"{shard}.log", "w")
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)


def gather(workers: list[subprocess.Popen], folder: pathlib.Path) -> tuple[list[dict], list[str]]:
    """The records of all workers, and what went wrong with the workers themselves."""
    records, problems = [], []
    for shard, worker in enumerate(workers):
        status = worker.wait()
        report = folder / f"{shard}.json"
        if report.is_file():
            records += json.loads(report.read_text())
        # 1: cases failed, which their records say; 5: nothing was chosen.
        if status not in (0, 1, 5) or not report.is_file():
            tail = (folder / f"{shard}.log").read_text().splitlines()[-15:]
            problems.append(f"worker {shard} ended with status {status}:\n    " + "\n    ".join(tail))
    return records, problems


def cases_by_flow(records: list[dict]) -> dict[str, dict[str, list[dict]]]:
    flows: dict[str, dict[str, list[dict]]] = {}
    for record in records:
        flows.setdefault(record["flow"], {}).setdefault(record["case"], []).append(record)
    return flows


def verdict(subtests: list[dict]) -> str:
    """A case passes when something of it ran and all that ran passed."""
    results = {record["result"] for record in subtests}
    return "fail" if "fail" in results else "pass" if results == {"pass"} else "skip"


def show(records: list[dict], wall_s: float | None = None, out=sys.stdout) -> collections.Counter:
    flows = cases_by_flow(records)
    totals: collections.Counter = collections.Counter()
    for flow in FLOWS:
        rest = {name: made for name, made in flows.get(flow, {}).items() if verdict(made) != "pass"}
        for word in ("skip", "fail"):
            chosen = {name: made for name, made in rest.items() if verdict(made) == word}
            if chosen:
                print(f"{flow}: {len(chosen)} {word}", file=out)
            for name, made in sorted(chosen.items()):
                reason = next(record["reason"] for record in made if record["result"] == word)
                print(f"    {name}: {reason}", file=out)
    print(f"{'flow':<33}{'cases':>7}{'pass':>7}{'fail':>7}{'skip':>7}{'anew':>7}{'worst error':>13}"
          f"{'seconds':>9}", file=out)
    for flow in FLOWS:
        made = flows.get(flow)
        if not made:
            continue
        words = collections.Counter(map(verdict, made.values()))
        totals.update(words)
        mine = [record for subtests in made.values() for record in subtests]
        worst = max((record["error"] or 0.0 for record in mine), default=0.0)
        anew = sum(all(r.get("as_it_stands") == "" for r in subtests) for subtests in made.values())
        print(f"{flow:<33}{len(made):>7}{words['pass']:>7}{words['fail']:>7}{words['skip']:>7}{anew:>7}"
              f"{worst:>13.1e}{sum(record['seconds'] for record in mine):>9.1f}", file=out)
    if wall_s is not None:
        print(f"{wall_s:.0f} s", file=out)
    return totals


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-f", "--flow", nargs="+", choices=FLOWS, default=list(ROUTES))
    parser.add_argument("-k", "--filter", help="pytest's -k: which cases, by name")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sample", dest="part", type=lambda text: Part.parse(f"0/{text}"), metavar="N",
                       help="every N-th case (default: all)")
    which.add_argument("--part", type=Part.parse, metavar="I/N",
                       help="every N-th case, beginning with the I-th (from 0)")
    which.add_argument("--show", nargs="+", type=pathlib.Path, metavar="JSON",
                       help="run nothing: show these records together")
    parser.set_defaults(part=Part())
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs (default 0)")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument("--sconce", type=pathlib.Path, help="the command line to test")
    parser.add_argument("--json", type=pathlib.Path, help="write every record there")
    options = parser.parse_args()
    if options.show:
        records = [record for path in options.show for record in json.loads(path.read_text())]
        return 1 if show(records)["fail"] or not records else 0
    suite = suite_folder()
    if suite is None or importlib.util.find_spec("torch") is None:
        print("[SKIP] torch and executorch are not installed for this Python: make venv")
        return 77
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sconce-conformance-") as name:
        folder = pathlib.Path(name)
        workers = [start(shard, options, suite, folder) for shard in range(options.jobs)]
        try:
            records, problems = gather(workers, folder)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.terminate()
    totals = show(records, time.monotonic() - begin)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    for problem in problems:
        print(problem)
    if not records:
        print("no case was run")
    return 1 if totals["fail"] or problems or not records else 0


if __name__ == "__main__":
    sys.exit(main())
