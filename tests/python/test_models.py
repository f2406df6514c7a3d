"""Every test model, compiled by sconce, gives torch's answer on our runtime and on stock's."""

import pytest
import torch
from safetensors.numpy import load_file

import compare
import export_models


@pytest.mark.parametrize("name", export_models.GROUPS["all"])
def test_gives_torchs_answer_here_and_on_stock(name, bench, exported):
    row = bench.row(exported(name))
    assert not row.problems, "\n".join(row.problems)


@pytest.mark.parametrize("name", export_models.GROUPS["all"])
def test_gives_torchs_answer_on_tile_programs(name, bench, exported):
    bench.on_ours(exported(name), bench.compile(name, "cpu"), threads=2)


@pytest.mark.parametrize("name", ["activations", "attention", "attention_by_hand", "channels_last", "cond",
                                  "conv_bn_relu", "conv_kinds", "dynamic_sequence", "kv_cache", "lstm",
                                  "upsample", "mobilenet_v2", "deit_tiny", "minilm"])
def test_gives_torchs_answer_through_xnnpack(name, bench, exported):
    pte = bench.compile(exported(name), "xnnpack")
    bench.on_ours(name, pte)
    bench.on_stock(name, pte)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "deit_tiny", "minilm"])
def test_tile_programs_give_the_same_bits_on_every_set_and_thread_count(name, bench, exported,
                                                                        monkeypatch, sconce):
    pte = bench.compile(exported(name), "cpu")
    answers = {}
    for isa in ("avx2", "avx512", "avx512_vnni", "neon"):
        for threads in (1, 3):
            monkeypatch.setenv("SCONCE_ISA", isa)
            try:
                bench.on_ours(name, pte, threads)
            except compare.Wrong as wrong:
                assert " cannot run " in str(wrong), wrong
                print(f"[SKIP] {isa}: not on this processor")
                break
            answers[isa, threads] = (bench.work / f"{name}.ours.0.safetensors").read_bytes()
    assert len(set(answers.values())) <= 1, "results differ: " + ", ".join(map(str, answers))


@pytest.mark.parametrize("name", ["dynamic_batch", "dynamic_sequence", "dynamic_encoder", "dynamic_pictures"])
def test_dynamic_tile_programs_give_the_bits_of_fixed_ones(name, bench, exported, sconce, tmp_path):
    pte = bench.compile(exported(name), "cpu")
    assert compare.run_cli(sconce, "inspect", pte).count("delegate SconceBackend") == 1
    bench.on_ours(name, pte, threads=2)
    case = export_models.built(name)
    for k, (args, kwargs) in enumerate([(case.args, case.kwargs), *case.calls]):
        torch.export.save(torch.export.export(case.module, args, kwargs), tmp_path / "fixed.pt2")
        compare.run_cli(sconce, "compile", tmp_path / "fixed.pt2", "-o", tmp_path / "fixed.pte")
        compare.run_cli(sconce, "run", tmp_path / "fixed.pte", "--inputs", bench.file(name, "inputs", k),
                        "--outputs", tmp_path / "fixed.safetensors")
        found = load_file(bench.work / f"{name}.ours.{k}.safetensors")
        for output, wanted in load_file(tmp_path / "fixed.safetensors").items():
            assert found[output].tobytes() == wanted.tobytes(), f"call {k}, {output}"


@pytest.mark.parametrize("name", ["linear", "dynamic_batch", "cond", "kv_cache"])
def test_same_input_gives_the_same_bytes(name, bench, exported):
    first = bench.compile(exported(name)).read_bytes()
    assert bench.compile(name).read_bytes() == first


def test_tied_weights_are_stored_once(bench, exported):
    pte = bench.compile(exported("tied_weights"))
    table_bytes = 30 * 8 * 4
    assert pte.stat().st_size < 2 * table_bytes + 1000
