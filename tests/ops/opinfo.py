#!/usr/bin/env python3
"""Runs our operators on the arguments of torch's own operator tests and compares the results.

For every OpInfo of torch.testing._internal.common_methods_invocations.op_db and every dtype, a few
samples are run while the ATen calls are recorded, once at the level of the core operators and once
before decomposition (so that linear, conv2d, layer_norm stay whole). Cases of this project's own
(CASES below) add what the samples lack. Each recorded call whose operator we define then runs through

  graph       our IR: a program with that one node, shapes inferred, evaluated
  decomposed  the operator's rewriting into others, when it has one beside its kernel
  kernel      the kernel itself, with channels-last inputs and outs
  symbolic    the graph, with sizes as symbols
  functional  the form without side effects of an operator that changes its arguments: their new
              contents are compared as further results
  portable    the graph as `--target portable` compiles it, with the kernels that stock ExecuTorch has
  tiles       the graph as `--target cpu` compiles it, all but the first tensor constants, when tile
              kernels can do all of it

and dtype, sizes and values must be torch's. Prints a table, then the first failing case of each
operator in a form that can be pasted into Python, then which operators of torch's lists lack a
definition. Exit code 0: all passed, and in a whole run every operator had a case; 1: not so; 77: no torch
here.

  opinfo.py --library build/dev/tests/ops/libsconce_optest.so --op 'aten::add*' --dtype f32
"""
import argparse
import collections
import ctypes
import fnmatch
import glob
import itertools
import math
import multiprocessing
import os
import re
import sys
import time
import warnings

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
try:
    import torch
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.fx.experimental.proxy_tensor import make_fx
except ImportError as problem:
    print(f"[SKIP] {problem}")
    sys.exit(77)

import rare_cases as rare

warnings.filterwarnings("ignore")

DTYPES = {"u8": torch.uint8, "i8": torch.int8, "i16": torch.int16, "i32": torch.int32,
          "i64": torch.int64, "f16": torch.float16, "f32": torch.float32, "f64": torch.float64,
          "c64": torch.complex64, "c128": torch.complex128, "b8": torch.bool, "bf16": torch.bfloat16}
CODES = {torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.int64: 4,
         torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.complex64: 9,
         torch.complex128: 10, torch.bool: 11, torch.bfloat16: 15, torch.uint16: 27}
