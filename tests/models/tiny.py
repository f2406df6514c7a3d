"""Small models, one for each thing a torch.export archive can say: name -> case.

Each is the least code that makes torch.export write the feature it is named for, so that a failure
names its cause.
"""

from typing import Callable

import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

from catalog import Case, randomise

MODELS: dict[str, Callable[[], Case]] = {}


def tiny(build: Callable[[], Case]) -> Callable[[], Case]:
    MODELS[build.__name__] = build
    return build


class Function(nn.Module):
    """A module around a function of tensors."""

    def __init__(self, function, **buffers: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, *args):
        return self.function(*args)


# Layers


@tiny
def linear() -> Case:
    return Case(nn.Linear(5, 3), (torch.randn(2, 5),))


@tiny
def mlp() -> Case:
    layers = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 4))
    return Case(randomise(layers), (torch.randn(3, 16),))


@tiny
def conv_bn_relu() -> Case:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    return Case(randomise(layers), (torch.randn(1, 3, 8, 8),))


@tiny
def conv_kinds() -> Case:
    """Strides, dilation, groups, transposed and one-dimensional convolutions."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1, stride=2)
            self.dilated = nn.Conv2d(8, 12, 3, dilation=2, padding=2, groups=2)
            self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1)
            self.line = nn.Conv1d(6, 4, 5, padding="same")

        def forward(self, x):
            x = self.up(self.dilated(self.depthwise(x)))
            return self.line(x.mean(2)), F.max_pool2d(x, 2), F.adaptive_avg_pool2d(x, (3, 2))

    return Case(Net(), (torch.randn(2, 8, 9, 11),))


@tiny
def windows() -> Case:
    """Pools with borders, by windows larger than the image too, and groups of channels; between convolutions and not."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(8, 24, 3, padding=1)
            self.groups = nn.GroupNorm(4, 24)
            self.last = nn.Conv2d(24, 8, 1)

        def forward(self, x):
            y = F.silu(self.groups(self.first(x)))
            return (self.last(F.max_pool2d(y, 3, 2, 1)), F.max_pool2d(y, 3, 2, 1), F.avg_pool2d(y, 64, ceil_mode=True),
                    F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), F.max_pool2d(x, (21, 3), 1, (10, 1)),
                    F.avg_pool2d(x, 25, 1, 12, ceil_mode=True), self.groups(y))

    return Case(Net(), (torch.randn(2, 8, 11, 13),))


@tiny
def channels_last() -> Case:
    layers = randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    layers = layers.to(memory_format=torch.channels_last)
    return Case(layers, (torch.randn(1, 3, 6, 7),))


@tiny
def embedding() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 6, padding_idx=0)

        def forward(self, tokens):
            return self.table(tokens).sum(1)

    return Case(Net(), (torch.randint(0, 20, (2, 7)),))


@tiny
def attention() -> Case:
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
    return Case(layer, (torch.randn(2, 5, 16),))


@tiny
def attention_by_hand() -> Case:
    def run(q, k, v):
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v

    return Case(Function(run), tuple(torch.randn(1, 2, 6, 8) for _ in range(3)))


