"""The journal of bench/tensors: a run that was ended goes on where it was."""

import importlib.util
import json
import pathlib

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "bench" / "tensors" / "bars.py"
spec = importlib.util.spec_from_file_location("tensor_bars", SOURCE)
bars = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bars)


def rounds_that_end(path, count, ends_at=None):
    """Numbers of the rounds that were measured, and all figures that are then there."""
    measured = []

    def one_round(number):
        if number == ends_at:
            raise KeyboardInterrupt
        measured.append(number)
        return {"ours": number * 10, "peer": [number, 2 * number]}

    journal = bars.Journal(path)
    try:
        journal.measure("case", {"bytes": 5}, count, one_round)
    except KeyboardInterrupt:
        pass
    return measured, journal.figures("case", {"bytes": 5}, count)[0]


def test_goes_on_after_the_rounds_that_were_done(tmp_path):
    path = tmp_path / "new" / "journal.jsonl"
    assert rounds_that_end(path, 5, ends_at=3) == ([0, 1, 2], {"ours": [10, 20], "peer": [[1, 2], [2, 4]]})
    assert rounds_that_end(path, 5) == ([0, 3, 4, 5],
                                        {"ours": [10, 20, 30, 40, 50], "peer": [[n, 2 * n] for n in range(1, 6)]})
    assert rounds_that_end(path, 5)[0] == []
    assert rounds_that_end(path, 4)[1]["ours"] == [10, 20, 30, 40]


def test_measures_a_line_again_that_was_cut_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    rounds_that_end(path, 2)
    path.write_bytes(path.read_bytes()[:-7])
    assert rounds_that_end(path, 2) == ([0, 2], {"ours": [10, 20], "peer": [[1, 2], [2, 4]]})
    assert rounds_that_end(path, 2)[0] == []


def test_takes_no_round_of_other_settings(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"case": "case", "settings": {"bytes": 6}, "figures": {}, "load": 1}) + "\n")
    assert rounds_that_end(path, 1)[0] == [0, 1]


def test_shows_load_and_rounds_beside_each_ratio(capsys):
    row = bars.bar("loading", [2.0, 4.0, 6.0], [1.0, 2.0, 2.0], 1.5, "GB/s", peer="other", load=3.25)
    assert row["ratio"] == 2 and row["ratio_of_best"] == 3 and row["verdict"] == "met" and row["load"] == 3.25
    bars.show([row, bars.not_measured("signing", "no program")])
    titles, shown, missing = (line.split() for line in capsys.readouterr().out.splitlines())
    assert titles.index("rounds") and shown[-5:] == ["3", "3.2", ">=", "1.5", "met"]
    assert missing == ["signing", "not", "measured:", "no", "program"]
