"""Silero VAD (16 kHz) as plain PyTorch: how likely is speech in each 32 ms of a recording?

Our own definition of the network whose weights the PyPI package silero-vad 6.2.3 carries (MIT, see
README.md). The network: a short-time Fourier transform written as a convolution, four
convolutions, an LSTM over the frames, one output unit.

`SileroVad` takes a whole clip of any length in one call, `SileroVadLstm` one of a fixed length;
`SileroVadStream` takes one frame of 512 samples a call and keeps what it must remember in buffers.
"""

import pathlib

import torch
from torch import nn
from torch._higher_order_ops import scan
from torch.nn import functional as F

FRAME = 512  # samples in a frame: 32 ms at 16 kHz
CONTEXT = 64  # samples of the frame before it that each frame sees
FRAMES_MAX = 640  # 20.48 s
BINS = 129
WIDTH = 128


def split_frames(audio: torch.Tensor) -> torch.Tensor:
    """[1, 512 * frames] to [frames, 64 + 512]: each frame behind the end of the one before it."""
    frames = audio.reshape(-1, FRAME)
    context = F.pad(frames[:-1, -CONTEXT:], (0, 0, 1, 0))
    return torch.cat([context, frames], dim=1)


class Encoder(nn.Module):
    """[frames, 64 + 512] samples to [frames, 128] features."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = nn.Conv1d(1, 2 * BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, WIDTH, 3, padding=1)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        spectrum = self.stft(F.pad(samples, (0, 64), "reflect").unsqueeze(1))
        real, imaginary = spectrum.split(BINS, dim=1)
        x = torch.sqrt(real * real + imaginary * imaginary)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        return x.squeeze(-1)


class Recurrence(nn.LSTMCell):
    """An LSTM cell with its arithmetic written out, so that it can stand in a scanned function."""

    def forward(self, x, hidden, memory):
        gates = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(
            hidden, self.weight_hh, self.bias_hh
        )
        enter, forget, fresh, leave = gates.chunk(4, dim=1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(fresh)
        return torch.sigmoid(leave) * torch.tanh(memory), memory


class SileroVad(nn.Module):
    """[1, 512 * frames] samples in -1..1 to [1, frames] speech probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.cell = Recurrence(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        features = self.encoder(split_frames(audio)).unsqueeze(1)

        def step(carry, x):
            hidden, memory = self.cell(x, *carry)
            return (hidden, memory), hidden.clone()

        # A scan, because nn.LSTM exported for any length keeps the length it was traced with.
        start = torch.zeros(1, WIDTH)
        _, hidden = scan(step, (start, start.clone()), features)
        return torch.sigmoid(self.head(hidden.squeeze(1).relu())).transpose(0, 1)


class SileroVadLstm(nn.Module):
    """The same through nn.LSTM, for clips of one length."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.lstm = nn.LSTM(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.encoder(split_frames(audio)))
        return torch.sigmoid(self.head(hidden.relu())).transpose(0, 1)


class SileroVadStream(nn.Module):
    """[1, 512] samples to [1, 1]: the probability for this frame, given the frames before it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.cell = nn.LSTMCell(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 1)
        self.register_buffer("context", torch.zeros(1, CONTEXT))
        self.register_buffer("hidden", torch.zeros(1, WIDTH))
        self.register_buffer("memory", torch.zeros(1, WIDTH))

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        features = self.encoder(torch.cat([self.context, frame], dim=1))
        hidden, memory = self.cell(features, (self.hidden, self.memory))
        self.context.copy_(frame[:, -CONTEXT:])
        self.hidden.copy_(hidden)
        self.memory.copy_(memory)
        return torch.sigmoid(self.head(hidden.relu()))


def load(weights: pathlib.Path, kind: type[nn.Module] = SileroVad) -> nn.Module:
    """`weights` is data/silero_vad.jit of the package: its default model."""
    state = torch.jit.load(weights, map_location="cpu")._model.state_dict()
    model = kind().eval()
    with torch.no_grad():
        model.encoder.stft.weight.copy_(state["stft.forward_basis_buffer"])
        for i, name in enumerate(("conv1", "conv2", "conv3", "conv4")):
            for part in ("weight", "bias"):
                value = state[f"encoder.{i}.reparam_conv.{part}"]
                getattr(getattr(model.encoder, name), part).copy_(value)
        model.head.weight.copy_(state["decoder.decoder.2.weight"].squeeze(-1))
        model.head.bias.copy_(state["decoder.decoder.2.bias"])
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            value = state[f"decoder.rnn.{part}"]
            if kind is SileroVadLstm:
                getattr(model.lstm, f"{part}_l0").copy_(value)
            else:
                getattr(model.cell, part).copy_(value)
    return model


def dynamic_shapes() -> tuple:
    """Any whole number of frames from 2 to 20 s."""
    return ({1: FRAME * torch.export.Dim("frames", min=2, max=FRAMES_MAX)},)