@tiny
def sdpa_causal() -> Case:
    def run(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return Case(Function(run), tuple(torch.randn(1, 2, 6, 8) for _ in range(3)))


@tiny
def rms_norm() -> Case:
    return Case(nn.RMSNorm(12), (torch.randn(3, 12),))


@tiny
def group_norm() -> Case:
    return Case(nn.GroupNorm(2, 6), (torch.randn(2, 6, 4, 5),))


@tiny
def lstm() -> Case:
    return Case(nn.LSTM(6, 5, num_layers=2, bidirectional=True), (torch.randn(4, 2, 6),))


@tiny
def gru() -> Case:
    return Case(nn.GRU(6, 5, batch_first=True), (torch.randn(2, 4, 6),))


@tiny
def lstm_cell() -> Case:
    def rows(n):
        return torch.randn(2, n)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(6, 5)

        def forward(self, x, h, c):
            return self.cell(x, (h, c))

    return Case(Net(), (rows(6), rows(5), rows(5)))


# Shapes


def batches(*sizes: int) -> list:
    return [((torch.randn(n, 6),), {}) for n in sizes]


@tiny
def dynamic_batch() -> Case:
    layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    return Case(layers, (torch.randn(4, 6),), dynamic_shapes=({0: Dim("batch", min=1, max=32)},),
                calls=batches(1, 32, 7))


@tiny
def dynamic_sequence() -> Case:
    """Two dynamic dims with bounds; attention makes one of them appear squared."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    dims = {0: Dim("batch", min=1, max=4), 1: Dim("length", min=2, max=24)}
    return Case(layer, (torch.randn(2, 5, 8),), dynamic_shapes=(dims,),
                calls=[((torch.randn(1, 24, 8),), {}), ((torch.randn(4, 2, 8),), {})])


@tiny
def dynamic_divisible() -> Case:
    def run(x):
        return x.reshape(x.shape[0], -1, 8).mean(-1)

    return Case(Function(run), (torch.randn(2, 24),),
                dynamic_shapes=(({1: 8 * Dim("blocks", min=1, max=16)},),),
                calls=[((torch.randn(2, 8),), {}), ((torch.randn(2, 128),), {})])


@tiny
def dynamic_equal() -> Case:
    def run(a, b):
        return torch.cat([a, b], 1) + a.shape[0]

    n = Dim("n", min=2, max=10)
    return Case(Function(run), (torch.randn(3, 4), torch.randn(3, 2)),
                dynamic_shapes=(({0: n}, {0: n}),),
                calls=[((torch.randn(10, 4), torch.randn(10, 2)), {})])


@tiny
def dynamic_split() -> Case:
    """Parts of a tensor whose other dim is dynamic."""

    def run(x):
        a, b = x.split(3, 1)
        c, d = x.split([2, 4], 1)
        e, f = x.chunk(2, 1)
        rows = x.unbind(1)
        return a - b, c, d, e * f, rows[0] + rows[5]

    return Case(Function(run), (torch.randn(4, 6),),
                dynamic_shapes=(({0: Dim("n", min=1, max=9)},),), calls=batches(1, 9))


@tiny
def dynamic_encoder() -> Case:
    """Words, a mask over them, and attention beyond one step of keys."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(50, 32), nn.Embedding(300, 32)
            self.first, self.second = nn.LayerNorm(32), nn.LayerNorm(32)
            self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
            self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)

        def forward(self, words, mask):
            batch, length = words.shape
            x = self.first(self.words(words) + self.places.weight[:length])
            q, k, v = self.qkv(x).view(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
            seen = torch.where(mask[:, None, None, :], 0.0, -1e9)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, 32))
            x = x + self.narrow(F.gelu(self.wide(self.second(x))))
            return x, x.mean(1), torch.cat([x, x[:, :1]], 1)

    def call(batch, length):
        mask = torch.ones(batch, length, dtype=torch.bool)
        mask[0, -(length // 4) or length:] = False
        return torch.randint(0, 50, (batch, length)), mask

    dims = {0: Dim("batch", min=1, max=3), 1: Dim("length", min=2, max=300)}
    return Case(Encoder(), call(2, 12), dynamic_shapes=(dims, dims),
                calls=[(call(*sizes), {}) for sizes in ((1, 2), (3, 300), (1, 257), (2, 31))])


@tiny
def dynamic_decoder() -> Case:
    """Heads of queries share those of keys, and positions turn them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, use_cache=False)
    model = LlamaForCausalLM(config)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, tokens):
            return self.model(input_ids=tokens, use_cache=False).logits

    def call(length):
        return (torch.randint(0, 60, (1, length)),)

    return Case(Decoder(), call(9), dynamic_shapes=({1: Dim("length", min=2, max=64)},),
                calls=[(call(n), {}) for n in (2, 64, 17)])


@tiny
def dynamic_pictures() -> Case:
    """Any number of pictures of any size, through windows that need not fit."""
    layers = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, stride=2, groups=32), nn.BatchNorm2d(32), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    dims = {0: Dim("batch", min=1, max=4), 2: Dim("height", min=8, max=48), 3: Dim("width", min=8, max=48)}

    def call(*sizes):
        return (torch.randn(sizes[0], 3, *sizes[1:]),)

    return Case(layers, call(2, 32, 32), dynamic_shapes=(dims,),
                calls=[(call(*sizes), {}) for sizes in ((1, 8, 8), (4, 48, 48), (3, 17, 29))])


@tiny
def dynamic_squares() -> Case:
    """Convolutions that are computed by squares of 4 x 4 where pictures are as large as at export, at any size."""
    layers = nn.Sequential(nn.Conv2d(32, 40, 3, padding=1), nn.ReLU(), nn.Conv2d(40, 32, 3))
    dims = {0: Dim("batch", min=1, max=4), 2: Dim("height", min=4, max=48), 3: Dim("width", min=4, max=48)}

    def call(*sizes):
        return (torch.randn(sizes[0], 32, *sizes[1:]),)

    return Case(layers, call(2, 32, 32), dynamic_shapes=(dims,),
                calls=[(call(*sizes), {}) for sizes in ((1, 4, 4), (4, 48, 48), (3, 17, 29))])


@tiny
def size_arithmetic() -> Case:
    def run(x):
        n = x.shape[0] * 2 + 1
        half = (x.shape[0] + 3) // 2
        return x.new_full((n,), 2.0), torch.arange(half), x.sum() * n, n, x[: x.shape[0] - 1]

    return Case(Function(run), (torch.randn(5, 2),),
                dynamic_shapes=(({0: Dim("n", min=3, max=40)},),),
                calls=[((torch.randn(8, 2),), {}), ((torch.randn(40, 2),), {})])


@tiny
def empty_and_scalar() -> Case:
    def run(x, s):
        return torch.cat([x[:0], x]), x[:0].sum(), s * 2, torch.stack([s, s]), x[:0] * s

    return Case(Function(run), (torch.randn(3, 2), torch.tensor(1.5)))


# Control flow


@tiny
def cond() -> Case:
    def run(x):
        return torch.cond(x.sum() > 0, lambda a: a.sin() + 1, lambda a: a.cos() - 1, (x,))

    return Case(Function(run), (torch.ones(3, 4),), calls=[((-torch.ones(3, 4),), {})])


@tiny
def cond_nested() -> Case:
    def positive(x):
        return torch.cond(x.max() > 2, lambda a: (a * 2, a - 1), lambda a: (a / 2, a + 1), (x,))

    def run(x):
        return torch.cond(x.sum() > 0, positive, lambda a: (-a, a.abs()), (x,))

    return Case(Function(run), (torch.ones(3),),
                calls=[((3 * torch.ones(3),), {}), ((-torch.ones(3),), {})])


@tiny
def cond_shape() -> Case:
    """The predicate is about a size, not a tensor."""

    def run(x):
        return torch.cond(x.shape[0] > 4, lambda a: a + 1, lambda a: a - 1, (x,))

    return Case(Function(run), (torch.randn(6, 2),),
                dynamic_shapes=(({0: Dim("n", min=1, max=8)},),),
                calls=[((torch.randn(3, 2),), {})])


@tiny
def while_loop() -> Case:
    from torch._higher_order_ops import while_loop as loop

    def run(count, x):
        return loop(lambda i, _: i < 5, lambda i, a: (i + 1, a * 1.5 + i), (count, x))

    return Case(Function(run), (torch.tensor(0), torch.randn(3)),
                calls=[((torch.tensor(4), torch.randn(3)), {}),
                       ((torch.tensor(9), torch.randn(3)), {})],
                stock_cannot="stock's exporter has no while_loop")


@tiny
def while_loop_weights() -> Case:
    """The body closes over parameters; Newton's steps until the residual is small."""
    from torch._higher_order_ops import while_loop as loop

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            def go_on(i, a):
                return (a.abs().max() > 0.05) & (i < 50)

            def body(i, a):
                return i + 1, 0.5 * torch.tanh(self.layer(a)) * a.abs().max()

            return loop(go_on, body, (torch.tensor(0), x))

    return Case(Net(), (torch.randn(2, 4),), calls=[((torch.randn(2, 4) * 0.01,), {})],
                stock_cannot="stock's exporter has no while_loop")


@tiny
def map_rows() -> Case:
    from functorch.experimental.control_flow import map as map_over

    def run(rows, bias):
        return map_over(lambda row, b: row.softmax(0) + b, rows, bias)

    return Case(Function(run), (torch.randn(4, 5), torch.randn(5)))


@tiny
def scan_sum() -> Case:
    from torch._higher_order_ops import scan

    def run(start, rows):
        return scan(lambda total, row: (total + row, (total * row).clone()), start, rows)

    return Case(Function(run), (torch.zeros(3), torch.randn(5, 3)))


@tiny
def scan_dynamic() -> Case:
    from torch._higher_order_ops import scan

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(7, 4)

        def forward(self, rows):
            def step(h, x):
                h = torch.tanh(self.cell(torch.cat([x, h], -1)))
                return h, h.clone()

            return scan(step, torch.zeros(2, 4), rows)

    return Case(Net(), (torch.randn(5, 2, 3),), dynamic_shapes=({0: Dim("n", min=2, max=20)},),
                calls=[((torch.randn(2, 2, 3),), {}), ((torch.randn(20, 2, 3),), {})])


# State


@tiny
def counter() -> Case:
    """A buffer that starts at a value other than zero and changes with every call."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.tensor([3.0, 5.0]))

        def forward(self, x):
            self.count.add_(x)
            return self.count * 2

    return Case(Net(), (torch.tensor([1.0, 1.0]),),
                calls=[((torch.tensor([0.5, 2.0]),), {}) for _ in range(2)])


@tiny
def kv_cache() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(8, 8)
            self.register_buffer("cache", torch.full((1, 16, 8), 0.25))

        def forward(self, x, position):
            self.cache.index_copy_(1, position, self.project(x))
            mask = torch.arange(16) <= position.max()
            scores = (x @ self.cache.transpose(1, 2)).masked_fill(~mask, float("-inf"))
            return scores.softmax(-1) @ self.cache

    return Case(Net(), (torch.randn(1, 1, 8), torch.tensor([0])),
                calls=[((torch.randn(1, 1, 8), torch.tensor([i])), {}) for i in (1, 2)])


@tiny
def cache_slice() -> Case:
    """A buffer written through a slice at a fixed place, and read before and after."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("history", torch.arange(12.0).reshape(4, 3))

        def forward(self, x):
            before = self.history.sum()
            self.history[:-1] = self.history[1:].clone()
            self.history[-1] = x
            return before, self.history.clone()

    return Case(Net(), (torch.randn(3),), calls=[((torch.randn(3),), {}) for _ in range(2)])


@tiny
def mutated_input() -> Case:
    def run(x, y):
        x.add_(y)
        return x * 2

    return Case(Function(run), (torch.randn(3), torch.randn(3)))


@tiny
def inplace_views() -> Case:
    def run(x):
        x = x.clone()
        x[:, 1:].add_(1)
        x[0].mul_(2)
        x.t()[1:3].copy_(torch.zeros(2, 3))
        x.view(-1)[::5] = 7
        return x

    return Case(Function(run), (torch.randn(3, 4),))


@tiny
def aliased_outputs() -> Case:
    """Outputs that are views of the input, of each other, and of a constant."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(6.0).reshape(2, 3))

        def forward(self, x):
            y = x + 1
            return x, x.t(), y, y[1:], self.table, self.table[0], y

    return Case(Net(), (torch.randn(2, 3),))


# Signatures


@tiny
def tied_weights() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(30, 8)
            self.head = nn.Linear(8, 30, bias=False)
            self.head.weight = self.table.weight

        def forward(self, tokens):
            return self.head(self.table(tokens))

    return Case(Net(), (torch.randint(0, 30, (1, 4)),))


@tiny
def nested_outputs() -> Case:
    def run(x, y):
        return {"sum": x + y, "parts": [x - y, (x * y,)], "none": None}, [x.relu()]

    return Case(Function(run), (torch.randn(2, 3), torch.randn(2, 3)))


@tiny
def nested_inputs() -> Case:
    class Net(nn.Module):
        def forward(self, pair, *, options):
            return pair[0] @ options["w"] + pair[1][0]

    return Case(Net(), ((torch.randn(2, 3), [torch.randn(4)]),),
                {"options": {"w": torch.randn(3, 4)}})


@tiny
def mixed_inputs() -> Case:
    """Inputs that are no tensors: they keep the value seen at export."""

    class Net(nn.Module):
        def forward(self, x, count: int, scale: float, flag: bool, nothing=None):
            y = x * scale + count
            y = y if flag else -y
            return y if nothing is None else y + nothing

    return Case(Net(), (torch.randn(3), 4, 0.5, True, None))


@tiny
def string_input() -> Case:
    class Net(nn.Module):
        def forward(self, x, *, mode: str):
            return x.relu() if mode == "up" else -x

    return Case(Net(), (torch.randn(3),), {"mode": "up"},
                stock_cannot="stock's Python runtime takes no str")


@tiny
def constant_output() -> Case:
    def run(x):
        return x + torch.tensor([1.0, 2.0, 3.0]), 7, torch.tensor(5)

    return Case(Function(run), (torch.randn(3),))


@tiny
def unused_input() -> Case:
    return Case(Function(lambda a, b: a.exp()), (torch.randn(3), torch.randn(2)))


@tiny
def lifted_constants() -> Case:
    table = torch.tensor([[1, 2], [3, 4]])

    def run(x):
        return x * table + torch.tensor(0.5) + torch.tensor([1.0, -1.0])

    return Case(Function(run), (torch.randn(2, 2),))


# Element types


@tiny
def f16() -> Case:
    return Case(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).half(),
                (torch.randn(2, 8).half(),))


@tiny
def bf16() -> Case:
    return Case(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).bfloat16(),
                (torch.randn(2, 8).bfloat16(),))


class Small16(nn.Module):
    """What models of 16 bits are of, with casts of their own."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depth, self.up = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ConvTranspose2d(8, 6, 4, 2, 1)
        self.words, self.rows = nn.Embedding(11, 16), nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)

    def forward(self, image, tokens):
        x = F.gelu(self.depth(F.relu(self.norm(self.conv(image)))))
        y = self.rows(self.words(tokens))
        return self.up(x), y, torch.softmax(y.float(), -1).to(y.dtype), x.mean((2, 3)) > 0.05


@tiny
def network_f16() -> Case:
    return Case(Small16().half().eval(), (torch.randn(2, 3, 6, 7).half(), torch.randint(0, 11, (2, 5))))


@tiny
def weights_of_16_bits() -> Case:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(20, 12).half())

        def forward(self, x):
            return F.linear(x, self.w.float()) - x.half().float().mean()

    return Case(Net(), (torch.randn(3, 12),))


