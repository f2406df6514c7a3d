"""Recurrent layers on tile programs: loops over steps, whatever their number."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import compare


class Recurrent(nn.Module):
    """A layer's sequence and its last states."""

    def __init__(self, kind, **options):
        super().__init__()
        self.layer = getattr(nn, kind)(12, 20, **options)

    def forward(self, x, *states):
        y, last = self.layer(x, states if len(states) > 1 else states[0] if states else None)
        return (y, *last) if isinstance(last, tuple) else (y, last)


def compiled(sconce, folder, module, args, dynamic_shapes=None):
    torch.export.save(torch.export.export(module, args, dynamic_shapes=dynamic_shapes), folder / "layer.pt2")
    compare.run_cli(sconce, "compile", folder / "layer.pt2", "-o", folder / "layer.pte")
    return folder / "layer.pte"


def answers(sconce, folder, pte, args, threads=1):
    save_file({f"input.{i}": x.contiguous() for i, x in enumerate(args)}, folder / "in.safetensors")
    compare.run_cli(sconce, "run", pte, "--inputs", folder / "in.safetensors", "--outputs", folder / "out.safetensors",
                    "--threads", threads)
    return list(load_file(folder / "out.safetensors").values())


def is_one_call(sconce, pte):
    """No plain kernel of a recurrent layer; those that make states of zeros may be there."""
    text = compare.run_cli(sconce, "inspect", pte, "--instructions")
    return text.count("delegate SconceBackend") == 1 and "rnn::" not in text and "sconce::" not in text


KINDS = [("LSTM", {}), ("LSTM", {"bidirectional": True, "num_layers": 2, "batch_first": True}),
         ("LSTM", {"proj_size": 7, "bidirectional": True}), ("GRU", {"bidirectional": True, "num_layers": 2}),
         ("GRU", {"bias": False, "batch_first": True}), ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
         ("RNN", {"bidirectional": True})]


# Exporting fixes the number of steps; sizes of both that a call tells are for backend_test.cc.
@pytest.mark.parametrize("kind, options", KINDS)
def test_batches_that_only_a_call_tells(kind, options, sconce, tmp_path, monkeypatch):
    torch.manual_seed(1)
    module = Recurrent(kind, **options).eval()
    first = options.get("batch_first", False)

    def make(batch):
        return (torch.randn((batch, 9, 12) if first else (9, batch, 12)),)

    batch = torch.export.Dim("batch", min=1, max=40)
    pte = compiled(sconce, tmp_path, module, make(3), ({0 if first else 1: batch},))
    assert is_one_call(sconce, pte)
    for b in (3, 1, 40):
        args = make(b)
        with torch.no_grad():
            wanted = module(*args)
        found = answers(sconce, tmp_path, pte, args)
        assert [x.shape for x in found] == [x.shape for x in wanted]
        for x, y in zip(found, wanted):
            assert (x - y).abs().max() < 1e-5
    bits = {b"".join(x.numpy().tobytes() for x in found)}
    for isa, threads in (("avx2", 1), ("avx512", 3), ("neon", 3)):
        monkeypatch.setenv("SCONCE_ISA", isa)
        try:
            bits.add(b"".join(x.numpy().tobytes() for x in answers(sconce, tmp_path, pte, args, threads)))
        except compare.Wrong as wrong:
            assert " cannot run " in str(wrong), wrong
    assert len(bits) == 1


def test_the_file_does_not_grow_with_the_steps(sconce, tmp_path):
    sizes = []
    for steps in (3, 60):
        pte = compiled(sconce, tmp_path, Recurrent("LSTM").eval(), (torch.randn(steps, 1, 12),))
        sizes.append(pte.stat().st_size)
        assert is_one_call(sconce, pte)
    assert abs(sizes[1] - sizes[0]) < 512


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_floats_of_16_bits_are_computed_in_f32(dtype, sconce, tmp_path):
    torch.manual_seed(2)
    module = Recurrent("LSTM", bidirectional=True).eval()
    args = (torch.randn(30, 2, 12), torch.randn(2, 2, 20), torch.randn(2, 2, 20))
    halves = tuple(x.to(dtype) for x in args)
    rounded = Recurrent("LSTM", bidirectional=True).eval()
    rounded.load_state_dict({k: v.to(dtype).float() for k, v in module.state_dict().items()})
    with torch.no_grad():
        wanted = rounded(*(x.float() for x in halves))
    pte = compiled(sconce, tmp_path, module.to(dtype), halves)
    # What is added up when the model is compiled, biases, is rounded.
    unit = 2.0 ** (-10 if dtype == torch.float16 else -7)
    for x, y in zip(answers(sconce, tmp_path, pte, halves), wanted):
        assert x.dtype == dtype and (x.float() - y).abs().max() < 2 * unit


def test_states_that_are_carried_from_call_to_call(sconce, tmp_path):
    torch.manual_seed(3)
    module = Recurrent("LSTM").eval()
    states = (torch.zeros(1, 1, 20), torch.zeros(1, 1, 20))
    x = torch.randn(12, 1, 12)
    pte = compiled(sconce, tmp_path, module, (x[:4], *states))
    with torch.no_grad():
        wanted = module(x, *states)
    parts = []
    for part in x.split(4):
        y, *states = answers(sconce, tmp_path, pte, (part, *states))
        parts.append(y)
    for found, right in zip((torch.cat(parts), *states), wanted):
        assert (found - right).abs().max() < 1e-5
