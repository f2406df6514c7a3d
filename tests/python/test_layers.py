"""The arrows between layers: every #include under src/ follows the table in src/README.md."""

import pathlib
import re

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"


def allowed_layers():
    rows = {}
    for line in (SRC / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and re.fullmatch(r"[a-z]+", cells[1]) and cells[1] != "layer":
            rows[cells[1]] = set(cells[3].split()) | {cells[1]}
    return rows


def includes():
    for path in sorted(SRC.rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        layer = path.relative_to(SRC).parts[0]
        if layer == path.name:  # compile.cc: the story, above all layers
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'#include "([a-z0-9_]+)/', line)
            if found:
                yield path.relative_to(SRC), number, layer, found.group(1)


def test_every_include_follows_an_arrow():
    allowed = allowed_layers()
    assert len(allowed) > 8, "the table in src/README.md was not found"
    wrong = []
    for path, number, layer, included in includes():
        assert layer in allowed, f"src/{path}: layer {layer} has no row in src/README.md"
        if included == "sconce" and layer in ("runtime", "formats", "targets", "tile"):
            continue  # their public headers
        if included not in allowed[layer] and not str(path).endswith("_test.cc"):
            wrong.append(f"src/{path}:{number}: {layer} may not include {included}")
    assert not wrong, "\n".join(wrong)


def test_folders_and_table_agree():
    folders = {p.name for p in SRC.iterdir() if p.is_dir() and any(p.rglob("*.h"))}
    missing = folders - set(allowed_layers())
    assert not missing, f"no row in src/README.md for {sorted(missing)}"
