"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def cases(torch, dtype):
    aten = torch.ops.aten
    torch.manual_seed(6)
    def t(*size):
        x = torch.randn(size) if dtype.is_floating_point else torch.randint(0, 50, size)
        return x.to(dtype)
    nan = t(1, 2, 6, 7)
    if dtype.is_floating_point:
        nan[0, 0, 2, 3] = nan[0, 1, 4, 4] = torch.nan
        nan[0, 0, 5, 5] = -torch.inf
    for ceil in (False, True):
        yield aten.max_pool1d.default, (t(2, 3, 11), [3], [2], [1], [2], ceil), {}
        yield aten.max_pool2d.default, (nan, [3, 2], [2, 1], [1, 0], [1, 2], ceil), {}
        yield aten.max_pool2d_with_indices.default, (nan, [3], [2], [1], [1], ceil), {}
        yield aten.max_pool2d_with_indices.default, (t(1, 1, 4, 300), [2, 3], [], [1, 1], [1, 1], ceil), {}
        yield aten.max_pool3d_with_indices.default, (t(2, 2, 6, 5, 7), [2, 3, 3], [1, 2, 2], [1, 1, 0], [1], ceil), {}
        yield aten.max_pool3d.default, (t(2, 6, 5, 7), [2], [], [0], [2, 1, 1], ceil), {}
        if dtype.is_floating_point:
            for include in (False, True):
                yield aten.avg_pool1d.default, (t(2, 3, 11), [3], [2], [1], ceil, include), {}
                for divisor in (None, 5):
                    yield aten.avg_pool2d.default, (t(2, 3, 7, 8), [3, 2], [2, 2], [1, 1], ceil, include, divisor), {}
                    yield aten.avg_pool3d.default, (t(2, 3, 5, 7, 8), [3, 2, 2], [2, 2, 1], [1, 0, 1], ceil, include,
                                                    divisor), {}
                    yield aten.avg_pool2d.default, (t(2, 3, 5, 4), [9, 8], [9, 2], [4, 4], ceil, include, divisor), {}
    if dtype.is_floating_point:
        for out in ([3], [1], [7], [13]):
            yield aten.adaptive_avg_pool1d.default, (t(2, 3, 10), out), {}
            yield aten.adaptive_max_pool1d.default, (t(2, 3, 10), out), {}
        for out in ([3, 4], [1, 1], [5, 9], [6, 14]):
            yield aten.adaptive_avg_pool2d.default, (t(2, 3, 6, 7), out), {}
            yield aten.adaptive_max_pool2d.default, (nan, out), {}
        yield aten.adaptive_avg_pool3d.default, (t(2, 3, 6, 7, 5), [2, 3, 4]), {}
        yield aten.adaptive_max_pool3d.default, (t(2, 3, 6, 7, 5), [2, 3, 4]), {}
        yield aten.adaptive_max_pool3d.default, (t(3, 6, 6, 4), [3, 2, 4]), {}
    if dtype in (torch.float32, torch.float64):
        x = t(2, 3, 7, 8)
        y, i = aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])
        yield (aten.max_pool2d_with_indices_backward.default,
               (torch.randn_like(y), x, [3, 3], [2, 2], [1, 1], [1, 1], False, i), {})
        y = aten.avg_pool2d(x, [3, 3], [2, 2], [1, 1])
        for include, divisor in ((True, None), (False, None), (True, 4)):
            yield (aten.avg_pool2d_backward.default,
                   (torch.randn_like(y), x, [3, 3], [2, 2], [1, 1], False, include, divisor), {})
        yield aten._adaptive_avg_pool2d_backward.default, (t(2, 3, 3, 5), x), {}


def calls(torch, dtypes):
    for dtype in dtypes:
        if dtype != torch.bool:
            yield from cases(torch, dtype)