FROM_CODE = {code: dtype for dtype, code in CODES.items()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
TESTED = ["f32", "i64", "f64", "f16", "bf16", "i32", "u8", "i8", "i16", "b8"]

# --- the library ------------------------------------------------------------------------------

NONE, INTEGER, FLOATING, BOOLEAN, STRING, TENSOR, INTEGERS, FLOATS, BOOLEANS, TENSORS = range(10)
GRAPH, DECOMPOSED, KERNEL, SYMBOLIC, FUNCTIONAL, PORTABLE, TILES = range(7)
MODE_NAMES = ["graph", "decomposed", "kernel", "symbolic", "functional", "portable", "tiles"]


class Value(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("count", ctypes.c_int32), ("integer", ctypes.c_int64),
                ("floating", ctypes.c_double), ("data", ctypes.c_void_p),
                ("sizes", ctypes.POINTER(ctypes.c_int64)),
                ("dim_order", ctypes.POINTER(ctypes.c_uint8)), ("dtype", ctypes.c_int32)]


class Unencodable(Exception):
    pass


class Refused(Exception):
    """Our library gave an error."""


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.sconce_optest_list.restype = ctypes.c_char_p
        self.ops = {}
        for line in self.c.sconce_optest_list().decode().splitlines():
            name, *marks = line.split("\t")
            self.ops[name] = tuple(mark != "-" for mark in marks)

    def run(self, name, arguments, mode, out_order=()):
        keep = []
        values = (Value * max(1, len(arguments)))()
        for i, (kind, argument) in enumerate(arguments):
            encode(values[i], kind, argument, keep, mode == KERNEL)
        order = (ctypes.c_uint8 * max(1, len(out_order)))(*out_order)
        results = ctypes.POINTER(Value)()
        count = ctypes.c_int32()
        message = ctypes.create_string_buffer(1000)
        code = self.c.sconce_optest_run(
            name.encode(), values, len(arguments), mode, order, len(out_order),
            ctypes.byref(results), ctypes.byref(count), message, ctypes.c_uint64(1000))
        if code != 0:
            raise Refused(message.value.decode(errors="replace"))
        return [decode(results[i]) for i in range(count.value)]


def dim_order_of(tensor):
    """Dim order when the tensor is dense in some order of its dimensions, else None."""
    order = sorted(range(tensor.dim()), key=lambda d: (-tensor.stride(d), d))
    expected = 1
    for d in reversed(order):
        if tensor.size(d) != 1 and tensor.stride(d) != expected:
            return None
        expected *= tensor.size(d)
    return order


def encode_tensor(value, tensor, keep, with_order):
    order = list(range(tensor.dim()))
    if tensor.is_sparse or tensor.layout != torch.strided or tensor.dtype not in CODES:
        raise Unencodable(f"{tensor.layout} {tensor.dtype}")
    tensor = tensor.detach()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    if with_order and not tensor.is_contiguous():
        order = dim_order_of(tensor) or order
        if order == list(range(tensor.dim())):
            tensor = tensor.contiguous()
    else:
        tensor = tensor.contiguous()
    value.kind, value.count, value.dtype = TENSOR, tensor.dim(), CODES[tensor.dtype]
    sizes = (ctypes.c_int64 * max(1, tensor.dim()))(*tensor.shape)
    spare = ctypes.create_string_buffer(16)  # an empty tensor has no address of its own
    keep += [tensor, sizes, spare]
    value.sizes = sizes
    value.data = tensor.data_ptr() or ctypes.addressof(spare)
    if order != list(range(tensor.dim())):
        orders = (ctypes.c_uint8 * len(order))(*order)
        keep.append(orders)
        value.dim_order = orders


def encode(value, kind, argument, keep, with_order):
    """`kind` is the type of the schema's argument, as torch prints it."""
    if argument is None:
        value.kind = NONE
    elif isinstance(argument, torch.Tensor):
        encode_tensor(value, argument, keep, with_order)
    elif isinstance(argument, bool):
        value.kind, value.integer = BOOLEAN, int(argument)
    elif isinstance(argument, int):
        if kind.startswith("float"):
            value.kind, value.floating = FLOATING, float(argument)
        elif re.match(r"(Sym)?[Ii]nt\[\d+\]", kind):
            encode(value, kind, [argument] * int(kind[kind.index("[") + 1:kind.index("]")]), keep, False)
        elif not -2**63 <= argument < 2**63:
            raise Unencodable("integer of more than 64 bits")
        else:
            value.kind, value.integer = INTEGER, argument
    elif isinstance(argument, float):
        value.kind, value.floating = FLOATING, argument
    elif isinstance(argument, torch.dtype):
        if argument not in CODES:
            raise Unencodable(str(argument))
        value.kind, value.integer = INTEGER, CODES[argument]
    elif isinstance(argument, torch.memory_format):
        codes = {torch.contiguous_format: 0, torch.preserve_format: 1, torch.channels_last: 2,
                 torch.channels_last_3d: 3}
        value.kind, value.integer = INTEGER, codes[argument]
    elif isinstance(argument, (torch.device, torch.layout, torch.Generator)):
        value.kind = NONE
    elif isinstance(argument, str):
        text = ctypes.create_string_buffer(argument.encode())
        keep.append(text)
        value.kind, value.count, value.data = STRING, len(argument), ctypes.addressof(text)
    elif isinstance(argument, (list, tuple)):
        items = list(argument)
        value.count = len(items)
        if "Tensor" in kind or any(isinstance(x, torch.Tensor) for x in items):
            array = (Value * max(1, len(items)))()
            for i, item in enumerate(items):
                encode(array[i], "Tensor", item, keep, with_order)
            value.kind = TENSORS
        elif kind.startswith("bool"):
            array = (ctypes.c_uint8 * max(1, len(items)))(*[int(x) for x in items])
            value.kind = BOOLEANS
        elif kind.startswith("float") or any(isinstance(x, float) for x in items):
            array = (ctypes.c_double * max(1, len(items)))(*items)
            value.kind = FLOATS
        elif all(isinstance(x, int) for x in items):
            array = (ctypes.c_int64 * max(1, len(items)))(*[int(x) for x in items])
            value.kind = INTEGERS
        else:
            raise Unencodable(f"list of {[type(x).__name__ for x in items]}")
        keep.append(array)
        value.data = ctypes.addressof(array)
    else:
        raise Unencodable(type(argument).__name__)


def decode(value):
    if value.kind == TENSOR:
        sizes = [value.sizes[i] for i in range(value.count)]
        dtype = FROM_CODE[value.dtype]
        result = torch.empty(sizes, dtype=dtype)
        if result.numel():
            ctypes.memmove(result.data_ptr(), value.data, result.numel() * result.element_size())
        return result
    if value.kind == FLOATING:
        return value.floating
    return bool(value.integer) if value.kind == BOOLEAN else value.integer


# --- calls ------------------------------------------------------------------------------------

Call = collections.namedtuple("Call", "overload args kwargs")


def op_name(overload):
    name = overload._schema.name
    return name + ("." + overload._schema.overload_name if overload._schema.overload_name else "")


def bind(overload, args, kwargs):
    """Arguments in the order of the schema, defaults filled in, each with its type."""
    bound = []
    for i, argument in enumerate(overload._schema.arguments):
        if i < len(args) and not argument.kwarg_only:
            given = args[i]
        elif argument.name in kwargs:
            given = kwargs[argument.name]
        elif argument.has_default_value():
            given = argument.default_value
        else:
            given = None
        kind = str(argument.type).replace("Optional[", "").replace("List[", "")
        text = str(overload._schema)
        found = re.search(r"[(,] ?([A-Za-z]+[^ ,]*) " + re.escape(argument.name) + r"\b", text)
        bound.append((found.group(1) if found else kind, given))
    return bound


# Operators that write to arguments and have no twin that does not: recorded like functional ones.
WRITING = ("aten::_native_batch_norm_legit", "aten::_batch_norm_with_update")


# Arguments that a call changes, where the schema does not say which.
STATE = ("running_mean", "running_var")
# Operators called for what they change: what is in their result is not defined.
TOKENS = ("llama::update_cache", "llama::update_cache_with_indices")


def given_argument(call, given, key):
    """The argument of that name, after the call."""
    names = [a.name for a in call.overload._schema.arguments]
    return given[1][key] if key in given[1] else given[0][names.index(key)]


def is_functional(overload):
    schema = overload._schema
    return op_name(overload) in WRITING or len(schema.returns) > 0 and not any(
        a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)


def clone_all(item):
    if isinstance(item, torch.Tensor):
        return item.detach().clone()  # keeps a dense layout
    if isinstance(item, (list, tuple)):
        return type(item)(clone_all(x) for x in item) if not isinstance(item, torch.Size) else list(item)
    if isinstance(item, dict):
        return {key: clone_all(x) for key, x in item.items()}
    if isinstance(item, torch.SymInt):
        return int(item)
    return item


def describe(item):
    if isinstance(item, torch.Tensor):
        if item.numel() <= 8:
            return f"torch.tensor({item.tolist()}, dtype={item.dtype}).reshape({list(item.shape)})"
        order = "" if item.is_contiguous() else f" stride {list(item.stride())}"
        return f"<{NAMES.get(item.dtype, item.dtype)} {list(item.shape)}{order}>"
    if isinstance(item, (list, tuple)):
        return "[" + ", ".join(describe(x) for x in item) + "]"
    if isinstance(item, dict):
        return ", ".join(f"{key}={describe(x)}" for key, x in item.items())
    return repr(item)


def describe_call(call):
    parts = [describe(x) for x in call.args] + ([describe(call.kwargs)] if call.kwargs else [])
    return f"torch.ops.{op_name(call.overload).replace('::', '.')}({', '.join(parts)})"


def signature(call):
    """Calls that look alike: only some of them are run."""
    def of(item):
        if isinstance(item, torch.Tensor):
            return (str(item.dtype), tuple(item.shape), item.is_contiguous())
        if isinstance(item, (list, tuple)):
            return tuple(of(x) for x in item)
        if isinstance(item, dict):
            return tuple((key, of(x)) for key, x in sorted(item.items()))
        return repr(item)
    return (op_name(call.overload), of(call.args), of(call.kwargs))


class Recorder(TorchDispatchMode):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, overload, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if is_functional(overload):
            self.calls.append(Call(overload, clone_all(args), clone_all(kwargs)))
        return overload(*args, **kwargs)


class GraphRecorder(torch.fx.Interpreter):
    def __init__(self, module, calls):
        super().__init__(module)
        self.calls = calls

    def call_function(self, target, args, kwargs):
        if isinstance(target, torch._ops.OpOverload) and is_functional(target):
            self.calls.append(Call(target, clone_all(args), clone_all(kwargs)))
        return super().call_function(target, args, kwargs)


def calls_of_sample(op, sample, composite):
    calls = []
    with torch.no_grad():
        try:
            with Recorder(calls):
                op(sample.input, *sample.args, **sample.kwargs)
        except Exception:
            pass
        if composite:
            tensors = []

            def take(item):
                if isinstance(item, torch.Tensor):
                    tensors.append(item)
                    return ("slot", len(tensors) - 1)
                if isinstance(item, (list, tuple)):
                    return type(item)(take(x) for x in item) if type(item) in (list, tuple) else item
                return {k: take(x) for k, x in item.items()} if isinstance(item, dict) else item

            def give(item, inputs):
                if isinstance(item, tuple) and len(item) == 2 and item[0] == "slot":
                    return inputs[item[1]]
                if isinstance(item, (list, tuple)):
                    return type(item)(give(x, inputs) for x in item) if type(item) in (list, tuple) else item
                return {k: give(x, inputs) for k, x in item.items()} if isinstance(item, dict) else item

            template = take([sample.input, list(sample.args), dict(sample.kwargs)])

            def function(*inputs):
                first, rest, named = give(template, inputs)
                return op(first, *rest, **named)

            try:
                traced = make_fx(function, pre_dispatch=True)(*tensors)
                GraphRecorder(traced, calls).run(*tensors)
            except Exception:
                pass
    return calls


# --- cases of our own: what the samples lack ---------------------------------------------------

def special(dtype):
    """Values at the edges of a type."""
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        return torch.tensor([0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, math.inf, -math.inf, math.nan,
                             info.max, info.min, info.tiny, 20.5, -20.5, 3.0, 100.0], dtype=dtype)
    if dtype == torch.bool:
        return torch.tensor([True, False])
    info = torch.iinfo(dtype)
    return torch.tensor([0, 1, 2, 3, 7, info.max, info.min, 5], dtype=dtype)


def shapes(dtype):
    """Rank 0, empty, channels-last, large."""
    def make(*size):
        if dtype.is_floating_point:
            return torch.randn(size).to(dtype)
        if dtype == torch.bool:
            return torch.rand(size) > 0.5
        return torch.randint(0 if dtype == torch.uint8 else -9, 10, size).to(dtype)
    yield make()
    yield make(0)
    yield make(2, 0, 3)
    yield make(1)
    yield make(300)
    yield make(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    yield make(3, 5).t()


def own_cases(library, names, dtypes):
    """Pointwise operators over special values, odd shapes and mixed types."""
    aten = torch.ops.aten
    torch.manual_seed(0)
    for name in names:
        base, _, overload_name = name[6:].partition(".")
        try:
            overload = getattr(getattr(aten, base), overload_name or "default")
        except (AttributeError, RuntimeError):
            continue
        if library.ops[name][2] or not is_functional(overload):
            continue
        arguments = overload._schema.arguments
        types = [str(a.type) for a in arguments]
        required = [t for t, a in zip(types, arguments) if not a.has_default_value()]
        if torch.Tag.pointwise not in overload.tags and required != ["Tensor"]:
            continue
        for dtype_name in dtypes:
            dtype = DTYPES[dtype_name]
            if required == ["Tensor"]:
                for x in [special(dtype), *shapes(dtype)]:
                    yield Call(overload, (x,), {})
            elif required == ["Tensor", "Tensor"]:
                s = special(dtype)
                if base == "lcm" and dtype != torch.bool:  # else the product overflows in the type itself
                    s = s[s.long().abs() < 10]
                if base in ("gcd", "lcm"):  # torch divides the smallest integer by -1
                    s = s if dtype.is_floating_point or dtype in (torch.bool, torch.uint8) \
                        else s[s != torch.iinfo(dtype).min]
                if "backward" not in base:  # gradients of edge values overflow in other places
                    yield Call(overload, (s[:, None], s), {})
                yield Call(overload, (s, torch.tensor(2, dtype=dtype)), {})
                yield Call(overload, (s[0], s[1]), {})
                for other in TESTED if "backward" not in base else []:
                    y = special(DTYPES[other])
                    yield Call(overload, (s[:2], y[1:2]), {})
                    yield Call(overload, (s[:3], y[1]), {})
                for x in shapes(dtype):
                    yield Call(overload, (x, x.flip(0) if x.dim() else x), {})
                    if x.dim() == 4:
                        yield Call(overload, (x, x[:1, :, :1, :1]), {})
                        yield Call(overload, (x.contiguous()[0, 0], x), {})
            elif required in (["Tensor", "number"], ["Tensor", "Scalar"]):
                s = special(dtype)
                for number in (2, 0, -3, 0.5, True, 1e10, math.inf, math.nan):
                    yield Call(overload, (s, number), {})
                    yield Call(overload, (s[1], number), {})
                for x in shapes(dtype):
                    yield Call(overload, (x, 3), {})
            elif required in (["number", "Tensor"], ["Scalar", "Tensor"]):
                s = special(dtype)
                for number in (2, 0, -3, 0.5, True):
                    yield Call(overload, (number, s), {})
                    yield Call(overload, (number, s[1]), {})
            elif required == ["Tensor", "Tensor", "Tensor"]:
                s = special(dtype)
                flags = torch.arange(s.numel()) % 2 == 0
                first = flags if base == "where" else s
                yield Call(overload, (first, s.flip(0), s), {})
                yield Call(overload, (first[:2], s[1], s[:2, None]), {})
                for other in TESTED:
                    yield Call(overload, (first[:2], s[:2], special(DTYPES[other])[1:2]), {})


def extra_cases(dtypes):
    """Operators without OpInfo, and argument values that the samples do not reach."""
    aten = torch.ops.aten
    x = torch.randn(2, 6, 3, 4)
    for dtype in (DTYPES[d] for d in dtypes):
        if dtype.is_floating_point:
            y = torch.randn(2, 6).to(dtype)
            yield Call(aten.glu.default, (y, -1), {})
            yield Call(aten.gelu.default, (y,), {"approximate": "tanh"})
            yield Call(aten.celu.default, (y, 0.7), {})
            yield Call(aten.elu.default, (y, 1.2, 0.9, 1.1), {})
            yield Call(aten.softplus.default, (y * 20, 2, 15), {})
            yield Call(aten.threshold.default, (y, 0.1, -20), {})
            yield Call(aten.prelu.default, (y, torch.randn(6).to(dtype)), {})
            yield Call(aten.dropout.default, (y, 0.5, False), {})
            yield Call(aten.native_dropout.default, (y, 0.5, False), {})
            yield Call(aten.hardtanh.default, (y, -0.3, 0.4), {})
            for decimals in (0, 1, 3, -1, -2):
                yield Call(aten.round.decimals, (y * 55,), {"decimals": decimals})
        for to in (DTYPES[d] for d in TESTED):
            y = special(dtype) if not dtype.is_floating_point else torch.tensor(
                [0.0, -0.0, 1.5, -1.5, 2.5, 100.7, 3.999] + ([-7.2] if to.is_signed else [7.2])).to(dtype)
            if to == torch.uint8 and dtype.is_floating_point:
                y = y.abs()
            yield Call(aten._to_copy.default, (y,), {"dtype": to})
            yield Call(aten.to.dtype, (y, to), {})
            yield Call(aten.to.dtype, (y, to, False, True), {})
            yield Call(aten.type_as.default, (y, torch.zeros(1, dtype=to)), {})
            yield Call(aten.to.other, (y, torch.zeros(1, dtype=to)), {})
            yield Call(aten.to.dtype_layout, (y,), {"dtype": to})
            yield Call(aten.copy.default, (torch.zeros(2, y.numel(), dtype=to), y), {})
            yield Call(aten.full_like.default, (y, 3), {"dtype": to})
            yield Call(aten.new_full.default, (y, [2, 3], 1), {"dtype": to})
            yield Call(aten.masked_fill.Tensor, (y, y > 0, torch.tensor(1, dtype=to)), {})
        y = special(dtype)
        for call in (aten.zeros_like, aten.ones_like, aten.alias, aten.detach, aten.lift_fresh_copy,
                     aten.clone, aten.contiguous, aten.alias_copy, aten.detach_copy, aten.lift_fresh):
            yield Call(call.default, (y,), {})
        yield Call(aten.clone.default, (x.to(dtype),), {"memory_format": torch.channels_last})
        yield Call(aten.fill.Scalar, (y, 1), {})
        yield Call(aten.fill.Tensor, (y, torch.tensor(1.0)), {})
        yield Call(aten.zero.default, (y,), {})
        yield Call(aten.masked_fill.Scalar, (y, y > 0, 1), {})
        yield Call(aten.new_zeros.default, (y, [2, 3]), {})
        yield Call(aten.new_ones.default, (y, []), {})
        yield Call(aten.full.default, ([2, 0, 3], 1), {"dtype": dtype})
        yield Call(aten.full.default, ([], 1), {"dtype": dtype})
        for size in ([2, 3], [], [0]):
            yield Call(aten.zeros.default, (size,), {"dtype": dtype})
            yield Call(aten.ones.default, (size,), {"dtype": dtype})
        yield Call(aten.scalar_tensor.default, (1,), {"dtype": dtype})
        yield Call(aten.eye.default, (3,), {"dtype": dtype})
        yield Call(aten.eye.m, (3, 5), {"dtype": dtype})
        if dtype != torch.bool:
            yield Call(aten.arange.default, (5,), {"dtype": dtype})
            yield Call(aten.arange.start, (2, 5), {"dtype": dtype})
            yield Call(aten.arange.start_step, (10, 0, -3), {"dtype": dtype})
            for ends in ((0.5, 5.5, 1.5), (0, 5.5, 1), (1.7, 6.2, 1), (5.5, 0.2, -1.5), (-1.5, 2.5, 1)):
                yield Call(aten.arange.start_step, ends, {"dtype": dtype})
            yield Call(aten.arange.default, (4.5,), {"dtype": dtype})
            yield Call(aten.linspace.default, (0, 10, 5), {"dtype": dtype})
            yield Call(aten.linspace.default, (0, 10, 1), {"dtype": dtype})
        for k in (-2, 0, 1, 9):
            yield Call(aten.tril.default, (x.to(dtype), k), {})
            yield Call(aten.triu.default, (x.to(dtype), k), {})
    for value in (3, 2.5, True):
        yield Call(aten.full.default, ([2], value), {})
        yield Call(aten.full_like.default, (x, value), {})
        yield Call(aten.scalar_tensor.default, (value,), {})
    yield Call(aten.arange.default, (5,), {})
    yield Call(aten.arange.default, (5.5,), {})
    yield Call(aten.arange.start, (1, 4.5), {})
    yield Call(aten.arange.start_step, (0, 1, 0.1), {})
    yield Call(aten.arange.start_step, (0, 0), {})
    yield Call(aten.linspace.default, (0.0, 1.0, 7), {})
    yield Call(aten.tril_indices.default, (3, 4, 1), {})
    yield Call(aten.triu_indices.default, (3, 4, -1), {})
    for name in ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"):
        yield Call(getattr(aten, name).default, (torch.randn(1, 2, 5, 7) if "2d" in name
                                                 else torch.randn(1, 2, 4, 5, 7), [2] * int(name[-2])), {})


# --- comparison -------------------------------------------------------------------------------

# (relative, absolute) by dtype of the result. f32: our functions and torch's vectorised ones differ by a
# few units in the last place. f16, bf16: torch computes some of them with intermediate rounding.
TOLERANCE = {torch.float64: (1e-9, 1e-11), torch.float32: (2e-5, 1e-5), torch.float16: (4e-3, 1e-3),
             torch.bfloat16: (2e-2, 1e-2), torch.complex64: (2e-5, 1e-5), torch.complex128: (1e-9, 1e-11)}
# By how much more the results of an operator may differ, by name pattern and bits of the element; with the
# reason.
WIDER = [
    ("aten::grid_sampler*", 16, 10, "torch rounds the position in the picture to the 16-bit type"),
]
# Sums whose terms cancel: the error is relative to the terms, whose size the largest result shows.
CANCELLING = ("aten::*var*", "aten::*std*", "aten::*norm*", "aten::*prod*", "aten::*conv*", "aten::*mm*",
              "aten::*matmul*", "aten::*linear*", "aten::*bicubic*", "aten::grid_sampler*", "aten::*attention*",
              "aten::*backward*", "aten::*cdist*", "aten::lgamma", "aten::digamma", "aten::*logcumsumexp*",
              "aten::*fft*", "aten::*stft*", "aten::*softmax*", "aten::*lstm*", "aten::*gru*", "aten::*rnn*")


def widening(name, dtype):
    bits = torch.finfo(dtype).bits
    return max([factor for pattern, width, factor, _ in WIDER if width == bits and fnmatch.fnmatch(name, pattern)]
               or [1])


# Where torch's vectorised functions are wrong or follow the vector width; (operator, dtype) -> a
# condition on the first two tensors under which any result is accepted.
def huge(*tensors):
    finite = [t.double().abs() for t in tensors[:2]]
    quotient = finite[0] / finite[-1] if len(finite) > 1 else finite[0]
    return (quotient > 2**20) | quotient.isnan()


def infinite(x, *_):
    return x.double().abs() > 1e30


def large(x, *_):
    return x.double().abs() > 1e4


def pole(x, *_):  # torch divides by the square of an inexact sin(pi x)
    return (x <= 0) & (x == x.floor() if x.is_floating_point() else x == x)


def both_zeros(x, *_):  # torch counts 0.0 and -0.0 apart, though they are equal
    zero = x.double()[x.double() == 0]
    return torch.tensor(bool(zero.signbit().any()) and not bool(zero.signbit().all()))


UNCERTAIN = {"aten::mode": both_zeros,
             "aten::igamma": large, "aten::igammac": large, "aten::special_gammainc": large,
             "aten::special_gammaincc": large,
             "aten::polygamma": pole, "aten::special_polygamma": pole,
             "aten::special_modified_bessel_i0": infinite, "aten::special_modified_bessel_i1": infinite,
             "aten::sinc": large, "aten::hardswish": infinite, "aten::i0": infinite,
             "aten::special_i0": infinite, "aten::special_i1": infinite,
             "aten::special_zeta.other_scalar": large, "aten::special_zeta": large, "aten::special_sinc": large,
             "aten::fmod.Scalar": huge, "aten::fmod.Tensor": huge, "aten::remainder.Scalar": huge,
             "aten::remainder.Tensor": huge, "aten::gelu": infinite, "aten::pow.Tensor_Scalar": infinite}
# Torch's bits, in every element.
EXACT = ("quantized_decomposed::*", "torchao::*")
# Contents are whatever was there.
CONTENT_FREE = ("aten::empty*", "aten::new_empty*", "aten::empty_like*")


def check(name, wanted, found, tensors=(), bound=(), widened=False):
    """None, or what differs. `tensors` are the operands. widened: 16-bit floats are computed in f32, where
    numbers that torch makes infinite on the way are finite."""
    if len(wanted) != len(found):
        return f"{len(found)} results, {len(wanted)} are wanted"
    for i, (w, f) in enumerate(zip(wanted, found)):
        at = f"result {i}: " if len(wanted) > 1 else ""
        if w is None:
            continue
        if not isinstance(w, torch.Tensor):
            if isinstance(f, torch.Tensor) or not (w == f or (w != w and f != f) or abs(w - f) <= 1e-5 * abs(w)):
                return f"{at}{f}, {w} is wanted"
            continue
        if not isinstance(f, torch.Tensor):
            return f"{at}not a tensor"
        if w.dtype != f.dtype:
            return f"{at}type {NAMES.get(f.dtype)}, {NAMES.get(w.dtype)} is wanted"
        if list(w.shape) != list(f.shape):
            return f"{at}sizes {list(f.shape)}, {list(w.shape)} are wanted"
        if any(fnmatch.fnmatch(name, pattern) for pattern in CONTENT_FREE):
            continue
        w = w.detach().resolve_conj().resolve_neg().contiguous()
        if w.is_floating_point() and any(fnmatch.fnmatch(name, pattern) for pattern in EXACT):
            good = (w == f) | (w.isnan() & f.isnan())
        elif w.dtype in TOLERANCE:
            relative, absolute = TOLERANCE[w.dtype]
            factor = widening(name, w.dtype)
            wide = torch.complex128 if w.is_complex() else torch.float64
            a, b = w.to(wide), f.to(wide)
            good = torch.isclose(b, a, rtol=relative * factor, atol=absolute * factor, equal_nan=True)
            if widened and w.dtype == torch.float16:
                good |= ~a.isfinite() & b.isfinite()
            # The same goes for 16-bit results of several rounded steps.
            if w.dtype in (torch.float16, torch.bfloat16) or any(fnmatch.fnmatch(name, p) for p in CANCELLING):
                finite = a.abs()[a.abs().isfinite()]
                scale = float(finite.max()) if finite.numel() else 0.0
                good |= (b - a).abs() <= relative * factor * scale
        else:
            good = w == f
        if name in UNCERTAIN and not bool(good.all()):
            try:
                good |= UNCERTAIN[name](*tensors).expand(good.shape)
            except RuntimeError:
                pass
        if not bool(good.all()) and any(fnmatch.fnmatch(name, p) for p in POSITIONS) \
                and same_values(w, f, tensors, bound):
            continue
        if not bool(good.all()):
            bad = (~good).flatten().nonzero()[0].item()
            return (f"{at}{int((~good).sum())} of {good.numel()} differ; at {bad}: "
                    f"{f.flatten()[bad].item()}, {w.flatten()[bad].item()} is wanted")
    return None


# Refusals that are decisions, by operator and a part of the message, with the reason.
REFUSALS = [
    ("aten::linalg_matrix_norm*", "no decomposition", "spectral and nuclear norms need a singular value "
                                                      "decomposition"),
    ("aten::linalg_norm*", "no decomposition", "as linalg_matrix_norm"),
    ("aten::batch_norm", "at least 2 is wanted", "torch lets rank 1 pass only when there is nothing to compute"),
    ("aten::fft_fftn", "no decomposition", "rank 0: there is nothing to transform"),
    ("aten::fft_ifftn", "no decomposition", "rank 0: there is nothing to transform"),
    ("aten::one_hot", "no decomposition", "num_classes=-1: the size depends on data without a bound"),
    ("aten::complex", "of f16", "no 32-bit complex type"),
    ("aten::view_as_complex", "of f16", "no 32-bit complex type"),
    ("aten::*", "to c64 is not supported", "complex numbers appear only in Fourier transforms"),
    ("aten::*", "to c128 is not supported", "complex numbers appear only in Fourier transforms"),
]


def is_decided(name, message, mode):
    """True for a refusal that is meant. Sizes as symbols are not everywhere."""
    if mode in (PORTABLE, TILES) and "not there on this target" in message:
        return True
    if mode == TILES and any(part in message for part in ("is no tile kernel", "nothing is left to compute",
                                                          "that nothing computes")):
        return True
    if mode == SYMBOLIC and ("no decomposition for these" in message or "not known" in message):
        return True
    return any(fnmatch.fnmatch(name, pattern) and part in message for pattern, part, _ in REFUSALS)


# Operators that return positions of values: among equal values torch's choice is not promised.
POSITIONS = ("aten::sort", "aten::argsort", "aten::topk", "aten::mode", "aten::median.dim",
             "aten::nanmedian.dim", "aten::kthvalue")


def same_values(wanted, found, tensors, bound):
    """True when positions differ but point to equal values."""
    x = tensors[0]
    if not all(isinstance(t, torch.Tensor) and t.dtype == torch.int64 for t in (wanted, found)):
        return False
    if wanted.shape != found.shape or not found.numel():
        return False
    dims = [a for kind, a in bound if isinstance(a, int) and not isinstance(a, bool) and kind == "int"]
    for dim in [*dims, -1]:
        try:
            a, b = wanted, found
            if x.dim() == 0:
                return bool((found == 0).all())
            if a.dim() < x.dim():
                a, b = a.unsqueeze(dim), b.unsqueeze(dim)
            if bool((b < 0).any()) or bool((b >= x.size(dim)).any()):
                continue
            if torch.equal(torch.nan_to_num(x.gather(dim, a).double(), 1e300),
                           torch.nan_to_num(x.gather(dim, b).double(), 1e300)):
                return True
        except (RuntimeError, IndexError):
            continue
    return False


def flatten(results):
    if isinstance(results, (list, tuple)):
        return [x for r in results for x in flatten(r)]
    return [results]


class Tally:
    def __init__(self):
        self.cases = self.passed = self.refused = 0
        self.failures = []  # (mode, message, call text)

    def row(self):
        return (self.cases, self.passed, self.refused, self.failures)


def run_call(library, call, tallies, checked):
    name = op_name(call.overload)
    has_kernel, decomposes, random, functionalizes = library.ops[name]
    try:
        bound = bind(call.overload, call.args, call.kwargs)
        torch.manual_seed(1)
        given = clone_all(call.args), clone_all(call.kwargs)
        wanted = call.overload(*given[0], **given[1])
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError, ZeroDivisionError,
            OverflowError) as problem:
        wanted = problem
    except Exception as problem:
        wanted = problem
    tally = tallies[name]
    if isinstance(wanted, Exception):
        # We must not crash; being more lenient than torch is allowed.
        try:
            library.run(name, bound, GRAPH)
        except (Refused, Unencodable):
            pass
        return
    wanted = flatten(wanted)
    if functionalizes:
        try:
            library.run(name, bound, FUNCTIONAL)
            changes = True
        except Refused as problem:
            changes = "are not changed" not in str(problem)
        if changes:
            if name in TOKENS:
                wanted = [torch.zeros(1, dtype=given[0][0].dtype)]
            keys = [a.name for a in call.overload._schema.arguments
                    if a.alias_info is not None and a.alias_info.is_write]
            wanted += [given_argument(call, given, key) for key in keys or STATE]
            run_modes(library, call, name, bound, [(FUNCTIONAL, ())], wanted, random, tally)
            return
    modes = [(GRAPH, ())]
    if has_kernel and decomposes and not random:
        modes.append((DECOMPOSED, ()))
    if any(isinstance(a, torch.Tensor) for a in flatten([a for _, a in bound])):
        modes.append((PORTABLE, ()))
        if not random:
            modes.append((TILES, ()))
    tensors = [t for t in flatten([a for _, a in bound]) if isinstance(t, torch.Tensor)]
    if has_kernel and not random:
        ordered = [t for t in tensors if not t.is_contiguous()]
        orders = [(), (0, 2, 3, 1)] if any(t.dim() == 4 for t in tensors) else [()]
        if ordered or len(orders) > 1:
            modes += [(KERNEL, order) for order in orders]
    if not random and any(size > 1 for t in tensors for size in t.shape) and checked[name] % 4 == 0:
        modes.append((SYMBOLIC, ()))
    checked[name] += 1
    run_modes(library, call, name, bound, modes, wanted, random, tally)


def run_modes(library, call, name, bound, modes, wanted, random, tally):
    """Runs the call in every mode and judges the results."""
    tensors = [t for t in flatten([a for _, a in bound]) if isinstance(t, torch.Tensor)]
    for mode, order in modes:
        tally.cases += 1
        try:
            found = library.run(name, bound, mode, order)
            if random:
                message = check_random(name, wanted, found)
            else:
                message = check(name, wanted, found, tensors, bound, widened=mode == TILES)
        except Refused as problem:
            message = f"refused: {problem}"
            if mode == DECOMPOSED and "no decomposition for these arguments" in message:
                tally.cases -= 1
                continue
            if mode == KERNEL and "lists of outs" in message:
                tally.cases -= 1
                continue
            if is_decided(name, message, mode):
                tally.cases -= 1
                tally.refused += 1
                continue
        except Unencodable:
            tally.cases -= 1
            return
        except KeyError as problem:
            message = f"result of an unknown type {problem}"
        if message is None:
            tally.passed += 1
        else:
            label = MODE_NAMES[mode] + (f" {list(order)}" if order else "")
            tally.failures.append((label, message, describe_call(call)))


def check_random(name, wanted, found):
    """Type, sizes, and for large samples mean and deviation."""
    if len(wanted) != len(found):
        return f"{len(found)} results, {len(wanted)} are wanted"
    for w, f in zip(wanted, found):
        if w.dtype != f.dtype or list(w.shape) != list(f.shape):
            return (f"{NAMES.get(f.dtype)} {list(f.shape)}, {NAMES.get(w.dtype)} {list(w.shape)} are wanted")
        if w.numel() >= 1000 and not w.is_complex():
            a, b = w.double(), f.double()
            spread = a.std().item() + 1e-6
            if abs(a.mean() - b.mean()) > 8 * spread / math.sqrt(w.numel()) + 1e-3 \
                    or not 0.8 < (b.std().item() + 1e-6) / spread < 1.25:
                return f"mean {b.mean():.4g} deviation {b.std():.4g}, {a.mean():.4g} {spread:.4g} are wanted"
    return None


def random_cases():
    aten = torch.ops.aten
    size, p = [5000], torch.full((5000,), 0.3)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for op in (aten.rand, aten.randn):
            yield Call(op.default, (size,), {"dtype": dtype})
        for op in (aten.rand_like, aten.randn_like):
            yield Call(op.default, (torch.zeros(size, dtype=dtype),), {})
        yield Call(aten.bernoulli.default, (p.to(dtype),), {})
        yield Call(aten.native_dropout.default, (torch.ones(size, dtype=dtype), 0.25, True), {})
        yield Call(aten.normal_functional.default, (torch.zeros(size, dtype=dtype), 3.0, 2.0), {})
    yield Call(aten.randint.default, (10, size), {})
    yield Call(aten.randint.low, (-5, 10, size), {"dtype": torch.int32})
    yield Call(aten.randint_like.default, (torch.zeros(size, dtype=torch.int16), 7), {})
    yield Call(aten.randint_like.low_dtype, (torch.zeros(size), 3, 9), {})
    yield Call(aten.randperm.default, (5000,), {})
    yield Call(aten.bernoulli.p, (p, 0.8), {})
    yield Call(aten.normal.Tensor_float, (p, 2.0), {})
    yield Call(aten.normal.float_Tensor, (1.0, p), {})
    yield Call(aten.normal.Tensor_Tensor, (p, p), {})
    yield Call(aten.normal.float_float, (1.0, 2.0, size), {})
    yield Call(aten.uniform.default, (p, -1.0, 4.0), {})
    yield Call(aten.exponential.default, (p, 2.0), {})


def rare_cases(dtypes):
    for overload, args, kwargs in itertools.chain(rare.calls(torch, dtypes), rare.complex_calls(torch),
                                                   rare.random_calls(torch)):
        yield Call(overload, args, kwargs)


def with_aliases(calls, aliases):
    for call in calls:
        yield call
        for overload in aliases.get(op_name(call.overload), ()):
            yield Call(overload, clone_all(call.args), clone_all(call.kwargs))


def folder_cases(options):
    """Those that the folders of operators bring: calls(torch, dtypes) of src/ops/*/cases.py."""
    for path in sorted(glob.glob(os.path.join(source_folder(options), "*", "cases.py"))):
        module = {}
        exec(compile(open(path).read(), path, "exec"), module)
        for overload, args, kwargs in module["calls"](torch, [DTYPES[d] for d in options.dtype]):
            yield Call(overload, args, kwargs)


# --- work -------------------------------------------------------------------------------------

def matches(name, patterns):
    return not patterns or any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(name, "aten::" + p)
                               for p in patterns)


