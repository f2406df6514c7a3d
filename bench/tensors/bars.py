"""Bars: what the tensor files promise, what was measured beside whom, and whether that is enough.

Every script of this folder measures by turns, ours and the peer's in one round, and ends with one table:
bar, measured, ratio, verdict. A ratio is ours to the peer's in the unit of the bar, the median over the
rounds; beside it that of the best of each side, which a busy machine distorts least, and the load of the
machine at the end of the rounds (median). Rounds are written to a journal as they are done.
"""

import json
import os
import pathlib
import platform
import statistics
import sys


class Journal:
    """Rounds that were measured: a line of JSON each, on the disk as soon as the round is done.

    A run that ends early loses the round that it was in. The next one with the same journal takes what is there
    for rounds of the same case and settings (sizes, threads, the program that is measured), and measures the rest.
    """

    def __init__(self, path=None):
        self.path, self.lines = path and pathlib.Path(path), []
        if self.path and self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    pass  # cut off when the run was

    def rounds(self, case, settings):
        return [line for line in self.lines if line["case"] == case and line["settings"] == settings]

    def measure(self, case, settings, count, one_round):
        """Measures what is missing of `count` rounds. one_round(number) gives {what: figures}; number 0 warms up."""
        there = len(self.rounds(case, settings))
        if there < count:
            one_round(0)
        for number in range(there + 1, count + 1):
            line = {"case": case, "settings": settings, "figures": one_round(number), "load": os.getloadavg()[0]}
            self.lines.append(line)
            if self.path:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open(self.path, "a+b") as file:
                    if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                        file.write(b"\n")  # behind a line that was cut off
                    file.write(json.dumps(line).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())

    def figures(self, case, settings, count):
        """({what: [figure of each round]}, median load) of the first `count` rounds."""
        rounds = self.rounds(case, settings)[:count]
        return ({what: [line["figures"][what] for line in rounds] for what in rounds[0]["figures"]},
                statistics.median(line["load"] for line in rounds))


def add_options(parser):
    """The options that all scripts of this folder share."""
    parser.add_argument("--folder", help="where the files are made (default: a temporary one)")
    parser.add_argument("--journal", help="file in which rounds are kept; those of an earlier run count")
    parser.add_argument("--json", action="store_true")


def program(path):
    """What tells one build of a measured program from another, for the settings of a case."""
    return os.stat(path).st_mtime_ns if os.path.exists(path) else None


def bar(name, ours, peers, wanted, unit, *, peer, at_most=False, load=None):
    """A row. `ours` and `peers` are equally many figures, taken in the same rounds; speeds, or with
    `at_most` times or sizes. Their ratio is wanted to be at least, or at most, `wanted`; None: no bar, a
    figure to know."""
    best = min if at_most else max
    ratio = statistics.median(a / b for a, b in zip(ours, peers))
    of_best = best(ours) / best(peers)
    verdict = "" if wanted is None else "met" if (ratio <= wanted if at_most else ratio >= wanted) else "missed"
    return {"bar": name, "measured": statistics.median(ours), "best": best(ours), "peer": peer,
            "peer_measured": statistics.median(peers), "peer_best": best(peers), "unit": unit, "ratio": ratio,
            "ratio_of_best": of_best, "wanted": wanted, "at_most": at_most, "verdict": verdict, "rounds": len(ours),
            "load": load}


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
    cells = [("bar", "ours", "beside", "", "ratio", "of best", "rounds", "load", "wanted", "verdict")]
    for row in rows:
        if "ratio" not in row:
            cells.append((row["bar"], *[""] * 8, row["verdict"]))
            continue
        wanted = "" if row["wanted"] is None else f"{'<=' if row['at_most'] else '>='} {row['wanted']:g}"
        cells.append((row["bar"], f"{row['measured']:.4g} {row['unit']}", row["peer"],
                      f"{row['peer_measured']:.4g}", f"{row['ratio']:.2f}", f"{row['ratio_of_best']:.2f}",
                      str(row["rounds"]), "" if row["load"] is None else f"{row['load']:.1f}", wanted,
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
