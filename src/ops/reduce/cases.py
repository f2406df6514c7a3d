"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def calls(torch, dtypes):
    aten = torch.ops.aten
    torch.manual_seed(5)
    for dtype in dtypes:
        if dtype == torch.bool:
            x = torch.randint(0, 2, (3, 40, 5)).to(dtype)
        else:
            x = torch.randint(-3, 4, (3, 40, 5)).abs().to(dtype)  # many are equal
        for dim, keep in ((1, False), (-1, True), (None, False), (None, True)):
            if dtype != torch.bool:
                yield aten.argmax.default, (x, dim, keep), {}
                yield aten.argmin.default, (x, dim, keep), {}
        for dim in (0, 1, -1):
            yield aten.max.dim, (x, dim), {}
            yield aten.min.dim, (x, dim, True), {}
            yield aten.any.dim, (x, dim), {}
            yield aten.all.dim, (x, dim, True), {}
            yield aten.cumsum.default, (x, dim), {}
            yield aten.cumprod.default, (x[:, 1:18].clamp(max=1) if dtype != torch.bool else x, dim), {}
        yield aten.any.dims, (x, [0, 2]), {}
        yield aten.sum.dim_IntList, (x, [0, 2], True), {}
        if not dtype.is_floating_point:
            continue
        nan = torch.randn(4, 33).to(dtype)
        nan[1, 7] = nan[1, 30] = nan[2, 0] = torch.nan
        nan[3] = -torch.inf
        for dim in (0, 1, None):
            yield aten.argmax.default, (nan, dim), {}
            yield aten.argmin.default, (nan, dim), {}
        yield aten.max.dim, (nan, 1), {}
        yield aten.min.dim, (nan, 0), {}
        yield aten.any.dim, (nan, 1), {}
        yield aten.cumsum.default, (nan, 1), {}
        wide = torch.randn(2, 3, 300).to(dtype)
        for correction in (0, 1, 2.5):
            yield aten.var.correction, (wide, [0, 2]), {"correction": correction, "keepdim": True}
            yield aten.std.correction, (wide, [-1]), {"correction": correction}
            yield aten.var_mean.correction, (wide, [1]), {"correction": correction}
        yield aten.mean.default, (wide,), {}
        yield aten.prod.default, (wide[0, 0],), {}
