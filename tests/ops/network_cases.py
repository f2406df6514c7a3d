"""Cases for the layers of networks: products, convolutions, pooling, resizing, attention, recurrence.

torch's own samples have no recurrent layers and few odd geometries. Yields (overload, arguments,
keyword arguments); every value is small, so that half precision stays in range.
"""
import itertools

import torch

aten = torch.ops.aten


def recurrent(dtype):
    torch.manual_seed(3)
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
        for layers, directions, bias, batch_first, projection in (
                (1, 1, True, False, 0), (2, 1, True, True, 0), (3, 2, True, False, 0), (1, 2, False, True, 0),
                (2, 2, True, True, 3), (1, 1, False, False, 2)):
            if projection and name != "lstm":
                continue
            features, hidden, batch, steps = 5, 4, 3, 6
            out = projection or hidden
            parameters = []
            for layer in range(layers):
                for _ in range(directions):
                    sizes = [(gates * hidden, features if layer == 0 else out * directions), (gates * hidden, out)]
                    sizes += [(gates * hidden,)] * 2 if bias else []
                    sizes += [(projection, hidden)] if projection else []
                    parameters += [torch.randn(size).mul(0.5).to(dtype) for size in sizes]
            x = torch.randn((batch, steps, features) if batch_first else (steps, batch, features)).to(dtype)
            h = torch.randn(layers * directions, batch, out).to(dtype)
            c = torch.randn(layers * directions, batch, hidden).to(dtype)
            yield (getattr(aten, name).input, (x, [h, c] if name == "lstm" else h, parameters, bias, layers, 0.0, False,
                                               directions == 2, batch_first), {})
        x, h = torch.randn(3, 5).to(dtype), torch.randn(3, 4).to(dtype)
        w = [torch.randn(gates * 4, 5).to(dtype), torch.randn(gates * 4, 4).to(dtype)]
        b = [torch.randn(gates * 4).to(dtype), torch.randn(gates * 4).to(dtype)]
        cell = getattr(aten, name.replace("rnn_tanh", "rnn_tanh") + "_cell").default
        yield cell, (x, [h, h * 0.5] if name == "lstm" else h, *w, *b), {}
        yield cell, (x, [h, h * 0.5] if name == "lstm" else h, *w), {}


def attention(dtype):
    torch.manual_seed(4)
    sdpa = aten.scaled_dot_product_attention.default
    def t(*size):
        return torch.randn(size).to(dtype)
    q, k, v = t(2, 4, 5, 8), t(2, 4, 7, 8), t(2, 4, 7, 6)
    yield sdpa, (q, k, v), {}
    yield sdpa, (q, k, v, None, 0.0, True), {}
    yield sdpa, (q, k, v), {"scale": 0.3}
    yield sdpa, (t(2, 8, 5, 8), k, v), {"enable_gqa": True}
    yield sdpa, (t(2, 8, 5, 8), t(2, 1, 7, 8), t(2, 2, 7, 6)), {"enable_gqa": True}
    yield sdpa, (t(5, 8), t(7, 8), t(7, 6)), {}
    yield sdpa, (t(3, 5, 8), t(3, 7, 8), t(3, 7, 6)), {}
    yield sdpa, (t(2, 4, 40, 8), t(2, 4, 40, 8), t(2, 4, 40, 8), None, 0.0, True), {}
    keep = torch.rand(2, 1, 5, 7) > 0.4
    keep[0, 0, 2] = False  # a query that may see no key
    for mask in (keep, keep[0, 0], torch.rand(7) > 0.5, torch.zeros(5, 7).masked_fill(~keep[0, 0], -torch.inf),
                 torch.randn(2, 4, 5, 7), torch.randn(2, 1, 1, 7), torch.full((5, 7), -1e9)):
        yield sdpa, (q, k, v, mask if mask.dtype == torch.bool else mask.to(dtype)), {}
    flash = aten._scaled_dot_product_flash_attention_for_cpu.default
    if dtype in (torch.float32, torch.float64):
        v = t(2, 4, 7, 8)
        yield flash, (q, k, v), {}
        yield flash, (q, k, v), {"attn_mask": torch.randn(2, 4, 5, 7).to(dtype), "scale": 0.2}
        yield flash, (t(2, 4, 7, 8), k, v, 0.0, True), {}


