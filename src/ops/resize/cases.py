"""Calls that tests/ops compares with torch, beside those of torch's own samples."""
import itertools


def cases(torch, dtype):
    aten = torch.ops.aten
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


def calls(torch, dtypes):
    for dtype in dtypes:
        if dtype != torch.bool:
            yield from cases(torch, dtype)
