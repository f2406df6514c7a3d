"""All benchmarks of the tensor files, one after the other, and one table of their bars.

    ninja -C build/release sconce sconce_tensor_bench; pip install .
    python bench/tensors/run.py [--quick] [--part load signing] [--json] [--build build/release]

Takes some twenty minutes; --quick takes fewer rounds of smaller files, for a look. Rounds are kept in a journal as they
are done: after a run that was ended, --resume measures what is missing and shows everything. Close everything else:
ratios are taken in interleaved rounds, but two busy processors have no second thread to give.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import bars

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release", help="folder with sconce and the bench programs")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller files")
    parser.add_argument("--part", nargs="+", choices=["load", "container", "signing", "checkpoint"])
    parser.add_argument("--resume", action="store_true", help="go on with the journal of a run that was ended")
    bars.add_options(parser)
    options = parser.parse_args()
    build = pathlib.Path(options.build)
    journal = pathlib.Path(options.journal or build / "tensor_bench.jsonl")
    if not options.resume:
        journal.unlink(missing_ok=True)
    scripts = {
        "load": ["--header-bench", build / "sconce_header_bench", "--pairs", 3 if options.quick else 9],
        "container": ["--bench", build / "sconce_container_bench", "--rounds", 2 if options.quick else 7,
                      "--megabytes", 200 if options.quick else 500],
        "signing": ["--sconce", build / "sconce", "--rounds", 2 if options.quick else 5,
                    "--megabytes", 200 if options.quick else 600],
        "checkpoint": ["--sconce", build / "sconce", "--rounds", 2 if options.quick else 7,
                       "--megabytes", 128 if options.quick else 512],
    }
    rows, parts, failed = [], {}, False
    for number, (name, arguments) in enumerate(scripts.items()):
        if options.part and name not in options.part:
            continue
        print(f"{number + 1} of {len(scripts)}: {name}.py", file=sys.stderr, flush=True)
        arguments += ["--journal", journal]
        if options.folder:
            arguments += ["--folder", options.folder]
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", *map(str, arguments)],
                              stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed = True
            rows.append(bars.not_measured(f"{name}.py", f"it ended with {done.returncode}"))
            continue
        parts[name] = json.loads(done.stdout)
        rows += parts[name]["bars"]
    bars.finish(rows, options.json, parts=parts)
    sys.exit(failed)


if __name__ == "__main__":
    main()
