"""Compiles the test models with sconce and compares every answer with torch's.

    python tests/models/compare.py mobilenet_v2 tiny            ours: compile, run here and on stock
    python tests/models/compare.py tiny --stock                 also stock's files on our runtime

For each model: `sconce compile NAME.pt2 --target portable`, `sconce run`, and the same file on
stock ExecuTorch from its wheel. An answer is right when shape and dtype agree and the largest error
is within 1e-4 of the output's largest magnitude (wider for f16 and bf16, whose last bit is coarser;
exact for integers). The table goes to the terminal, `--json` writes it for machines; the exit code
is 1 when anything failed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from export_models import CASES, expand
from oracle import Oracle, OracleError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
# Two units in the last place of a result as large as the output's scale.
COARSE = {"torch.float16": 2e-3, "torch.bfloat16": 1.6e-2}


@dataclass
class Row:
    """What happened to one model. A field holds an error relative to the scale, or a word."""

    name: str
    compile_s: float | None = None
    pte_bytes: int | None = None
    ours: float | str | None = None
    stock: float | str | None = None
    stock_file_stock: float | str | None = None  # stock's own file on stock's runtime
    stock_file_ours: float | str | None = None  # and on ours
    problems: list[str] = field(default_factory=list)


class Wrong(Exception):
    """An answer differs from torch's."""


def find_sconce(given: str | None = None) -> pathlib.Path | None:
    names = [given, os.environ.get("SCONCE_CLI")]
    names += [ROOT / "build" / preset / "sconce" for preset in ("release", "dev", "asan")]
    return next((pathlib.Path(n) for n in names if n and pathlib.Path(n).is_file()), None)


