"""Files that stock ExecuTorch made: on stock's runtime, and on ours, compiled anew in memory and as they stand.

    python tests/models/time_stock_files.py build/models/deit_tiny.pt2 ...

Beside MODEL.pt2 stand its inputs and torch's outputs (export_models.py makes all three). Stock lowers each
model with its XNNPACK partitioner and to its portable kernels. Times are the least of several calls; the
three take turns. `x` is how many times faster than stock's runtime ours is with the file compiled anew.
Exit code 1 when an answer is wrong.
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
from oracle import Oracle


def time_ours(sconce, pte, inputs, threads, runs, *how) -> dict:
    done = subprocess.run([str(sconce), "bench", str(pte), "--inputs", inputs, "--threads", str(threads),
                           "--runs", str(runs), "--warmup", "1", "--json", *how],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--sconce")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5, help="calls in a turn")
    parser.add_argument("--threads", type=int, default=0, help="of ours; stock takes what it likes")
    parser.add_argument("--flows", nargs="+", default=["xnnpack", "portable"])
    parser.add_argument("--stock-files", type=pathlib.Path, help="a folder that keeps stock's files between runs")
    options = parser.parse_args()
    sconce = compare.find_sconce(options.sconce)
    wrong = False
    print(f"{'model':<16}{'flow':<10}{'error':>9}{'stock, ms':>11}{'anew, ms':>10}{'x':>7}{'as is, ms':>11}"
          f"{'compiled in, ms':>17}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sconce-stock-") as folder:
        work = pathlib.Path(folder)
        kept = options.stock_files or work
        kept.mkdir(parents=True, exist_ok=True)
        oracle = Oracle(work / "stock.log")
        for path in options.models:
            inputs = str(path.with_suffix(".inputs.safetensors"))
            leaves = json.loads(path.with_suffix(".json").read_text())["calls"][0]["inputs"]
            for flow in options.flows:
                pte = kept / f"{path.stem}.{flow}.pte"
                if not pte.is_file():
                    oracle.ask({"do": "lower", "pt2": str(path), "pte": str(pte), "flow": flow})
                got = work / "got.safetensors"
                compare.run_cli(sconce, "run", pte, "--inputs", inputs, "--outputs", got)
                try:
                    error = f"{compare.error_of(got, path.with_suffix('.outputs.safetensors')):.1e}"
                except compare.Wrong as problem:
                    error, wrong = f"WRONG: {problem}", True
                stock, anew, as_is, compiled = [], [], [], []
                for turn in range(options.turns):
                    stock += oracle.ask({"do": "time", "ptes": [str(pte)], "inputs": leaves, "from": inputs,
                                         "rounds": options.runs})["seconds"]
                    ours = time_ours(sconce, pte, inputs, options.threads, options.runs)
                    anew.append(ours["min_ms"])
                    compiled.append(ours["compiled_anew_ms"])
                    if turn == 0:  # slow, and its time hardly matters
                        as_is.append(time_ours(sconce, pte, inputs, options.threads, 1, "--as-is")["min_ms"])
                print(f"{path.stem:<16}{flow:<10}{error:>9}{min(stock) * 1e3:>11.2f}{min(anew):>10.2f}"
                      f"{min(stock) * 1e3 / min(anew):>7.2f}{min(as_is):>11.1f}{min(compiled):>17.1f}",
                      flush=True)
        oracle.close()
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
