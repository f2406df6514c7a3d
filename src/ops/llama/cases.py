"""Calls of ExecuTorch's operators for language models that tests/ops compares with ExecuTorch's own
kernels. They come with executorch; without it they are left out, and said so.
"""
import importlib
import sys


def calls(torch, dtypes):
    try:
        importlib.import_module("executorch.extension.llm.custom_ops.custom_ops")
    except (ImportError, OSError) as problem:
        print(f"[SKIP] llama operators: {problem}", file=sys.stderr)
        return
    llama = torch.ops.llama
    generator = torch.Generator().manual_seed(0)

    def x(*sizes, dtype=torch.float32):
        return torch.randn(sizes, generator=generator).to(dtype)

    # Queries, keys and values: [batch, positions, heads, features].
    sdpa = llama.custom_sdpa.default
    f32 = torch.float32 in dtypes
    for start, count, positions, heads, shared in ((0, 1, 8, 2, 2), (0, 5, 8, 4, 2), (7, 1, 8, 4, 1),
                                                   (3, 4, 40, 6, 3), (2, 38, 40, 2, 2)):
        if not f32:
            break
        q, k, v = x(2, count, heads, 8), x(2, positions, shared, 8), x(2, positions, shared, 8)
        yield sdpa, (q, k, v, start, None, 0.0, True), {}
        yield sdpa, (q, k, v, start, None, 0.0, False), {}
        yield sdpa, (q, k, v, start, None, 0.0, True, 0.25), {}
        mask = torch.zeros(count, positions).masked_fill(torch.rand(count, positions, generator=generator)
                                                         > 0.6, -torch.inf)
        mask[:, 0] = 0.5  # every query sees a key: ExecuTorch divides by zero otherwise
        yield sdpa, (q, k, v, start, mask), {}
        yield sdpa, (q, k, v, 1000, mask), {}  # a mask says all
        yield llama.sdpa_with_kv_cache.default, (
            q, x(2, count, shared, 8), x(2, count, shared, 8), k.clone(), v.clone(), start, count, None,
            0.0, True), {}
    # Integers, with a scale and zero point for each position and head.
    for heads_first in (False, True) if f32 else ():
        for start, count in ((0, 5), (6, 1)):
            q, k = (2, count, 4, 8), (2, 7, 2, 8)
            if heads_first:
                q, k = (q[0], q[2], q[1], q[3]), (k[0], k[2], k[1], k[3])
            operands, parameters = [], []
            for sizes in (q, k, k):
                operands.append(torch.randint(-128, 128, sizes, generator=generator).to(torch.int8))
                few = (*sizes[:3], 1)
                parameters += [torch.randint(-9, 9, few, generator=generator).to(torch.int8),
                               torch.rand(few, generator=generator) * 0.02 + 0.001]
            for causal in (True, False):
                yield llama.custom_quantized_sdpa.default, (
                    *operands, start, None, 0.0, causal, None, *parameters, heads_first), {}

    for dtype in dtypes:
        for rows, start in ((1, 0), (3, 2), (6, 0), (1, 5)):
            cache, value = x(2, 6, 3, 4).mul(9).to(dtype), x(2, rows, 3, 4).mul(9).to(dtype)
            yield llama.update_cache.default, (value, cache, start), {}
            at = torch.stack([torch.randperm(6, generator=generator)[:rows] for _ in range(2)])
            yield llama.update_cache_with_indices.default, (value, cache.clone(), 0, at), {}

    hadamard = llama.fast_hadamard_transform.default
    if f32:  # ExecuTorch rounds halves after every sum
        for width in (1, 2, 8, 64, 128, 28, 56, 28 * 16):
            yield hadamard, (x(3, width),), {}
        yield hadamard, (x(2, 3, 4, 32),), {}
        yield hadamard, (x(16),), {}
