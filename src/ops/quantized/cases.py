"""Calls of quantising operators that tests/ops compares with torch, bit for bit.

ExecuTorch and torchao bring some of the operators; those of a package that is not installed are left
out, and said so.
"""
import importlib
import math
import sys


def calls(torch, dtypes):
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    q = torch.ops.quantized_decomposed
    generator = torch.Generator().manual_seed(0)

    def x(*sizes, dtype=torch.float32, scale=1.0):
        return (torch.randn(sizes, generator=generator) * scale).to(dtype)

    def whole(*sizes, dtype=torch.int8, low=-128, high=128):
        if dtype in (torch.uint8, torch.uint16):
            low, high = 0, high - low
        return torch.randint(low, high, sizes, generator=generator).to(dtype)

    edge = torch.tensor([0.0, -0.0, 0.5, -0.5, 1.5, 2.5, 1e30, -1e30, math.inf, -math.inf, math.nan,
                         1e-40, 127.49, -128.5])
    integers = {torch.int8: (-128, 127), torch.uint8: (0, 255), torch.int16: (-32768, 32767),
                torch.int32: (-2**31, 2**31 - 1), torch.uint16: (0, 65535)}
    floats = [d for d in (torch.float32, torch.float16, torch.bfloat16) if d in dtypes]

    def f32(*values):
        return torch.tensor(values, dtype=torch.float32)

    def f64(*values):
        return torch.tensor(values, dtype=torch.float64)

    def i64(*values, dtype=torch.int64):
        return torch.tensor(values, dtype=dtype)

    for dtype, (low, high) in integers.items():
        for of in floats:
            for y in (edge.to(of), x(3, 5, dtype=of), x(dtype=of), x(0, 3, dtype=of),
                      x(2, 3, 4, 5, dtype=of).contiguous(memory_format=torch.channels_last),
                      x(300, dtype=of, scale=40)):
                for scale, zero in ((1.0, 0), (0.037, 3), (1 / 3, low // 4), (1e-9, 0)):
                    yield q.quantize_per_tensor.default, (y, scale, zero, low, high, dtype), {}
            yield q.quantize_per_tensor.default, (x(40, dtype=of), 0.1, 1, max(low, -8), 7, dtype), {}
            yield q.quantize_per_tensor.tensor, (x(9, dtype=of), f32(0.3), i64(2), low, high, dtype), {}
            yield q.quantize_per_tensor.tensor2, \
                (x(9, dtype=of), f64(0.3), i64(2), i64(low), i64(high), dtype), {}
            for axis in (0, 1, -1):
                y = x(4, 6, 5, dtype=of, scale=3)
                scales = torch.rand(y.size(axis), generator=generator) * 0.2 + 0.01
                zeros = whole(y.size(axis), dtype=torch.int64, low=-5, high=5)
                for s in (scales, scales.double()):
                    yield q.quantize_per_channel.default, (y, s, zeros, axis, low, high, dtype), {}
                yield q.quantize_per_channel.default, (y, scales, zeros.int(), axis, low, high, dtype), {}
                yield q.quantize_per_channel.default, (y, scales, zeros.float(), axis, low, high, dtype), {}
            y = x(2, 3, 7, dtype=of)
            for s in (torch.float32, torch.float64, torch.float16):
                scales = (torch.rand(2, 3, 1, generator=generator) * 0.1 + 0.01).to(s)
                yield q.quantize_per_token.default, \
                    (y, scales, whole(2, 3, 1, dtype=torch.int64, low=-5, high=5), low, high, dtype), {}
        values = whole(3, 70, dtype=dtype, low=-100, high=100)
        for to in (None, *floats):
            yield q.dequantize_per_tensor.default, (values, 0.0371, 7, low, high, dtype), {"out_dtype": to}
            yield q.dequantize_per_tensor.tensor, (values, f64(0.0371), i64(-7), low, high, dtype), \
                {"out_dtype": to}
            for axis in (0, 1):
                scales = torch.rand(values.size(axis), generator=generator) + 0.01
                for zeros in (None, whole(values.size(axis), dtype=torch.int64),
                              whole(values.size(axis), dtype=torch.int32)):
                    for s in (scales, scales.double(), scales.half()):
                        yield q.dequantize_per_channel.default, (values, s, zeros, axis, low, high, dtype), \
                            {"out_dtype": to}
            if to:
                yield q.dequantize_per_token.default, \
                    (values, f64(0.1, 0.2, 0.3).view(3, 1), i64(1, -2, 3).view(3, 1), low, high, dtype, to), {}
                yield q.dequantize_per_token.default, \
                    (values, f32(0.1, 0.2, 0.3).view(3, 1), i64(1, -2, 3).view(3, 1), low, high, dtype, to), {}
        yield q.dequantize_per_tensor.default, (values[0, 0], 0.5, 1, low, high, dtype), {}
        yield q.dequantize_per_tensor.tensor2, (values, f32(0.5), i64(1), i64(low), i64(high), dtype), {}
    for of in floats:
        for y in (x(3, 40, dtype=of), x(7, dtype=of).abs() + 1, -x(7, dtype=of).abs() - 1,
                  torch.zeros(4, dtype=of), x(3, 2, 4, 2, dtype=of, scale=1e-3),
                  torch.tensor([math.inf, 1], dtype=of), torch.tensor([-math.inf, 1], dtype=of)):
            for low, high, dtype in ((-128, 127, torch.int8), (0, 255, torch.uint8), (-127, 127, torch.int8)):
                for eps in (1e-7, 0.1):
                    yield q.choose_qparams.tensor, (y, low, high, eps, dtype), {}
                    yield q.choose_qparams_symmetric.tensor, (y, low, high, eps, dtype), {}
            yield q.choose_qparams_per_token_asymmetric.default, (y, torch.int8), {}
            yield q.choose_qparams_per_token.default, (y, torch.int8), {}
        yield q.choose_qparams_per_token_asymmetric.default, (edge.to(of)[None], torch.int8), {}
        for group in (2, 4, 8, 100):
            y = x(3, 8, dtype=of)
            count = (3, 8 // group) if group < 9 else (3, 1)
            scales = torch.rand(count, generator=generator) * 0.1 + 0.02
            zeros = whole(*count, dtype=torch.int32, low=-3, high=3)
            yield q.quantize_per_channel_group.default, (y, scales, zeros, -8, 7, torch.int8, group), {}
            for z in (zeros, zeros.to(torch.int8), zeros.float(), None):
                yield q.dequantize_per_channel_group.default, \
                    (whole(3, 8, low=-8, high=8), scales, z, -8, 7, torch.int8, group, of), {}
    # Wrong calls.
    yield q.quantize_per_tensor.default, (x(3), 0.0, 0, -128, 127, torch.int8), {}
    yield q.quantize_per_tensor.default, (x(3), 1.0, 0, -129, 127, torch.int8), {}
    yield q.quantize_per_tensor.default, (x(3).double(), 1.0, 0, -128, 127, torch.int8), {}
    yield q.quantize_per_tensor.tensor, (x(3), f32(1, 2), i64(0), -128, 127, torch.int8), {}
    yield q.dequantize_per_tensor.default, (whole(3), 1.0, 0, 0, 255, torch.uint8), {}
    yield q.quantize_per_channel.default, (x(3, 4), f32(1, 2), i64(0, 0), 0, -128, 127, torch.int8), {}
    yield q.quantize_per_channel.default, (x(3, 4), f32(1, 2), i64(0, 0), 2, -128, 127, torch.int8), {}
    yield q.quantize_per_token.default, (x(3, 4), f32(1, 2), i64(0, 0), -128, 127, torch.int8), {}
    yield q.quantize_per_channel_group.default, (x(3, 5), f32(1, 2, 3), i64(0, 0, 0), -8, 7, torch.int8, 2), {}
    yield q.choose_qparams.tensor, (edge, -128, 127, 1e-7, torch.int8), {}
    yield q.choose_qparams.tensor, (x(0), -128, 127, 1e-7, torch.int8), {}

    try:
        importlib.import_module("torchao.quantization.quant_primitives")
    except ImportError as problem:
        print(f"[SKIP] torchao's operators: {problem}", file=sys.stderr)
    else:
        yield from blocks(torch, x, whole, floats)
    try:
        importlib.import_module("executorch.exir.passes._quant_patterns_and_replacements")
    except ImportError as problem:
        print(f"[SKIP] quantised embeddings: {problem}", file=sys.stderr)
        return
    for s in (torch.float32, torch.float16, torch.bfloat16):
        for indices in (torch.tensor([0, 4, 2]), torch.tensor([[1, 1]], dtype=torch.int32), torch.tensor(3)):
            for columns in (None, 1, 2):
                scales = (torch.rand(5, *([columns] if columns else []), generator=generator) + 0.1).to(s)
                for zeros in (None, scales * 3):
                    parts = (scales, zeros)
                    yield q.embedding_byte.default, (whole(5, 8), *parts, -128, 127, indices), {}
                    yield q.embedding_byte.default, (whole(5, 8, dtype=torch.uint8), *parts, 0, 255, indices), {}
                    yield q.embedding_4bit.default, (whole(5, 4, dtype=torch.uint8), *parts, -8, 7, indices), {}
                    yield q.embedding_2bit.default, (whole(5, 2, dtype=torch.uint8), *parts, -2, 1, indices), {}
                    for to in (torch.float32, torch.float16):
                        for op, table, limits in ((q.embedding_byte, whole(5, 8), (-128, 127)),
                                                  (q.embedding_4bit, whole(5, 4, dtype=torch.uint8), (-8, 7)),
                                                  (q.embedding_2bit, whole(5, 2, dtype=torch.uint8), (-2, 1))):
                            yield op.dtype, (table, *parts, *limits, indices), {"dtype": to}
    yield q.embedding_byte.default, (whole(5, 8), f32(1, 2, 3, 4, 5), None, -128, 127, torch.tensor([5])), {}
    yield q.embedding_byte.default, (whole(5, 8), f32(1, 2, 3, 4), None, -128, 127, torch.tensor([0])), {}


def blocks(torch, x, whole, floats):
    a = torch.ops.torchao
    shapes = (((4, 8), (1, 8)), ((4, 8), (4, 8)), ((4, 8), (1, 4)), ((4, 8), (2, 2)), ((2, 3, 8), (1, 1, 8)),
              ((2, 3, 4, 6), (1, 3, 4, 2)), ((2, 3, 8), (2, 1, 8)))
    for of in floats:
        for sizes, block in shapes:
            y = x(*sizes, dtype=of)
            block = list(block)
            counts = [s // b for s, b in zip(sizes, block)]
            for mapping, dtype, limits in (("ASYMMETRIC", torch.int8, (None, None)),
                                           ("SYMMETRIC", torch.int8, (-8, 7)),
                                           ("SYMMETRIC_NO_CLIPPING_ERR", torch.int8, (-8, 7)),
                                           ("ASYMMETRIC", torch.uint8, (0, 255))):
                for eps, scale_dtype, zero_dtype, keep in (
                        (None, None, None, False), (0.01, torch.float32, torch.int64, True),
                        (1e-7, torch.float64, torch.int8, False)):
                    for z in (y, torch.zeros_like(y)):
                        yield a.choose_qparams_affine.default, (z, mapping, block, dtype, *limits, eps, scale_dtype,
                                                                zero_dtype, keep), {}
            for s in (torch.float32, of, torch.float64):
                scales = (torch.rand(counts) * 0.1 + 0.02).to(s)
                for z in (torch.int8, torch.int32, torch.int64):
                    zeros = whole(*counts, dtype=z, low=-3, high=3)
                    yield a.quantize_affine.default, (y, block, scales, zeros, torch.int8, -8, 7), {}
                    yield a.quantize_affine.default, (y, block, scales, zeros, torch.int8), {}
                    yield a.dequantize_affine.default, (whole(*sizes), block, scales, zeros, torch.int8, -8, 7), \
                        {"output_dtype": of}
                yield a.dequantize_affine.default, (whole(*sizes), block, scales, None, torch.int8), \
                    {"output_dtype": of}
    yield a.quantize_affine.default, (x(4, 6), [1, 4], x(4, 1), whole(4, 1), torch.int8), {}
    yield a.quantize_affine.default, (x(4, 6), [6], x(4, 1), whole(4, 1), torch.int8), {}
    yield a.dequantize_affine.default, (whole(4, 6), [1, 6], x(4, 1), None, torch.uint8), {}
