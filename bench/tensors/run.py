"""All benchmarks of the tensor files, one after the other, and one table of their bars.

    ninja -C build/release sconce sconce_tensor_bench; pip install .
    python bench/tensors/run.py [--quick] [--json] [--build build/release]

Takes some ten minutes; --quick takes fewer rounds of smaller files, for a look. Close everything else: ratios
are taken in interleaved rounds, but two busy processors have no second thread to give.
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
    parser.add_argument("--folder", help="where the files are made (default: a temporary one)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller files")
    parser.add_argument("--only", nargs="+", choices=["load", "container", "signing", "checkpoint"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    build = pathlib.Path(options.build)
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
        if options.only and name not in options.only:
            continue
        print(f"{number + 1} of {len(scripts)}: {name}.py", file=sys.stderr, flush=True)
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
