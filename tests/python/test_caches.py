"""Decoders with caches of keys and values: every way to write them decodes as torch does, in one call of the
tile engine that changes the caches where they lie; caches of int8 stay close, and small."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import compare
import decoders

TOKENS = 12
SIZES = decoders.Sizes()


def calls(model, count=TOKENS):
    """Tokens in order, and the logits that torch gives for each."""
    torch.manual_seed(1)
    for position in range(count):
        inputs = (torch.randint(0, SIZES.vocabulary, (1, 1)), torch.tensor([position]))
        with torch.no_grad():
            yield inputs, model(*inputs).float()


@pytest.fixture(scope="module")
def made_of(tmp_path_factory):
    """A folder for a way: model.pt2, in.N, and expected.N; made once."""
    folders = {}

    def make(way):
        if way in folders:
            return folders[way]
        folder = tmp_path_factory.mktemp(way)
        try:
            exported = torch.export.export(decoders.decoder(way, SIZES),
                                           (torch.zeros(1, 1, dtype=torch.long), torch.tensor([3])), strict=False)
        except ImportError as problem:
            pytest.skip(str(problem))
        torch.export.save(exported, folder / "model.pt2")
        for number, (inputs, logits) in enumerate(calls(decoders.decoder(way, SIZES))):
            save_file({f"input.{i}": x for i, x in enumerate(inputs)}, folder / f"in.{number}")
            save_file({"output.0": logits.contiguous()}, folder / f"expected.{number}")
        folders[way] = folder
        return folder

    return make


def decode(sconce, folder, pte, *how, **environment):
    """The logits of all tokens, one call each on one loaded file."""
    arguments = []
    for number in range(TOKENS):
        arguments += ["--method", "forward", "--inputs", folder / f"in.{number}", "--outputs", folder / f"got.{number}"]
    subprocess.run([str(x) for x in (sconce, "run", pte, "--as-is", *arguments, *how)], check=True,
                   capture_output=True, env={**os.environ, **environment}, timeout=300)
    return torch.stack([load_file(folder / f"got.{number}")["output.0"] for number in range(TOKENS)])


def expected(folder):
    return torch.stack([load_file(folder / f"expected.{number}")["output.0"] for number in range(TOKENS)])


def compiled(sconce, folder, target):
    pte = folder / f"{target}.pte"
    compare.run_cli(sconce, "compile", folder / "model.pt2", "-o", pte, "--target", target)
    return pte


def quantized(sconce, folder, target, *options):
    pte = folder / f"{target}.int8.pte"
    said = compare.run_cli(sconce, "quantize", folder / "model.pt2", "-o", pte, "--target", target, "--scheme", "float",
                           "--kv-cache", "int8", "--json", *options)
    return pte, json.loads(said)


@pytest.mark.parametrize("way", decoders.WAYS)
def test_decodes_as_torch_does(way, sconce, made_of):
    folder = made_of(way)
    for target in ("cpu", "portable"):
        got = decode(sconce, folder, compiled(sconce, folder, target))
        assert torch.allclose(got, expected(folder), atol=1e-4, rtol=1e-4), target


@pytest.mark.parametrize("way", decoders.WAYS)
def test_one_call_changes_the_caches_where_they_lie(way, sconce, made_of):
    folder = made_of(way)
    said = compare.run_cli(sconce, "inspect", compiled(sconce, folder, "cpu"), "--instructions")
    assert said.count("delegate SconceBackend") == 1, said
    for node in ("aten::index", "aten::slice", "aten::narrow", "llama::", "sconce::"):
        assert node not in said, said
    # transformers counts positions in buffers of its own.
    copies = [line for line in said.splitlines() if "aten::copy" in line and "(" in line]
    assert all("i64[]" in line for line in copies), copies


@pytest.mark.parametrize("way", decoders.WAYS)
def test_caches_of_int8_decode_alike(way, sconce, made_of):
    folder = made_of(way)
    wanted = expected(folder)
    answers = []
    for target in ("cpu", "portable"):
        pte, report = quantized(sconce, folder, target)
        rows = SIZES.features
        assert len(report["caches"]) == 2 * SIZES.layers
        for cache in report["caches"]:
            assert cache["why_float"] == ""
            assert cache["bytes_before"] == 4 * rows * SIZES.shared * SIZES.positions
            assert cache["bytes_after"] == (4 + rows) * SIZES.shared * SIZES.positions
        answers.append(decode(sconce, folder, pte))
        cosine = torch.nn.functional.cosine_similarity(answers[-1].flatten(1), wanted.flatten(1))
        assert cosine.min() > 0.9995, (target, cosine)
        assert not torch.equal(answers[-1], wanted)
    assert torch.allclose(*answers, atol=2e-2)


def test_results_are_the_same_on_every_processor_and_number_of_threads(sconce, made_of):
    folder = made_of("index_copy")
    pte, _ = quantized(sconce, folder, "cpu")
    first = decode(sconce, folder, pte, "--threads", "1")
    assert torch.equal(first, decode(sconce, folder, pte, "--threads", "3"))
    for isa in ("avx2", "avx512", "plain"):
        try:
            got = decode(sconce, folder, pte, SCONCE_ISA=isa)
        except subprocess.CalledProcessError as problem:
            assert b"does not have" in problem.stderr or b"cannot" in problem.stderr, problem.stderr
            continue
        assert torch.equal(first, got), isa


def test_positions_outside_a_cache_are_errors(sconce, made_of):
    folder = made_of("index_copy")
    pte = compiled(sconce, folder, "cpu")
    for position in (SIZES.positions, -1, 2**40):
        save_file({"input.0": torch.zeros(1, 1, dtype=torch.long), "input.1": torch.tensor([position])},
                  folder / "outside")
        with pytest.raises(compare.Wrong, match=f"index {position} into dimension"):
            compare.run_cli(sconce, "run", pte, "--as-is", "--inputs", folder / "outside", "--outputs",
                            folder / "none")


def test_a_model_without_caches_says_what_was_looked_for(sconce, tmp_path):
    model = torch.nn.Linear(4, 4).eval().requires_grad_(False)
    torch.export.save(torch.export.export(model, (torch.randn(1, 4),)), tmp_path / "model.pt2")
    with pytest.raises(compare.Wrong, match="no buffer that a call writes by position"):
        quantized(sconce, tmp_path, "cpu")
    assert not (tmp_path / "cpu.int8.pte").exists()
    with pytest.raises(compare.Wrong, match="float or int8 is wanted"):
        compare.run_cli(sconce, "quantize", tmp_path / "model.pt2", "-o", tmp_path / "out.pte", "--kv-cache", "int4")
