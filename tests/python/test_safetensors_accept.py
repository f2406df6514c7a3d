"""What is accepted, beside the installed package safetensors, over safetensors_corpus.py."""

import json
import os
import struct
import subprocess

import pytest
import safetensors

import safetensors_corpus

MUTATIONS = int(os.environ.get("SCONCE_MUTATIONS", 3000))

# Where the standard mode refuses what the reference accepts, one of these is why.
STANDARD_REASONS = ("DuplicateName", "wanted '{' of a tensor", "dtype as a string")


@pytest.fixture(scope="module")
def verdicts(sconce, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    names = {}
    for number, (name, data) in enumerate([*safetensors_corpus.crafted(), *safetensors_corpus.mutated(MUTATIONS)]):
        path = folder / f"{number}.safetensors"
        path.write_bytes(data)
        names[str(path)] = name
    reference = {}
    for path in names:
        try:
            with safetensors.safe_open(path, "np") as f:
                reference[path] = {name: (f.get_slice(name).get_dtype(), f.get_slice(name).get_shape())
                                   for name in f.keys()}
        except safetensors.SafetensorError:
            reference[path] = None
    ours = {}
    for mode in ("strict", "standard", "reference"):
        ours[mode] = {}
        paths = list(names)
        for at in range(0, len(paths), 500):
            done = subprocess.run([sconce, "tensors", "check", "--json", "--accept", mode, *paths[at:at + 500]],
                                  capture_output=True, text=True)
            for row in json.loads(done.stdout):
                ours[mode][row["file"]] = row
    return names, reference, ours


def test_the_reference_mode_accepts_exactly_what_the_reference_does(verdicts):
    names, reference, ours = verdicts
    wrong = [f"{names[path]}: reference {'accepts' if reference[path] is not None else 'refuses'}, here {row}"
             for path, row in ours["reference"].items() if row["ok"] != (reference[path] is not None)]
    accepted = sum(value is not None for value in reference.values())
    print(f"{len(names)} files, {accepted} accepted by the reference")
    assert len(names) - MUTATIONS >= 200
    assert not wrong, "\n".join(wrong[:20])


def test_accepted_files_hold_the_same_tensors(verdicts, sconce):
    names, reference, _ = verdicts
    compared = 0
    for path, tensors in reference.items():
        if tensors is None or names[path].startswith("mutation") and compared > 200:
            continue
        done = subprocess.run([sconce, "tensors", "ls", "--json", "--accept", "reference", path],
                              capture_output=True, text=True)
        found = {row["name"]: (row["dtype"], row["shape"]) for row in json.loads(done.stdout)["tensors"]}
        assert found == {name: (dtype, list(shape)) for name, (dtype, shape) in tensors.items()}, names[path]
        compared += 1
    assert compared > 50


def test_each_mode_accepts_a_part_of_the_next_and_says_why_not(verdicts):
    names, reference, ours = verdicts
    for path in names:
        strict, standard, loose = (ours[mode][path] for mode in ("strict", "standard", "reference"))
        assert (not strict["ok"] or standard["ok"]) and (not standard["ok"] or loose["ok"]), names[path]
        if loose["ok"] and not standard["ok"]:
            assert any(reason in standard["error"] for reason in STANDARD_REASONS), (names[path], standard["error"])
        for row in (strict, standard, loose):
            if not row["ok"]:
                assert row["code"] == 4 and row["error"].startswith(f"{path}: "), row
                assert row["error"][len(path) + 2:].split(":")[0].isalnum(), row
    assert any(ours["reference"][p]["ok"] and not ours["standard"][p]["ok"] for p in names)


def test_a_header_of_the_limit_is_read_and_one_past_it_is_not(sconce, tmp_path):
    for length, ok in [(100_000_000, True), (100_000_001, False)]:
        path = tmp_path / "a.safetensors"
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", length) + b"{}" + b" " * (length - 2))
        done = subprocess.run([sconce, "tensors", "check", path], capture_output=True, text=True)
        assert (done.returncode == 0) == ok, done.stdout