def convolutions(dtype):
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


def pooling(dtype):
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


def resizing(dtype):
    torch.manual_seed(7)
    def t(*size):
        return (torch.rand(size) * 4 - 2).to(dtype) if dtype.is_floating_point else torch.randint(0, 256, size).to(dtype)
    images = {1: t(2, 3, 7), 2: t(2, 3, 6, 7), 3: t(2, 2, 4, 6, 5)}
    sizes = {1: ([14], [5], [1], [7]), 2: ([12, 14], [5, 4], [1, 9], [6, 7]), 3: ([8, 12, 10], [3, 4, 7])}
    scales = {1: ([2.0], [1.7], [0.6]), 2: ([2.0, 2.0], [1.3, 0.7]), 3: ([2.0, 2.0, 2.0], [1.5, 0.8, 1.2])}
    for spatial in (1, 2, 3):
        x = images[spatial]
        for name in (f"upsample_nearest{spatial}d", f"_upsample_nearest_exact{spatial}d"):
            if dtype.is_floating_point or dtype == torch.uint8:
                for size in sizes[spatial]:
                    yield getattr(aten, name).vec, (x, size, None), {}
                    yield getattr(aten, name).default, (x, size), {}
                for scale in scales[spatial]:
                    yield getattr(aten, name).vec, (x, None, scale), {}
        names = {1: ("upsample_linear1d",), 3: ("upsample_trilinear3d",),
                 2: ("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa")}
        for name, corners in itertools.product(names[spatial], (False, True)):
            if not dtype.is_floating_point and (dtype != torch.uint8 or spatial != 2):
                continue
            for size in sizes[spatial]:
                yield getattr(aten, name).vec, (x, size, corners, None), {}
                yield getattr(aten, name).default, (x, size, corners), {}
            for scale in scales[spatial]:
                yield getattr(aten, name).vec, (x, None, corners, scale), {}
    if dtype in (torch.float32, torch.float64):
        grid = torch.rand(2, 5, 4, 2).mul(3).sub(1.5).to(dtype)
        grid[0, 0, 0] = 1
        grid[0, 0, 1] = -1
        volume = torch.rand(2, 3, 5, 4, 3).mul(3).sub(1.5).to(dtype)
        for mode, padding, corners in itertools.product((0, 1, 2), (0, 1, 2), (False, True)):
            yield aten.grid_sampler_2d.default, (images[2], grid, mode, padding, corners), {}
            if mode < 2:
                yield aten.grid_sampler_3d.default, (images[3], volume, mode, padding, corners), {}
        yield aten.grid_sampler.default, (images[2], grid, 0, 0, False), {}
        for corners in (False, True):
            yield aten.affine_grid_generator.default, (torch.randn(2, 2, 3).to(dtype), [2, 3, 4, 5], corners), {}
            yield aten.affine_grid_generator.default, (torch.randn(2, 3, 4).to(dtype), [2, 3, 4, 1, 2], corners), {}