def run_units(units, options, progress, current, queue):
    """Runs units (("opinfo", index) or ("own", part, parts)); tells what it is at through `progress`."""
    library = Library(options.library)
    wanted = {name for name in library.ops if matches(name, options.op) and
              (not options.family or family_of(options).get(name) in options.family)}
    torch.set_num_threads(1)
    progress.value = 0
    checked = collections.Counter()
    seen = collections.Counter()
    aliases = rare.aliases_of(torch)
    for position, unit in enumerate(units):
        progress.value = position
        tallies = collections.defaultdict(Tally)
        unknown = collections.Counter()

        def take(calls, limit):
            for call in with_aliases(calls, aliases):
                name = op_name(call.overload)
                if name not in library.ops:
                    unknown[name] += 1
                    continue
                if name not in wanted:
                    continue
                key = signature(call)
                if seen[key] >= 2 or (limit and seen[(name, unit[-1])] >= limit):
                    continue
                seen[key] += 1
                seen[(name, unit[-1])] += 1
                current.value = describe_call(call).encode()[:500]
                run_call(library, call, tallies, checked)

        if unit[0] == "opinfo":
            op, dtype = op_db[unit[1]], DTYPES[unit[2]]
            try:
                torch.manual_seed(0)
                samples = []
                generator = op.sample_inputs("cpu", dtype, requires_grad=False)
                samples = list(itertools.islice(generator, 40))
                if hasattr(generator, "close"):
                    generator.close()  # not later, while a graph is traced
            except Exception:
                samples = []
            if len(samples) > options.limit:  # spread over what is there
                step = len(samples) / options.limit
                samples = [samples[int(i * step)] for i in range(options.limit)]
            for i, sample in enumerate(samples):
                composite = unit[2] == "f32" or (i == 0 and unit[2] in ("i64", "f16"))
                take(calls_of_sample(op, sample, composite), options.limit * 2)
        elif unit[0] == "own":
            take(own_cases(library, [unit[1]], options.dtype), 0)
        else:
            take(extra_cases(options.dtype), 0)
            take(random_cases(), 0)
            seen.clear()
            for call in itertools.chain(folder_cases(options), rare_cases([DTYPES[d] for d in options.dtype])):  # all of them: their values matter
                if op_name(call.overload) in wanted:
                    current.value = describe_call(call).encode()[:500]
                    run_call(library, call, tallies, checked)
        queue.put((position, {n: t.row() for n, t in tallies.items()}, dict(unknown)))
    queue.put(None)


