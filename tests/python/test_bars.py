"""What the README promises of the compiler, on the release build: time, memory, file size, arena."""

import os
import pathlib
import tempfile

import pytest

import arena
import catalog
import compare
import compile_time
import conftest

RELEASE = pathlib.Path(
    os.environ.get("SCONCE_RELEASE_CLI", compare.ROOT / "build" / "release" / "sconce"))


@pytest.mark.parametrize("target", ["portable", "cpu"])
@pytest.mark.parametrize("name", catalog.BARS)
def test_compiles_in_time_and_memory(name, target, exported, tmp_path):
    if not RELEASE.is_file():
        pytest.skip(f"no release build at {RELEASE}: cmake --workflow --preset release")
    pt2 = conftest.MODELS / f"{exported(name)}.pt2"
    pte = compile_time.output_folder(tmp_path) / f"sconce-bar-{os.getpid()}.pte"
    try:
        figure = compile_time.measure(RELEASE, pt2, pte, repeat=3, target=target)
    finally:
        pte.unlink(missing_ok=True)
    print(figure)
    assert not figure.problems()


@pytest.mark.parametrize("name", catalog.BARS)
def test_arena_is_never_above_stocks(name, exported, bench):
    ours, stock = arena.measure(bench, exported(name)), arena.read_table()[name]
    print(f"{name}: {ours} bytes, stock {stock}")
    assert ours <= stock
