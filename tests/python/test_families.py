"""Small models of many transformers families, compiled by sconce, give torch's answer here, as plain
instructions and as tile programs, and on stock."""

import pytest

import export_models


@pytest.mark.parametrize("name", export_models.GROUPS["families"])
def test_gives_torchs_answer_here_and_on_stock(name, bench, exported):
    row = bench.row(exported(name))
    assert not row.problems, "\n".join(row.problems)
    bench.on_ours(name, bench.compile(name, "cpu"))