def run_all(units, options):
    """Two processes; one that dies is started again behind the unit that killed it."""
    totals, unknown, crashes = collections.defaultdict(Tally), collections.Counter(), []
    context = multiprocessing.get_context("fork")
    deadline = time.time() + options.budget
    skipped = 0
    slots = []
    for k in range(options.jobs):
        slots.append({"units": units[k::options.jobs], "start": 0, "process": None})

    def start(slot):
        slot["queue"], slot["progress"] = context.Queue(), context.Value("i", 0)
        slot["current"] = context.Array(ctypes.c_char, 512)
        slot["process"] = context.Process(target=run_units, args=(
            slot["units"][slot["start"]:], options, slot["progress"], slot["current"],
            slot["queue"]))
        slot["process"].start()

    for slot in slots:
        start(slot)
    active = list(slots)
    while active:
        for slot in list(active):
            try:
                item = slot["queue"].get(timeout=0.2)
            except Exception:
                if slot["process"].is_alive():
                    if time.time() > deadline:
                        skipped += len(slot["units"]) - slot["start"] - slot["progress"].value
                        slot["process"].terminate()
                        active.remove(slot)
                    continue
                try:
                    item = slot["queue"].get(timeout=0.5)
                except Exception:
                    at = slot["start"] + slot["progress"].value
                    crashes.append((slot["units"][at], slot["process"].exitcode,
                                    slot["current"].value.decode(errors="replace")))
                    slot["start"] = at + 1
                    if slot["start"] < len(slot["units"]):
                        start(slot)
                    else:
                        active.remove(slot)
                    continue
            if item is None:
                slot["process"].join()
                active.remove(slot)
                continue
            for name, (cases, passed, refused, failures) in item[1].items():
                totals[name].cases += cases
                totals[name].passed += passed
                totals[name].refused += refused
                totals[name].failures += failures
            unknown.update(item[2])
            if time.time() > deadline and slot in active:
                skipped += len(slot["units"]) - slot["start"] - slot["progress"].value - 1
                slot["process"].terminate()
                active.remove(slot)
    return totals, unknown, crashes, skipped


