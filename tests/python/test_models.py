"""Every test model, compiled by sconce, gives torch's answer on our runtime and on stock's."""

import pytest

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


@pytest.mark.parametrize("name", ["linear", "dynamic_batch", "cond", "kv_cache"])
def test_same_input_gives_the_same_bytes(name, bench, exported):
    first = bench.compile(exported(name)).read_bytes()
    assert bench.compile(name).read_bytes() == first


def test_tied_weights_are_stored_once(bench, exported):
    pte = bench.compile(exported("tied_weights"))
    table_bytes = 30 * 8 * 4
    assert pte.stat().st_size < 2 * table_bytes + 1000
