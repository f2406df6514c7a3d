"""Bars: what the tensor files promise, what was measured beside whom, and whether that is enough.

Every script of this folder measures by turns, ours and the peer's in one round, and ends with one table:
bar, measured, ratio, verdict. A ratio is ours to the peer's in the unit of the bar, the median over the
rounds; beside it that of the best of each side, which a busy machine distorts least.
"""

import json
import os
import platform
import statistics
import sys


def bar(name, ours, peers, wanted, unit, *, peer, at_most=False):
    """A row. `ours` and `peers` are equally many figures, taken in the same rounds; speeds, or with
    `at_most` times or sizes. Their ratio is wanted to be at least, or at most, `wanted`; None: no bar, a
    figure to know."""
    best = min if at_most else max
    ratio = statistics.median(a / b for a, b in zip(ours, peers))
    of_best = best(ours) / best(peers)
    verdict = "" if wanted is None else "met" if (ratio <= wanted if at_most else ratio >= wanted) else "missed"
    return {"bar": name, "measured": statistics.median(ours), "best": best(ours), "peer": peer,
            "peer_measured": statistics.median(peers), "peer_best": best(peers), "unit": unit, "ratio": ratio,
            "ratio_of_best": of_best, "wanted": wanted, "at_most": at_most, "verdict": verdict}


def not_measured(name, why):
    return {"bar": name, "verdict": f"not measured: {why}"}


def progress(text):
    """A line on the terminal that the next one replaces; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine():
    name = platform.processor() or platform.machine()
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {"processor": name, "cpus": os.cpu_count(), "load": os.getloadavg()[0], "system": platform.release()}


def show(rows):
    cells = [("bar", "ours", "beside", "", "ratio", "of best", "wanted", "verdict")]
    for row in rows:
        if "ratio" not in row:
            cells.append((row["bar"], "", "", "", "", "", "", row["verdict"]))
            continue
        wanted = "" if row["wanted"] is None else f"{'<=' if row['at_most'] else '>='} {row['wanted']:g}"
        cells.append((row["bar"], f"{row['measured']:.4g} {row['unit']}", row["peer"],
                      f"{row['peer_measured']:.4g}", f"{row['ratio']:.2f}", f"{row['ratio_of_best']:.2f}", wanted,
                      row["verdict"]))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]) - 1)]
    for row in cells:
        print("  ".join(f"{text:{width}}" for text, width in zip(row, widths)) + "  " + row[-1])


def finish(rows, as_json, **more):
    """Ends a script: the table, or everything as JSON."""
    progress("")
    if as_json:
        print(json.dumps({"machine": machine(), "bars": rows, **more}, indent=1))
    else:
        about = machine()
        print(f"{about['processor']}, {about['cpus']} processors, load {about['load']:.1f}")
        show(rows)