def source_folder(options):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "ops")


_families = {}


def family_of(options):
    """Operator name -> folder under src/ops that defines it, from the schema texts there."""
    if not _families:
        for path in glob.glob(os.path.join(source_folder(options), "*", "*.def.cc")) + \
                glob.glob(os.path.join(source_folder(options), "*", "*.rows.h")):
            folder = os.path.basename(os.path.dirname(path))
            text = open(path).read()
            for name in re.findall(r'"([a-z_]+::[A-Za-z0-9_.]+)\(', text):
                _families[name] = folder
            for name in re.findall(r"^ROW_UNARY[A-Z_]*\((\w+)", text, re.M):
                _families["aten::" + name] = folder
            for name in re.findall(r'^ROW_\w+\(\w+, "([\w.]+)"', text, re.M):
                _families["aten::" + name] = folder
    return _families


def core_names():
    names = set()
    for base in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, base, None)
        if not isinstance(packet, torch._ops.OpOverloadPacket):
            continue
        for overload_name in packet.overloads():
            overload = getattr(packet, overload_name)
            if torch.Tag.core in overload.tags and is_functional(overload):
                names.add(op_name(overload))
    return names


def in_torch(name):
    namespace, _, rest = name.partition("::")
    packet, _, overload = rest.partition(".")
    return hasattr(getattr(torch.ops, namespace), packet) and hasattr(
        getattr(getattr(torch.ops, namespace), packet), overload or "default")


