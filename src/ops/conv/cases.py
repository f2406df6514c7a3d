"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def cases(torch, dtype):
    aten = torch.ops.aten
    torch.manual_seed(5)
    def t(*size):
        x = torch.randn(size) if dtype.is_floating_point else torch.randint(-3, 4, size)
        return x.to(dtype)
    conv = aten.convolution.default
    # Depthwise, grouped, dilated, strided, uneven padding, one element; also transposed.
    for spatial in (1, 2, 3):
        size = (9, 8, 7)[:spatial]
        for groups, cin, cout, kernel, stride, padding, dilation in (
                (1, 3, 5, 3, 1, 1, 1), (6, 6, 6, 3, 2, 1, 1), (2, 4, 6, 2, 1, 0, 2), (4, 4, 8, 3, 3, 2, 1),
                (1, 2, 3, 1, 2, 0, 1), (3, 3, 3, 5, 1, 2, 1), (1, 1, 1, 4, 2, 3, 1)):
            if spatial == 3 and kernel > 4:
                continue
            x = t(2, cin, *size)
            w = t(cout, cin // groups, *[kernel] * spatial)
            b = t(cout)
            lists = [stride] * spatial, [padding] * spatial, [dilation] * spatial
            yield conv, (x, w, b, *lists, False, [0] * spatial, groups), {}
            yield conv, (x, w, None, *lists, False, [0] * spatial, groups), {}
            w = t(cin, cout // groups, *[kernel] * spatial)
            for extra in {0, min(max(stride, dilation) - 1, 1)}:
                yield conv, (x, w, b, *lists, True, [extra] * spatial, groups), {}
    yield conv, (t(0, 3, 5, 5), t(2, 3, 3, 3), t(2), [1, 1], [1, 1], [1, 1], False, [0, 0], 1), {}
    yield conv, (t(1, 3, 300, 5), t(40, 3, 3, 3), t(40), [1], [1], [1], False, [0], 1), {}
    yield conv, (t(1, 40, 6, 150), t(200, 40, 1, 1), t(200), [1], [0], [1], False, [0], 1), {}
    for name, spatial in (("conv1d", 1), ("conv2d", 2), ("conv3d", 3)):
        base = getattr(aten, name)
        x, w = t(3, *(6, 7, 8)[:spatial]), t(4, 3, *[4] * spatial)
        yield base.default, (x, w), {}
        yield base.padding, (x[None], w, t(4), [1], "same"), {}
        yield base.padding, (x, w, t(4), [1], "same", [2]), {}
        yield base.padding, (x[None], w, t(4), [2], "valid"), {}
    yield aten.conv2d.default, (t(1, 3, 9, 9), t(4, 3, 3, 2), None, [2, 1], [1, 0], [1, 2]), {}
    if dtype in (torch.float32, torch.float64):
        x, w = t(2, 4, 7, 8), t(6, 2, 3, 3)
        for is_transposed, w, groups in ((False, t(6, 2, 3, 3), 2), (True, t(4, 3, 3, 3), 2), (False, t(4, 1, 3, 3), 4)):
            y = conv(x, w, None, [2, 1], [1, 1], [1, 2], is_transposed, [0, 0], groups)
            yield (aten.convolution_backward.default,
                   (torch.randn_like(y), x, w, [y.shape[1]], [2, 1], [1, 1], [1, 2], is_transposed, [0, 0], groups,
                    [True, True, True]), {})
    if dtype.is_floating_point:
        for kernel, dilation, padding, stride in (([3, 2], [1, 2], [1, 1], [2, 1]), ([2, 2], [1, 1], [0, 0], [2, 2])):
            x = t(2, 3, 7, 8)
            yield aten.im2col.default, (x, kernel, dilation, padding, stride), {}
            yield aten.im2col.default, (x[0], kernel, dilation, padding, stride), {}
            columns = aten.im2col(x, kernel, dilation, padding, stride)
            yield aten.col2im.default, (columns, [7, 8], kernel, dilation, padding, stride), {}
            yield aten.col2im.default, (columns[0], [7, 8], kernel, dilation, padding, stride), {}


def calls(torch, dtypes):
    for dtype in dtypes:
        if dtype not in (torch.bool, torch.int8, torch.int16):
            yield from cases(torch, dtype)
