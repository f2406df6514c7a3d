"""Every test model, compiled by sconce, gives torch's answer on our runtime and on stock's."""

import pytest

import compare
import export_models


@pytest.mark.parametrize("name", export_models.GROUPS["all"])
def test_gives_torchs_answer_here_and_on_stock(name, bench, exported):
    row = bench.row(exported(name))
    assert not row.problems, "\n".join(row.problems)


@pytest.mark.parametrize("name", ["linear", "dynamic_batch", "cond", "kv_cache"])
def test_same_input_gives_the_same_bytes(name, bench, exported):
    first = bench.compile(exported(name)).read_bytes()
    assert bench.compile(name).read_bytes() == first


def test_tied_weights_are_stored_once(bench, exported):
    pte = bench.compile(exported("tied_weights"))
    table_bytes = 30 * 8 * 4
    assert pte.stat().st_size < 2 * table_bytes + 1000
