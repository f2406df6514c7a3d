"""Small programs that go beyond one operator: what ExecuTorch keeps as its sample programs.

Each function makes one: modules by method name, calls on one loaded file in order, and how stock
lowers it. Together they hold unplanned and dynamic inputs, numbers as inputs, several methods,
state (in one method, and shared by several), caches indexed by a position, constant methods,
weights in a file of their own, and gradients. Its samples for demonstration backends (AddMul, SubLarge
and others, delegated to a stub or a demo compiler) have no meaning outside its own tests.
"""

from dataclasses import dataclass, field
from typing import Callable

import torch
from torch import nn
from torch.nn import functional as F

PROGRAMS: dict[str, Callable[[], "Program"]] = {}


def program(make: Callable[[], "Program"]) -> Callable[[], "Program"]:
    PROGRAMS[make.__name__] = make
    return make


@dataclass
class Method:
    """A module (its forward is the method), what it is exported with, and how its sizes may vary."""

    module: nn.Module
    example: tuple
    dynamic_shapes: object = None


@dataclass
class Program:
    methods: dict[str, Method]
    calls: list[tuple]  # (method, arguments ...), answered by the modules in this order
    constants: dict[str, int] = field(default_factory=dict)  # constant methods
    plan: dict = field(default_factory=dict)  # options of stock's memory planning pass
    external: bool = False  # the weights are put into a .ptd
    shared_state: bool = False  # methods share the memory of their state
    gradients: bool = False  # stock exports the backward pass too
    ours_cannot: str = ""  # why our compiler has no part in it
    ours_cannot_run: str = ""  # what our runtime lacks for stock's file


class Function(nn.Module):
    def __init__(self, function, **buffers: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, *args):
        return self.function(*args)


def single(module: nn.Module, *calls: tuple, dynamic_shapes=None, **options) -> Program:
    """One method; the first call is what it is exported with."""
    return Program({"forward": Method(module, calls[0], dynamic_shapes)},
                   [("forward", *call) for call in calls], **options)


# Numbers and tensors


@program
def basic() -> Program:
    return single(Function(lambda x: torch.linspace(0, 1, x.numel()).sin().reshape(x.shape) + x),
                  (torch.randn(5),))


@program
def largest_of_all() -> Program:
    """A result of rank 0, of an operator without a dimension."""
    return single(Function(lambda x: torch.sin(x).max()), (torch.randn(100),))


@program
def add() -> Program:
    class Add(nn.Module):
        def forward(self, x, y, alpha):
            return torch.add(x, y, alpha=alpha)

    return single(Add(), (torch.ones(2, 2), torch.randn(2, 2), 1.0))


@program
def add_half() -> Program:
    a, b = torch.randn(2, 2, dtype=torch.float16), torch.randn(2, 2, dtype=torch.float16)
    return single(Function(lambda x, y: torch.add(x, y)), (a, b), (b, b))


@program
def add_half_scaled() -> Program:
    class Add(nn.Module):
        def forward(self, x, y, alpha):
            return torch.add(x, y, alpha=alpha)

    return single(Add(), (torch.randn(2, 2).half(), torch.randn(2, 2).half(), 1.0))


