"""Our XNNPACK file and stock's, each on both runtimes: errors against torch, times, memory at load.

    python tests/models/compare_stock.py build/models/deit_tiny.pt2 ...
    python tests/models/compare_stock.py --target cpu --plugin build/release/libsconce_executorch.so ...

Beside MODEL.pt2 stand its inputs and torch's outputs (export_models.py makes all three). Times are the
least of several calls; on stock's runtime the two files take turns in one process, on as many threads as
it takes by itself. `x` is how many times faster our file is there. Exit code 1 when an answer is wrong.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import compare
from oracle import Oracle, OracleError


def on_stock(oracle, pte, model, work) -> str:
    got = work / "got.safetensors"
    try:
        oracle.ask({"do": "run", "pte": str(pte), "calls": [
            {"inputs": model["leaves"], "from": model["inputs"], "to": str(got)}]})
        return f"{compare.error_of(got, model['outputs']):.1e}"
    except (compare.Wrong, OracleError) as problem:
        return f"WRONG: {str(problem)[:160]}"


def on_ours(sconce, pte, model, work) -> str:
    got = work / "got.safetensors"
    try:
        compare.run_cli(sconce, "run", pte, "--inputs", model["inputs"], "--outputs", got)
        return f"{compare.error_of(got, model['outputs']):.1e}"
    except compare.Wrong as problem:
        return f"WRONG: {str(problem)[:160]}"


def time_on_ours(sconce, pte, model, runs) -> float:
    done = subprocess.run([str(sconce), "bench", str(pte), "--inputs", model["inputs"], "--runs", str(runs),
                           "--warmup", "1", "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["min_ms"]


def load_memory(pte, plugin) -> dict:
    oracle = Oracle(plugin=plugin)
    try:
        return oracle.ask({"do": "load", "pte": str(pte)})
    finally:
        oracle.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--sconce")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--target", default="xnnpack")
    parser.add_argument("--plugin", type=pathlib.Path, help="libsconce_executorch.so, for --target cpu on stock")
    parser.add_argument("--no-ours", action="store_true", help="leave our runtime out (its plain kernels are slow)")
    parser.add_argument("--stock-files", type=pathlib.Path, help="a folder that keeps stock's files between runs")
    options = parser.parse_args()
    sconce = compare.find_sconce(options.sconce)
    wrong = False
    print(f"{'model':<16}{'file':<7}{'size, MB':>9}{'calls':>7}  {'error on stock':<16}{'error on ours':<16}"
          f"{'ms on stock':>12}{'x':>6}{'ms on ours':>12}{'load peak, MB':>15}{'after':>8}")
    with tempfile.TemporaryDirectory(prefix="sconce-compare-") as folder:
        work = pathlib.Path(folder)
        kept = options.stock_files or work
        kept.mkdir(parents=True, exist_ok=True)
        oracle = Oracle(work / "stock.log", options.plugin)
        for path in options.models:
            name = path.stem
            model = {"inputs": str(path.with_suffix(".inputs.safetensors")),
                     "outputs": str(path.with_suffix(".outputs.safetensors"))}
            model["leaves"] = json.loads(path.with_suffix(".json").read_text())["calls"][0]["inputs"]
            ours, stock = work / f"{name}.ours.pte", kept / f"{name}.stock.pte"
            compare.run_cli(sconce, "compile", path, "-o", ours, "--target", options.target)
            if not stock.is_file():
                oracle.ask({"do": "lower", "pt2": str(path), "pte": str(stock), "flow": "xnnpack"})
            times = oracle.ask({"do": "time", "ptes": [str(ours), str(stock)], "inputs": model["leaves"],
                                "from": model["inputs"], "rounds": options.rounds})["seconds"]
            for i, (word, pte) in enumerate((("ours", ours), ("stock", stock))):
                errors = [on_stock(oracle, pte, model, work)]
                errors.append("-" if options.no_ours else on_ours(sconce, pte, model, work))
                took = "-" if options.no_ours else f"{time_on_ours(sconce, pte, model, 3):.1f}"
                memory = load_memory(pte, options.plugin)
                wrong |= any(error.startswith("WRONG") for error in errors) and word == "ours"
                calls = subprocess.run([str(sconce), "inspect", str(pte)], capture_output=True,
                                       text=True).stdout.count("\n  delegate ")
                speed = f"{times[1] / times[0]:.2f}" if word == "ours" else ""
                print(f"{name:<16}{word:<7}{pte.stat().st_size / 1e6:>9.1f}{calls:>7}  {errors[0]:<16}{errors[1]:<16}"
                      f"{times[i] * 1e3:>12.2f}{speed:>6}{took:>12}{memory['peak'] / 1e6:>15.1f}"
                      f"{memory['after'] / 1e6:>8.1f}", flush=True)
        oracle.close()
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
