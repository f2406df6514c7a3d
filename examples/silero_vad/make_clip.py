"""Makes speech.wav: two read sentences with a loud noise that is not speech between them.

    python examples/silero_vad/make_clip.py [folder with the recordings]

The sentences are two recordings of LibriVox (public domain) that Debian's pocketsphinx-testdata
carries; the whirr and the room noise are computed here.
"""

import pathlib
import sys
import wave

import numpy as np

RATE = 16000
FOLDER = "/usr/share/pocketsphinx/test/data/librivox"
SENTENCES = ("0880", "0930")


def read_wav(path: pathlib.Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE and file.getnchannels() == 1
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


def whirr(seconds: float, random: np.random.Generator) -> np.ndarray:
    """A machine that speeds up: a tone with harmonics, and hiss; as loud as the speech."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(350 + 500 * t / seconds) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    fade = np.minimum(1, np.minimum(t, t[::-1]) / 0.2)
    return fade * (0.06 * buzz + 0.05 * random.standard_normal(len(t)))


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
    first, second = (read_wav(folder / f"sense_and_sensibility_01_austen_64kb-{n}.wav")
                     for n in SENTENCES)
    random = np.random.default_rng(1)
    clip = np.concatenate([np.zeros(RATE * 8 // 10), first, whirr(1.5, random), second,
                           np.zeros(RATE * 4 // 10)])
    clip = clip + 0.001 * random.standard_normal(len(clip))
    with wave.open(str(pathlib.Path(__file__).with_name("speech.wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(clip, -1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
