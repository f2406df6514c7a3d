"""What the Python tests share: the CLI under test, the exported models, stock's runtime."""

import fcntl
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

import compare
import export_models
from oracle import Oracle

MODELS = pathlib.Path(os.environ.get("SCONCE_MODELS", ROOT / "build" / "models"))


@pytest.fixture(scope="session")
def sconce() -> pathlib.Path:
    path = compare.find_sconce()
    if path is None:
        pytest.skip("no sconce: build it, or name it in SCONCE_CLI")
    return path


@pytest.fixture(scope="session")
def bench(sconce, tmp_path_factory):
    made = compare.Bench(MODELS, tmp_path_factory.mktemp("compare"), sconce)
    yield made
    made.oracle.close()


@pytest.fixture(scope="module")
def oracle():
    """Stock's runtime in a process of its own."""
    made = Oracle()
    yield made
    made.close()


@pytest.fixture(scope="session")
def exported():
    """Exports a model when its files are not there or not of this code; skips without weights."""

    def make(name: str) -> str:
        MODELS.mkdir(parents=True, exist_ok=True)
        with open(MODELS / f".{name}.lock", "w") as lock:  # several test programs share the folder
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                export_models.export(name, MODELS)
            except export_models.catalog.Unavailable as reason:
                pytest.skip(str(reason))
        return name

    return make