def run_cli(sconce: pathlib.Path, *arguments: object, timeout_s: float = 900) -> str:
    """What the command prints; raises Wrong with its words when it fails."""
    command = [str(sconce), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        shown = " | ".join(line.strip() for line in said[:6])
        raise Wrong(f"sconce {arguments[0]} exit {done.returncode}: {shown[:600]}")
    return done.stdout


def error_of(path: pathlib.Path, expected_path: pathlib.Path, limit: float | None = None,
             scale: float | None = None) -> float:
    """The largest error of all outputs, relative to `scale` (default: each output's largest number);
    raises Wrong beyond `limit` (default: by dtype)."""
    import torch
    from safetensors.torch import load_file

    def in_order(tensors):
        names = [k for k in tensors if k.startswith("output.")]  # number.N: results that are no tensors
        return [tensors[k] for k in sorted(names, key=lambda k: int(k.rpartition(".")[2]))]

    got, expected = in_order(load_file(path)), in_order(load_file(expected_path))
    if len(got) != len(expected):
        raise Wrong(f"{len(got)} outputs, expected {len(expected)}")
    worst = 0.0
    for i, (a, b) in enumerate(zip(got, expected)):
        if a.dtype != b.dtype or a.shape != b.shape:
            raise Wrong(f"output {i} is {a.dtype}{list(a.shape)}, expected {b.dtype}{list(b.shape)}")
        if not b.dtype.is_floating_point:
            if not torch.equal(a, b):
                raise Wrong(f"output {i}: {int((a != b).sum())} of {b.numel()} values differ")
            continue
        tolerance = limit or COARSE.get(str(b.dtype), TOLERANCE)
        x, y = a.double(), b.double()
        finite = y.isfinite()
        special = ~finite
        if not torch.equal(x[special].nan_to_num(9.0), y[special].nan_to_num(9.0)) or not torch.equal(
            x.isfinite(), finite
        ):
            raise Wrong(f"output {i}: NaN or infinity in other places")
        if not finite.any():
            continue
        unit = scale or float(y[finite].abs().max()) or 1.0
        error = float((x[finite] - y[finite]).abs().max()) / unit
        if not error <= tolerance:
            raise Wrong(f"output {i}: error {error:.3g} of its scale {unit:.3g}, limit {tolerance:g}")
        worst = max(worst, error)
    return worst


class Bench:
    """One comparison run: where the files are, and the workers."""

    def __init__(self, models: pathlib.Path, work: pathlib.Path, sconce: pathlib.Path | None,
                 target: str = "portable", plugin: pathlib.Path | None = None) -> None:
        self.models, self.work, self.sconce, self.target = models, work, sconce, target
        work.mkdir(parents=True, exist_ok=True)
        self.oracle = Oracle(work / "stock.log", plugin)

    def meta(self, name: str) -> dict:
        return json.loads((self.models / f"{name}.json").read_text())

    def file(self, name: str, what: str, call: int) -> pathlib.Path:
        return self.models / f"{name}.{what}{f'.{call}' if call else ''}.safetensors"

    def compile(self, name: str, target: str | None = None) -> pathlib.Path:
        target = target or self.target
        pte = self.work / f"{name}.{target}.pte"
        pte.unlink(missing_ok=True)
        run_cli(self.sconce, "compile", self.models / f"{name}.pt2", "-o", pte, "--target", target)
        if not pte.is_file():
            raise Wrong("sconce compile exit 0 but wrote no file")
        return pte

    def lower(self, name: str, flow: str = "portable") -> pathlib.Path:
        """Stock's own file, made once for each .pt2."""
        folder = self.models / "stock"
        folder.mkdir(exist_ok=True)
        pte, note = folder / f"{name}.{flow}.pte", folder / f"{name}.{flow}.json"
        stamp = self.meta(name)["stamp"]
        if note.is_file():
            made = json.loads(note.read_text())
            if made["stamp"] == stamp:
                if "error" in made:
                    raise OracleError(made["error"])
                if pte.is_file():
                    return pte
        try:
            made = self.oracle.ask({"do": "lower", "pt2": str(self.models / f"{name}.pt2"),
                                    "pte": str(pte), "flow": flow})
        except OracleError as error:
            note.write_text(json.dumps({"stamp": stamp, "error": str(error)}) + "\n")
            raise
        note.write_text(json.dumps({"stamp": stamp, **made}) + "\n")
        return pte

    def on_ours(self, name: str, pte: pathlib.Path, threads: int = 1, anew: bool = False) -> float:
        """The file as it stands, or compiled anew in memory."""
        # One process for all calls: state lives from call to call.
        files = []
        arguments: list[object] = []
        for k in range(len(self.meta(name)["calls"])):
            out = self.work / f"{name}.ours.{k}.safetensors"
            out.unlink(missing_ok=True)
            files.append(out)
            arguments += ["--inputs", self.file(name, "inputs", k), "--outputs", out]
        how = [] if anew else ["--as-is"]
        run_cli(self.sconce, "run", pte, "--threads", threads, *how, *arguments)
        return max(self.judge(out, name, k) for k, out in enumerate(files))

    def on_stock(self, name: str, pte: pathlib.Path) -> float:
        calls = [
            {"inputs": call["inputs"], "from": str(self.file(name, "inputs", k)),
             "to": str(self.work / f"{name}.stock.{k}.safetensors")}
            for k, call in enumerate(self.meta(name)["calls"])
        ]
        self.oracle.ask({"do": "run", "pte": str(pte), "calls": calls})
        return max(self.judge(pathlib.Path(c["to"]), name, k) for k, c in enumerate(calls))

    def judge(self, out: pathlib.Path, name: str, call: int) -> float:
        if not out.is_file():
            raise Wrong(f"{out.name} was not written")
        try:
            return error_of(out, self.file(name, "outputs", call))
        except Wrong as wrong:
            raise Wrong(f"call {call}: {wrong}" if call else str(wrong)) from None

    def row(self, name: str, also_stock_files: bool = False) -> Row:
        row, meta = Row(name), self.meta(name)

        def attempt(field_name: str, step) -> None:
            try:
                setattr(row, field_name, step())
            except (Wrong, OracleError, subprocess.TimeoutExpired) as error:
                setattr(row, field_name, "FAIL")
                row.problems.append(f"{field_name}: {error}")

        if self.sconce is not None:
            start = time.monotonic()
            try:
                pte = self.compile(name)
                row.compile_s, row.pte_bytes = time.monotonic() - start, pte.stat().st_size
            except (Wrong, subprocess.TimeoutExpired) as error:
                row.ours = row.stock = "FAIL"
                row.problems.append(f"compile: {error}")
            else:
                attempt("ours", lambda: self.on_ours(name, pte))
                if meta["stock_cannot"] or self.target not in ("portable", "xnnpack"):
                    row.stock = "-"
                else:
                    attempt("stock", lambda: self.on_stock(name, pte))
        if also_stock_files:
            try:
                stock_pte = self.lower(name)
            except OracleError as error:
                row.stock_file_stock, row.stock_file_ours = f"not lowered: {error}", "-"
            else:
                try:
                    row.stock_file_stock = self.on_stock(name, stock_pte)
                except (Wrong, OracleError) as error:
                    row.stock_file_stock = f"wrong: {error}"
                # Where stock itself is wrong (initial state dropped, say) there is nothing to match.
                if isinstance(row.stock_file_stock, str):
                    row.stock_file_ours = "-"
                elif self.sconce is not None:
                    attempt("stock_file_ours", lambda: max(self.on_ours(name, stock_pte),
                                                           self.on_ours(name, stock_pte, anew=True)))
        return row


def cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return value.split(":")[0][:12] if isinstance(value, str) else f"{value:.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=["all"])
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build" / "models")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "compare")
    parser.add_argument("--sconce", help="the CLI (default: $SCONCE_CLI, build/release, build/dev)")
    parser.add_argument("--target", default="portable")
    parser.add_argument("--stock", action="store_true", help="also lower with stock and run its files")
    parser.add_argument("--only-stock", action="store_true", help="leave our compiler out")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    sconce = None if options.only_stock else find_sconce(options.sconce)
    if sconce is None and not options.only_stock:
        parser.error("no sconce found; build it (cmake --workflow --preset release) or name it")
    bench = Bench(options.models, options.work, sconce, options.target)
    also_stock_files = options.stock or options.only_stock
    print(f"{'model':<22}{'compile s':>10}{'MB':>9}{'ours':>9}{'stock':>9}"
          + (f"{'stock>stock':>14}{'stock>ours':>12}" if also_stock_files else ""))
    rows = []
    for name in expand(options.names):
        if not (options.models / f"{name}.json").is_file():
            print(f"{name:<22} not exported, skipped")
            continue
        row = bench.row(name, also_stock_files)
        rows.append(row)
        size = f"{row.pte_bytes / 1e6:.2f}" if row.pte_bytes is not None else ""
        seconds = f"{row.compile_s:.2f}" if row.compile_s is not None else ""
        print(f"{name:<22}{seconds:>10}{size:>9}{cell(row.ours):>9}{cell(row.stock):>9}"
              + (f"{cell(row.stock_file_stock):>14}{cell(row.stock_file_ours):>12}"
                 if also_stock_files else ""), flush=True)
        for problem in row.problems:
            print(f"    {problem}", flush=True)
    bench.oracle.close()
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")
    failed = [r.name for r in rows if r.problems]
    print(f"{len(rows) - len(failed)} models right, {len(failed)} failed"
          + (f": {' '.join(failed)}" if failed else ""))
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