def listed_names(paths):
    """Operators of lists: a name per line, as aten.add.Tensor or aten::add.Tensor, first column."""
    names = set()
    for path in paths:
        for line in open(path):
            word = line.split("\t")[0].strip()
            if word.startswith("aten."):
                word = "aten::" + word[5:]
            if word.startswith("aten::"):
                names.add(word.removesuffix(".default"))
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", required=True, help="libsconce_optest.so")
    parser.add_argument("--op", action="append", default=[], help="operator names, * allowed; repeatable")
    parser.add_argument("--dtype", action="append", default=[], help="f32, i64, ...; repeatable")
    parser.add_argument("--family", action="append", default=[], help="folder under src/ops; repeatable")
    parser.add_argument("--limit", type=int, default=4, help="samples per OpInfo and dtype")
    parser.add_argument("--budget", type=float, default=450, help="seconds; what is left then is skipped")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--opinfo", help="only OpInfos of this name (pattern)")
    parser.add_argument("--own-only", action="store_true", help="only the cases of this file")
    parser.add_argument("--list", action="append", default=[], help="file of names that should be defined")
    parser.add_argument("--failures", type=int, default=1, help="failing cases to print per operator")
    parser.add_argument("--coverage", action="store_true", help="print what is recorded but not defined")
    options = parser.parse_args()
    all_dtypes = not options.dtype
    options.dtype = options.dtype or TESTED
    library = Library(options.library)
    units = [("own", name) for name in library.ops
             if name.startswith("aten::") and matches(name, options.op)] + [("extra", "extra")]
    if not options.own_only:
        for dtype in options.dtype:
            for index, op in enumerate(op_db):
                if options.opinfo and not fnmatch.fnmatch(op.name, options.opinfo):
                    continue
                if "sparse" in op.name or "nested" in op.name or op.name.startswith("linalg."):
                    if "norm" not in op.name and "multi_dot" not in op.name:
                        continue
                if op.supports_dtype(DTYPES[dtype], "cpu"):
                    units.append(("opinfo", index, dtype))
    started = time.time()
    totals, unknown, crashes, skipped = run_all(units, options)

    families = family_of(options)
    by_family = collections.defaultdict(lambda: [0, 0, 0, 0])
    failing = []
    print(f"{'operator':58} {'cases':>7} {'passed':>7} {'failed':>7} {'refused':>7}")
    for name in sorted(totals):
        t = totals[name]
        failed = t.cases - t.passed
        sums = by_family[families.get(name, "?")]
        sums[0] += 1
        sums[1] += failed == 0
        sums[2] += t.cases
        sums[3] += t.passed
        print(f"{name:58} {t.cases:7} {t.passed:7} {failed:7} {t.refused or '':>7}"
              f"{'  <--' if failed else ''}")
        if failed:
            failing.append(name)
    for name in failing:
        print(f"\n{name}:")
        for label, message, text in totals[name].failures[:options.failures]:
            print(f"  {label}: {message}\n    {text[:600]}")
    for unit, code, text in crashes:
        what = op_db[unit[1]].name + " " + unit[2] if unit[0] == "opinfo" else unit[1]
        print(f"\nCRASH (exit {code}) in {what}:\n    {text}")
    defined = set(library.ops)
    untested = sorted(n for n in defined if n not in totals and matches(n, options.op))
    core = core_names()
    lists = listed_names(options.list)
    missing = sorted((core | lists) - defined)
    print(f"\n{'family':20} {'ops':>6} {'clean':>6} {'cases':>8} {'passed':>8}")
    for family, (ops, clean, cases, passed) in sorted(by_family.items()):
        print(f"{family:20} {ops:6} {clean:6} {cases:8} {passed:8}")
    print(f"\ncore ATen operators defined: {len(core & defined)} of {len(core)}"
          + (f"; of the lists: {len(lists & defined)} of {len(lists)}" if lists else ""))
    whole = not options.op and not options.family and all_dtypes and not options.own_only
    if not options.op and not options.family:
        print(f"not defined: {' '.join(missing) or 'none'}")
    if whole:
        print(f"not torch's own, tested elsewhere: {' '.join(n for n in untested if not in_torch(n)) or 'none'}")
        untested = [n for n in untested if in_torch(n)]
        print(f"defined, no case: {' '.join(untested) or 'none'}")
    if options.coverage:
        print("recorded, not defined: " + " ".join(f"{n}({c})" for n, c in unknown.most_common()))
    cases, passed = sum(t.cases for t in totals.values()), sum(t.passed for t in totals.values())
    print(f"\n{len(totals)} operators, {cases} cases, {cases - passed} failed, {len(crashes)} crashes, "
          f"{skipped} units skipped, {time.time() - started:.0f} s")
    sys.exit(1 if cases != passed or crashes or whole and untested else 0)


if __name__ == "__main__":
    main()