@tiny
def decoder() -> Case:
    """Larger and larger images, of any size."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.ConvTranspose2d(4, 6, 4, 2, 1), nn.ConvTranspose2d(6, 6, 3, 3, 0, 1, groups=2)
            self.c = nn.Conv2d(6, 10, 3, padding=1)

        def forward(self, x):
            y = F.relu(self.c(F.interpolate(self.b(self.a(x)), scale_factor=2)))
            return y, F.interpolate(y, scale_factor=(0.5, 1.5), mode="bilinear"), F.interpolate(x, size=(9, 4))

    height, width = Dim("height", min=2, max=12), Dim("width", min=2, max=12)
    def image(*size):
        return (torch.randn(1, 4, *size),), {}
    return Case(Net(), image(5, 6)[0], dynamic_shapes=({2: height, 3: width},), calls=[image(2, 3), image(12, 7)])


@tiny
def f64() -> Case:
    return Case(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).double(),
                (torch.randn(2, 8).double(),))


@tiny
def integers() -> Case:
    def run(a, b, c):
        return a // b, a * b - c, (a > c).sum(), a & b, a.cumsum(0), (a / b).floor().long()

    return Case(Function(run), (torch.randint(-50, 50, (4, 3)), torch.randint(1, 9, (4, 3)),
                                torch.randint(-9, 9, (3,), dtype=torch.int32)))


@tiny
def integer_remainder() -> Case:
    def run(a, b):
        return a % b, torch.fmod(a, b), a % 3, -a % b

    return Case(Function(run), (torch.randint(-50, 50, (4, 3)), torch.randint(1, 9, (4, 3))),
                stock_cannot="stock's remainder takes the sign of the dividend for integers")


@tiny
def bytes_and_bools() -> Case:
    def run(u, i, m):
        return u + i, u.float() / 255, m & (u > 7), ~m, (u * 3).to(torch.int16), m.any(), i.abs()

    return Case(Function(run), (torch.randint(0, 255, (5,), dtype=torch.uint8),
                                torch.randint(-100, 100, (5,), dtype=torch.int8),
                                torch.tensor([True, False, True, True, False])))


@tiny
def promotion() -> Case:
    def run(i, h, b, f, z):
        return i + h, h * b, b + f, i * 0.5, i + 2, f * z, torch.where(i > 0, h, 1.0), i / i.abs()

    return Case(Function(run), (torch.tensor([1, -2, 3]), torch.randn(3).half(),
                                torch.randn(3).bfloat16(), torch.randn(3),
                                torch.tensor(2.0, dtype=torch.float64)))


@tiny
def not_numbers() -> Case:
    """NaN and infinities through comparisons, reductions and clamps."""

    def run(x):
        return (x.amax(), x.clamp(-1, 1), torch.maximum(x, x.flip(0)), x.isnan(), x == x, x.argmax(),
                x.nan_to_num(0.0, 9.0, -9.0), x.sum())

    return Case(Function(run),
                (torch.tensor([1.0, float("nan"), float("inf"), -float("inf"), -0.0]),))


@tiny
def sign_of_nan() -> Case:
    return Case(Function(torch.sign), (torch.tensor([1.0, float("nan"), -2.0, 0.0]),),
                stock_cannot="stock gives NaN where torch gives 0")


# Indexing


@tiny
def sort() -> Case:
    def run(x):
        values, order = x.sort(dim=1, descending=True)
        return values, order, x.sort(dim=0)[0], x.argsort(stable=True)

    x = torch.randn(3, 6)
    x[1, 2] = float("nan")
    return Case(Function(run), (x,), stock_cannot="stock has no kernel for aten::sort")


@tiny
def indexing() -> Case:
    def run(x, rows, columns, mask):
        y = x.clone()
        y[rows, columns] = -1.0
        return (x[rows], x[:, columns], x[rows, columns], x.gather(1, columns[None].expand(2, -1)),
                y, torch.where(mask, x, x.flip(1)), x[..., ::2], x.index_select(1, columns),
                *x.topk(2, dim=1))

    return Case(Function(run), (torch.randn(4, 5), torch.tensor([0, -1, 2]), torch.tensor([4, 0, 1]),
                                torch.rand(4, 5) > 0.5))


@tiny
def scatter() -> Case:
    def run(x, index, values):
        return (x.scatter(1, index, values), x.scatter_add(1, index, values),
                x.index_add(0, index[:, 0], values @ torch.ones(2, 4)),
                x.index_put((index[:, 0],), values[0, 0]))

    return Case(Function(run), (torch.randn(3, 4), torch.tensor([[0, 3], [1, 2], [2, 0]]),
                                torch.randn(3, 2)))


@tiny
def nonzero_bounded() -> Case:
    """A size that depends on data, with the bound the author states."""

    def run(x):
        found = torch.nonzero(x)
        torch._check(found.shape[0] <= 8)
        return found

    return Case(Function(run), (torch.tensor([0.0, 1.0, 2.0, 0.0, 3.0, 0.0, 0.0, 4.0]),),
                calls=[((torch.zeros(8),), {}), ((torch.ones(8),), {})])


@tiny
def item_branch() -> Case:
    """A number taken out of a tensor and used in arithmetic."""

    def run(x, n):
        k = n.item()
        return x * k + 1

    return Case(Function(run), (torch.randn(3), torch.tensor(4)),
                calls=[((torch.randn(3), torch.tensor(-2)), {})])


@tiny
def upsample() -> Case:
    def run(x):
        return (F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
                F.interpolate(x, size=(3, 7), mode="nearest"), F.pixel_shuffle(x, 2),
                F.interpolate(x, scale_factor=3), F.interpolate(x, size=(6, 3), mode="nearest-exact"),
                F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=True),
                F.interpolate(x, scale_factor=2, mode="bicubic"), F.interpolate(x[0], scale_factor=4, mode="linear"),
                F.interpolate(x[None], size=(3, 8, 10), mode="trilinear"))

    return Case(Function(run), (torch.randn(1, 4, 4, 5),))


@tiny
def activations() -> Case:
    def run(x):
        return (F.silu(x), F.hardswish(x), F.gelu(x, approximate="tanh"), F.elu(x), F.softplus(x),
                F.leaky_relu(x), F.hardsigmoid(x), F.mish(x), F.log_softmax(x, -1), F.glu(x),
                F.hardtanh(x), F.relu6(x * 4))

    return Case(Function(run), (torch.randn(3, 6) * 3,))


# Training


class Training(nn.Module):
    """Layers that stay in training mode, and then tell what they remember."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def train(self, mode: bool = True):
        return super().train(True)

    def forward(self, x):
        return self.layers(x), [buffer + 0 for buffer in self.layers.buffers()]


