"""Caches of keys and values as f32 and as int8: what they take, how long a token takes, what it costs.

    python tests/models/kv_caches.py                       2048 and 8192 positions, one thread
    python tests/models/kv_caches.py --stock               beside stock ExecuTorch (its XNNPACK flow, llama::custom_sdpa)

The model is a decoder of llama's kind with grouped queries and random weights (decoders.py). State is the
bytes of the caches; times are the least of a token's, taken in turns; accuracy is that of the logits of
`--tokens` tokens against torch, whose caches are f32: one run of random tokens, one of a short pattern again
and again.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import torch
from safetensors.torch import load_file, save_file

import compare
import decoders


def sizes_for(positions: int) -> decoders.Sizes:
    return decoders.Sizes(vocabulary=1024, width=512, hidden=1376, layers=4, heads=8, shared=2, features=64,
                          positions=positions)


def save_inputs(path: pathlib.Path, token: int, position: int) -> None:
    save_file({"input.0": torch.tensor([[token]]), "input.1": torch.tensor([position])}, path)


def made(sconce: pathlib.Path, folder: pathlib.Path, way: str, positions: int) -> dict[str, pathlib.Path]:
    exported = torch.export.export(decoders.decoder(way, sizes_for(positions)),
                                   (torch.zeros(1, 1, dtype=torch.long), torch.tensor([3])), strict=False)
    torch.export.save(exported, folder / "model.pt2")
    files = {"f32": folder / f"{positions}.f32.pte", "int8": folder / f"{positions}.int8.pte"}
    compare.run_cli(sconce, "compile", folder / "model.pt2", "-o", files["f32"], "--target", "cpu")
    compare.run_cli(sconce, "quantize", folder / "model.pt2", "-o", files["int8"], "--target", "cpu", "--scheme",
                    "float", "--kv-cache", "int8")
    return files


def state_bytes(kind: str, s: decoders.Sizes) -> int:
    row = 4 * s.features if kind == "f32" else s.features + 4
    return 2 * s.layers * s.shared * s.positions * row


def token_ms(sconce: pathlib.Path, pte: pathlib.Path, inputs: pathlib.Path, threads: int, runs: int) -> float:
    done = subprocess.run([str(sconce), "bench", str(pte), "--as-is", "--inputs", str(inputs), "--threads",
                           str(threads), "--runs", str(runs), "--warmup", "2", "--json"],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["min_ms"]


def stock_ms(positions: int, runs: int) -> float:
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from executorch.runtime import Runtime

    example = (torch.zeros(1, 1, dtype=torch.long), torch.tensor([3]))
    exported = torch.export.export(decoders.decoder("custom", sizes_for(positions)), example, strict=True)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()],
                                          compile_config=EdgeCompileConfig(_check_ir_validity=False))
    method = Runtime.get().load_program(lowered.to_executorch().buffer).load_method("forward")
    call = (torch.tensor([[7]]), torch.tensor([positions - 1]))
    least = float("inf")
    for _ in range(runs + 2):
        start = time.perf_counter()
        method.execute(call)
        least = min(least, time.perf_counter() - start)
    return least * 1e3


def accuracy(sconce: pathlib.Path, folder: pathlib.Path, pte: pathlib.Path, way: str, s: decoders.Sizes,
             tokens: list[int]) -> tuple[float, float]:
    """The least cosine of a token's logits to torch's, and the share of tokens with the same best one."""
    model = decoders.decoder(way, s)
    arguments = []
    for position, token in enumerate(tokens):
        save_inputs(folder / f"in.{position}", token, position)
        arguments += ["--method", "forward", "--inputs", folder / f"in.{position}", "--outputs",
                      folder / f"out.{position}"]
    compare.run_cli(sconce, "run", pte, "--as-is", *arguments)
    least, same = 1.0, 0
    for position, token in enumerate(tokens):
        with torch.no_grad():
            wanted = model(torch.tensor([[token]]), torch.tensor([position])).flatten().double()
        got = load_file(folder / f"out.{position}")["output.0"].flatten().double()
        least = min(least, float(torch.nn.functional.cosine_similarity(got, wanted, dim=0)))
        same += int(got.argmax() == wanted.argmax())
    return least, same / len(tokens)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--positions", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--way", default="index_copy", choices=decoders.WAYS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--sconce")
    options = parser.parse_args()
    sconce = compare.find_sconce(options.sconce)
    with tempfile.TemporaryDirectory(prefix="sconce-kv-") as work:
        folder = pathlib.Path(work)
        print(f"{'positions':>9}  {'cache':<6}{'state, MB':>10}{'token, ms':>11}")
        for positions in options.positions:
            files = made(sconce, folder, options.way, positions)
            save_inputs(folder / "inputs", 7, positions - 1)
            times: dict[str, list[float]] = {kind: [] for kind in files}
            for _ in range(options.turns):
                for kind, pte in files.items():
                    times[kind].append(token_ms(sconce, pte, folder / "inputs", options.threads, options.runs))
            for kind in files:
                print(f"{positions:>9}  {kind:<6}{state_bytes(kind, sizes_for(positions)) / 1e6:>10.2f}"
                      f"{min(times[kind]):>11.3f}", flush=True)
            if options.stock:
                print(f"{positions:>9}  {'stock':<6}{state_bytes('f32', sizes_for(positions)) / 1e6:>10.2f}"
                      f"{stock_ms(positions, options.runs):>11.3f}", flush=True)
        print(f"{'tokens':<9}  {'cache':<6}{'least cosine':>14}{'same best':>11}")
        s = sizes_for(options.positions[0])
        files = made(sconce, folder, options.way, s.positions)
        torch.manual_seed(5)
        runs = {"random": torch.randint(0, s.vocabulary, (options.tokens,)).tolist(),
                "pattern": [(3, 3, 500, 7)[i % 4] for i in range(options.tokens)]}
        for name, tokens in runs.items():
            for kind, pte in files.items():
                cosine, same = accuracy(sconce, folder, pte, options.way, s, tokens)
                print(f"{name:<9}  {kind:<6}{cosine:>14.6f}{same:>11.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
