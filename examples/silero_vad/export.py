"""Writes silero_vad.pt2: the network of model.py with the weights of PyPI's silero-vad 6.2.3.

    pip install --no-deps silero-vad==6.2.3
    python examples/silero_vad/export.py [-o examples/silero_vad/silero_vad.pt2]

Checks first that our definition gives the package's own TorchScript answers on speech.wav.
"""

import argparse
import importlib.util
import pathlib
import sys
import wave

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import model as vad


def read_frames(path: pathlib.Path) -> torch.Tensor:
    with wave.open(str(path)) as file:
        samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)
    samples = samples.float() / 32768
    return torch.nn.functional.pad(samples, (0, -len(samples) % vad.FRAME))[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=HERE / "silero_vad.pt2")
    options = parser.parse_args()
    package = pathlib.Path(importlib.util.find_spec("silero_vad").origin).parent
    weights = package / "data" / "silero_vad.jit"
    audio = read_frames(HERE / "speech.wav")

    model = vad.load(weights).requires_grad_(False)
    original = torch.jit.load(weights)
    original.reset_states()
    with torch.no_grad():
        ours = model(audio)
        theirs = torch.cat([original(frame, 16000) for frame in audio.split(vad.FRAME, 1)], 1)
    error = float((ours - theirs).abs().max())
    print(f"largest difference from the package's own model over {ours.shape[1]} frames: {error:.1e}")
    if error > 1e-5:
        raise SystemExit("the definition in model.py is not the package's network")

    program = torch.export.export(model, (audio[:, : 64 * vad.FRAME].clone(),),
                                  dynamic_shapes=vad.dynamic_shapes(), strict=False)
    torch.export.save(program, options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