@tiny
def train_batch_norm() -> Case:
    norm = nn.BatchNorm2d(4)  # used twice
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), norm, nn.SiLU(), nn.Flatten(2),
                           nn.BatchNorm1d(4, affine=False, momentum=0.3))
    calls = [((torch.randn(n, 3, 7, 6),), {}) for n in (5, 2, 3)]
    return Case(Training(layers), *calls[0], dynamic_shapes=({0: Dim("batch", min=2, max=8)},),
                calls=calls[1:])


@tiny
def train_instance_norm() -> Case:
    layers = nn.Sequential(nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
                           nn.InstanceNorm2d(4))
    calls = [((torch.randn(2, 4, 5, 6),), {}) for _ in range(3)]
    return Case(Training(layers), *calls[0], calls=calls[1:])


@tiny
def train_core() -> Case:
    """Statistics as results of the core operators."""
    layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
    calls = [((torch.randn(5, 4),), {}) for _ in range(3)]
    return Case(Training(layers), *calls[0], calls=calls[1:], core=True)


@tiny
def ordered_effects() -> Case:
    """Prints and assertions: in core form a token orders them."""

    def run(x):
        torch.ops.aten._print("before")
        torch.ops.aten._assert_async.msg((x == x).all(), "a number is wanted")
        y = torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))
        torch.ops.aten._print("after")
        return y

    return Case(Function(run), (torch.randn(4),), core=True)