@program
def add_mul() -> Program:
    class AddMul(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.full((2, 2), 3.0)
            self.b = torch.full((2, 2), 2.0)

        def forward(self, x):
            return torch.mul(self.a, x) + self.b

    return single(AddMul(), (torch.randn(2, 2),))


@program
def linear() -> Program:
    return single(nn.Linear(3, 3), (torch.randn(3, 3),), (torch.zeros(3, 3),))


@program
def index() -> Program:
    return single(Function(lambda x: x[[[0, 2], [1, 0]], 1:, 0]), (torch.randn(3, 4, 2),))


@program
def index_with_none() -> Program:
    """One index of two: the list of the operator has None at the place of the other."""
    return single(Function(lambda x: x[1::2, torch.tensor([1, 2])]), (torch.randn(10, 10, 10),))


@program
def int_bool() -> Program:
    """Numbers as inputs: exported with these values, which every call has to give."""

    class IntBool(nn.Module):
        def forward(self, x, count: int, flag: bool):
            return (x + count) * (2 if flag else 1)

    return single(IntBool(), (torch.randn(3), 42, True))


@program
def symbolic_int() -> Program:
    """A number that is free: torch.export.Dim.DYNAMIC on an int."""

    class Scaled(nn.Module):
        def forward(self, x, count):
            return x * count, count + 1

    return single(Scaled(), (torch.randn(3), 4), dynamic_shapes=(None, torch.export.Dim.DYNAMIC),
                  ours_cannot_run="stock declares a free number as None, and its own runtime refuses to set it")


@program
def no_op() -> Program:
    """No instruction at all: inputs are outputs, and None is among them."""
    return single(Function(lambda x, y, z: (x, z, None)), (torch.randn(2), torch.randn(3), torch.ones(1)))


@program
def dynamic_cat_unplanned_io() -> Program:
    rows = torch.export.Dim("rows", min=2, max=8)
    return single(
        Function(lambda x: torch.cat([x, x, torch.ones(1, 4)], dim=0)),
        (torch.randn(3, 4),), (torch.randn(8, 4),), (torch.randn(2, 4),),
        dynamic_shapes=(({0: rows},),), plan={"alloc_graph_input": False, "alloc_graph_output": False},
    )


@program
def unplanned_input() -> Program:
    return single(Function(lambda x: (x * 2).relu()), (torch.randn(4, 4),), plan={"alloc_graph_input": False})


@program
def unplanned_output() -> Program:
    return single(Function(lambda x: ((x * 2).relu(), x.sum(0))), (torch.randn(4, 4),),
                  plan={"alloc_graph_output": False})


# Methods


@program
def multiple_entry() -> Program:
    weight = torch.randn(2, 3)
    first = Function(lambda x: F.linear(x, weight))
    second = Function(lambda x, y: x @ y - 1)
    return Program(
        {"forward": Method(first, (torch.ones(4, 3),)), "forward2": Method(second, (torch.ones(2, 2), torch.zeros(2, 2)))},
        [("forward", torch.randn(4, 3)), ("forward2", torch.randn(2, 2), torch.randn(2, 2)),
         ("forward", torch.randn(4, 3))],
        constants={"get_max_len": 64, "get_vocab": 32000},
    )


@program
def methods_of_one_module() -> Program:
    """Constants that two methods share."""
    a, b = torch.full((2, 2), 3.0), torch.full((2, 2), 2.0)
    x = torch.ones(2, 2)
    return Program({"forward": Method(Function(lambda x: x + a), (x,)),
                    "forward2": Method(Function(lambda x: x + a + b), (x,))},
                   [("forward", x), ("forward2", x), ("forward2", torch.randn(2, 2)), ("forward", torch.randn(2, 2))])


# State


@program
def stateful_integer() -> Program:
    """A counter of int32, added to floats."""

    class Count(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(1, dtype=torch.int32))

        def forward(self, x):
            self.state.add_(1)
            return x + self.state

    return single(Count(), *[(torch.full((1,), float(i)),) for i in range(3)])


class Counter(nn.Module):
    """Adds to a buffer, which starts at other than 0."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.tensor([0.0, 0.0]))

    def forward(self, x):
        self.state.add_(x)
        return self.state.clone()


@program
def stateful() -> Program:
    return single(Counter(), (torch.ones(2),), (torch.tensor([2.0, 3.0]),), (torch.ones(2),))


class Reader(nn.Module):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.register_buffer("state", counter.state)

    def forward(self):
        # Written, so that the exporter takes it for state.
        self.state.add_(0)
        return self.state.clone()


class Writer(nn.Module):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.register_buffer("state", counter.state)

    def forward(self, value):
        self.state.copy_(value)
        return self.state + 1


@program
def shared_state() -> Program:
    counter = Counter()
    return Program(
        {"forward": Method(counter, (torch.ones(2),)), "get_state": Method(Reader(counter), ()),
         "set_state": Method(Writer(counter), (torch.ones(2),))},
        [("forward", torch.ones(2)), ("get_state",), ("forward", torch.tensor([2.0, 4.0])), ("get_state",),
         ("set_state", torch.tensor([7.0, -7.0])), ("get_state",), ("forward", torch.ones(2))],
        shared_state=True, ours_cannot="our compiler gives each method state of its own",
    )


class Attention(nn.Module):
    """One head over a cache; the position is an input, or kept in the module, or there is no cache."""

    def __init__(self, cache: bool, keep_position: bool, length: int = 8, width: int = 4) -> None:
        super().__init__()
        self.keep_position, self.cache = keep_position, cache
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        if cache:
            self.register_buffer("keys", torch.zeros(1, length, width))
            self.register_buffer("values", torch.zeros(1, length, width))
            self.register_buffer("mask", torch.ones(length, length).tril().bool(), persistent=False)
        if keep_position:
            self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    def forward(self, x, position=None):
        query, keys, values, mask = self.query(x), self.key(x), self.value(x), None
        if self.cache:
            at = self.position if self.keep_position else position
            self.keys.index_copy_(1, at, keys)
            self.values.index_copy_(1, at, values)
            keys, values, mask = self.keys, self.values, self.mask[at]
            if self.keep_position:
                self.position.add_(1)
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)


@program
def kv_cache_input_position() -> Program:
    steps = [(torch.randn(1, 1, 4), torch.tensor([i])) for i in range(4)]
    return single(Attention(True, False), *steps)


@program
def kv_cache_kept_position() -> Program:
    steps = [(torch.randn(1, 1, 4),) for _ in range(4)]
    return single(Attention(True, True), *steps)


@program
def no_kv_cache() -> Program:
    return single(Attention(False, False), (torch.randn(1, 3, 4),), (torch.randn(1, 3, 4),))


# Tokens: integers in, floats within


class Tokens(nn.Module):
    """What a language model does with tokens and positions, without the language."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, tokens, position=None):
        made = self.linear(tokens.to(torch.float))
        return made if position is None else (made.to(torch.long) + position).to(torch.float)


def tokens() -> torch.Tensor:
    return torch.randint(100, [1, 3])


@program
def tokens_with_input_position() -> Program:
    return single(Tokens(), *[(tokens(), torch.tensor([i])) for i in (0, 1, 7)])


@program
def tokens_with_cache_positions() -> Program:
    return single(Tokens(), (tokens(), torch.arange(3)), (tokens(), torch.arange(5, 8)))


@program
def tokens_alone() -> Program:
    return single(Tokens(), (tokens(),), (tokens(),))


# Weights elsewhere


@program
def linear_external() -> Program:
    return single(nn.Linear(5, 3), (torch.randn(2, 5),), external=True)


@program
def constants_external() -> Program:
    """Tensors that are no parameters go there too."""
    a, b = torch.full((2, 2), 3.0), torch.full((2, 2), 2.0)
    return single(Function(lambda x: torch.mul(a, x) + b), (torch.ones(2, 2),), (torch.randn(2, 2),),
                  external=True)


@program
def layers_external() -> Program:
    layers = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    return single(layers.eval(), (torch.randn(1, 2, 6, 6),), external=True)


# Gradients


@program
def simple_train() -> Program:
    class Train(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.loss = nn.CrossEntropyLoss()

        def forward(self, x, label):
            prediction = self.layer(x).softmax(dim=0)
            return self.loss(prediction, label), prediction.detach().argmax(dim=0)

    return single(Train(), (torch.randn(3), torch.tensor([1.0, 0.0, 0.0])), gradients=True,
                  ours_cannot="the backward pass is stock's own export")