def products(dtype):
    torch.manual_seed(8)
    def t(*size):
        x = torch.randn(size) if dtype.is_floating_point else torch.randint(-5, 6, size)
        return x.to(dtype)
    for m, n, k in ((1, 1, 1), (0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 9, 200), (5, 33, 130), (130, 9, 3), (3, 17, 300)):
        yield aten.mm.default, (t(m, k), t(k, n)), {}
        yield aten.mm.default, (t(k, m).t(), t(n, k).t()), {}
        yield aten.bmm.default, (t(2, m, k), t(2, k, n)), {}
        yield aten.addmm.default, (t(n), t(m, k), t(k, n)), {}
        yield aten.addmm.default, (t(m, 1), t(m, k), t(k, n)), {"beta": 2, "alpha": 3}
        yield aten.addmm.default, (t(1), t(m, k), t(k, n)), {"beta": 0}
        yield aten.baddbmm.default, (t(1, n), t(2, m, k), t(2, k, n)), {"beta": 2, "alpha": -1}
        yield aten.linear.default, (t(m, k), t(n, k), t(n)), {}
        yield aten.linear.default, (t(2, m, k), t(n, k)), {}
    yield aten.linear.default, (t(6), t(4, 6), t(4)), {}
    yield aten.linear.default, (t(2, 6), t(6)), {}
    yield aten.linear.default, (t(2, 3, 4, 6), t(5, 6), t(5)), {}
    for a, b in (((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4,)), ((2, 3, 4), (4, 5)), ((4,), (2, 4, 3)),
                 ((3, 4), (2, 4, 3)), ((2, 1, 3, 4), (5, 4, 2)), ((5, 3, 4), (5, 4, 2)), ((1, 3, 4), (5, 4, 2)),
                 ((0, 3, 4), (4, 2)), ((2, 3, 4), (1, 4, 5))):
        yield aten.matmul.default, (t(*a), t(*b)), {}
    yield aten.outer.default, (t(3), t(4)), {}
    yield aten.inner.default, (t(2, 3), t(4, 3)), {}
    yield aten.kron.default, (t(2, 3), t(4)), {}
    yield aten.tensordot.default, (t(2, 3, 4), t(4, 3, 5), [2, 1], [0, 1]), {}
    yield aten.chain_matmul.default, ([t(2, 3), t(3, 4), t(4, 5)],), {}
    for equation, operands in (
            ("ij,jk->ik", ((2, 3), (3, 4))), ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))), ("i,j->ij", ((2,), (3,))),
            ("ii->i", ((3, 3),)), ("ij->ji", ((2, 3),)), ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))),
            ("...ij,jk", ((2, 3, 4), (4, 5))), ("bhqd,bhkd->bhqk", ((2, 3, 4, 5), (2, 3, 6, 5))),
            ("ijk,ijk->", ((2, 3, 4), (2, 3, 4))), ("i,ij,j->", ((2,), (2, 3), (3,))), ("ij,ij->ij", ((2, 3), (2, 3))),
            ("ij,kj->ik", ((1, 3), (4, 3))), ("bnrd,rdm->bnm", ((2, 3, 4, 5), (4, 5, 6))), ("i...->...", ((2, 3, 4),)),
            ("aij,jk,kl->ail", ((2, 3, 4), (4, 5), (5, 6))), ("ij,k->k", ((2, 3), (4,))), ("b i j , b j -> b i",
                                                                                     ((2, 3, 4), (2, 4)))):
        if len(operands) == 1 and not dtype.is_floating_point:
            continue
        yield aten.einsum.default, (equation, [t(*size) for size in operands]), {}
    yield aten.einsum.default, ("ij,jk,kl->il", [t(2, 3), t(3, 4), t(4, 5)]), {"path": [1, 2, 0, 1]}
    if dtype.is_floating_point:
        yield aten.bilinear.default, (t(3, 4), t(3, 5), t(6, 4, 5), t(6)), {}
        yield aten.bilinear.default, (t(2, 3, 4), t(2, 3, 5), t(6, 4, 5)), {}


def network_cases(dtypes):
    for dtype in dtypes:
        if dtype == torch.bool:
            continue
        if dtype.is_floating_point:
            yield from recurrent(dtype)
            yield from attention(dtype)
        if dtype not in (torch.int8, torch.int16):
            yield from convolutions(dtype)
        yield from pooling(dtype)
        yield from resizing(dtype)
        yield from products(dtype)
