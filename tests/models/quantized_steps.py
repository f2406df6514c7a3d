#!/usr/bin/env python3
"""How many steps apart the answers of stock's quantised files are: on our runtime, on stock's, in torch.

Each flow of PT2E and torchao that stock's XNNPACK partitioner takes is made anew with other random weights, run on
inputs of three sizes, and the largest difference of each pair of answers told: in steps of the model's last
integers, or where it ends in numbers in 127ths of the answer's largest.

    python tests/models/quantized_steps.py --seeds 8
    python tests/models/quantized_steps.py static_per_channel --json
"""

import argparse
import json
import logging
import pathlib
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "python"), str(ROOT / "tests" / "models")]
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import compare


def differences(name: str, seed: int, oracle, sconce: pathlib.Path, folder: pathlib.Path) -> dict[str, float]:
    """By pair, the most steps of all calls."""
    from both_runtimes import BothRuntimes
    from safetensors.torch import load_file
    from test_quantized import STEP
    from test_quantized_payloads import made, range_of_answers

    exported, stock, calls = made(name, seed, folder)
    both = BothRuntimes(oracle, sconce, folder, calls)
    both.on_stock(stock, "stock")
    both.on_ours(stock)
    most = {"ours, stock": 0.0, "stock, torch": 0.0, "ours, torch": 0.0}
    for number, call in enumerate(calls):
        answers = {kind: list(load_file(folder / f"{kind}.{number}").values())[0] for kind in ("stock", "ours")}
        answers["torch"] = exported.module()(*call)
        step = (range_of_answers(exported) or float(answers["torch"].abs().max())) * STEP
        for pair in most:
            a, b = pair.split(", ")
            most[pair] = max(most[pair], float((answers[a] - answers[b]).abs().max()) / step)
    return most


def main() -> None:
    from oracle import Oracle
    from test_quantized_payloads import NAMES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flows", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--seeds", type=int, default=8, help="models of each flow (8)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for name in options.flows:
        if name not in NAMES:
            parser.error(f"flow {name}: one of {', '.join(NAMES)} is wanted")
    sconce = compare.find_sconce() or sys.exit("no sconce: build it, or name it in SCONCE_CLI")
    oracle, results = Oracle(), {}
    with tempfile.TemporaryDirectory() as work:
        for name in options.flows:
            rows = []
            for seed in range(options.seeds):
                folder = pathlib.Path(work) / f"{name}.{seed}"
                folder.mkdir()
                rows.append(differences(name, seed, oracle, sconce, folder))
                print(f"\r{name}: {seed + 1} of {options.seeds}", end="", file=sys.stderr, flush=True)
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            results[name] = {pair: {"most": max(row[pair] for row in rows),
                                    "median": sorted(row[pair] for row in rows)[len(rows) // 2]} for pair in rows[0]}
            if not options.json:
                print(f"{name:24}" + "   ".join(f"{pair}: {value['median']:.1f} ({value['most']:.1f})"
                                                for pair, value in results[name].items()))
    oracle.close()
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        print("steps apart at most: of the median model, in brackets of the worst")


if __name__ == "__main__":
    main()
