"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def calls(torch, dtypes):
    a = torch.ops.aten

    def x(*sizes, dtype=torch.float32):
        count = 1
        for size in sizes:
            count *= size
        return (torch.arange(count) % 251).reshape(sizes).to(dtype)

    many = x(150, 2)
    yield a.split.Tensor, (many, 2), {}
    yield a.unbind.int, (many, 0), {}
    yield a.chunk.default, (many, 100), {}
    yield a.split_with_sizes.default, (many, [1] * 140 + [10]), {}
    four = x(2, 6, 4, 5)
    last = four.contiguous(memory_format=torch.channels_last)
    for dtype in dtypes:
        t = x(2, 3, 4, dtype=dtype)
        yield a.view.default, (t, [4, -1]), {}
        yield a.permute.default, (t, [2, 0, 1]), {}
        yield a.transpose.int, (t, 0, -1), {}
        yield a.slice.Tensor, (t, 1, 1, 9, 2), {}
        yield a.select.int, (t, -1, -2), {}
        yield a.cat.default, ([t, t[:, :1]], 1), {}
        yield a.cat.default, ([t, x(2, 3, 4)], 1), {}
        yield a.cat.default, ([x(0), t], -1), {}
        yield a.stack.default, ([t, t], -1), {}
        yield a.stack.default, ([t, x(2, 3, 4, dtype=torch.int64)], 1), {}
        yield a.constant_pad_nd.default, (t, [1, 2, -1, 0], 1), {}
        yield a.flip.default, (t, [0, -1]), {}
        yield a.roll.default, (t, [5, -1], [0, 2]), {}
        yield a.roll.default, (t, [7]), {}
        yield a.repeat.default, (t, [2, 1, 3, 2]), {}
        yield a.split.Tensor, (t, 3, 2), {}
        yield a.split_with_sizes.default, (t, [1, 0, 3], 2), {}
        yield a.unbind.int, (t, 1), {}
        yield a.expand.default, (t[:, :1], [5, -1, 3, -1]), {}
        yield a.diag_embed.default, (t, 1, 0, 2), {}
        yield a.diag_embed.default, (t, -2, 3, 1), {}
        yield a.diagonal_scatter.default, (t, x(4, 2, dtype=dtype), 0, 0, 1), {}
        yield a.diagonal_scatter.default, (x(3, 4, 5, dtype=dtype), x(4, 3, dtype=dtype), -2, 2, 0), {}
        yield a.slice_scatter.default, (t, x(2, 2, 4, dtype=dtype), 1, 0, 9, 2), {}
        yield a.select_scatter.default, (t, x(2, 4, dtype=dtype), 1, -1), {}
        yield a.as_strided_scatter.default, (t, x(2, 2, dtype=dtype), [2, 2], [5, 2], 3), {}
        yield a.view.dtype, (t, torch.uint8), {}
    for y in (four, last, four.transpose(0, 1), four.permute(3, 1, 0, 2)):
        yield a.view.default, (y.contiguous(), [12, 20]), {}
        yield a.reshape.default, (y, [-1, 8]), {}
        yield a.permute.default, (y, [0, 2, 3, 1]), {}
        yield a.permute.default, (y, [3, 2, 1, 0]), {}
        yield a.transpose.int, (y, 1, 3), {}
        yield a.slice.Tensor, (y, 2, -3, None, 2), {}
        yield a.select.int, (y, 1, 1), {}
        yield a.unsqueeze.default, (y, -2), {}
        yield a.cat.default, ([y, y], 1), {}
        yield a.cat.default, ([y, y[:, :, :1]], 2), {}
        yield a.stack.default, ([y, y], 4), {}
        yield a.flip.default, (y, [1, 2]), {}
        yield a.roll.default, (y, [1, 1], [2, 3]), {}
        yield a.roll.default, (y, [11]), {}
        yield a.repeat.default, (y, [1, 2, 1, 2]), {}
        yield a.constant_pad_nd.default, (y, [1, 1, 0, 2, 3, 0], 0.5), {}
        yield a.constant_pad_nd.default, (y, [-1, -1, 2, -3], -1.0), {}
        for mode in ("reflect", "replicate", "circular"):
            yield a.pad.default, (y, [1, 2, 2, 1], mode), {}
            yield a.pad.default, (y, [-1, 2, 1, -1], mode), {}
        yield a.pixel_unshuffle.default, (y[:, :, :y.size(2) // 2 * 2, :y.size(3) // 2 * 2], 2), {}
        yield a.unfold.default, (y, 1, 2, 1), {}
        yield a.unfold.default, (y, -1, 2, 2), {}
        yield a.diagonal.default, (y, 1, 2, 1), {}
        yield a.diagonal.default, (y, -9, 0, 3), {}
        yield a.channel_shuffle.default, (y, 1), {}
        yield a.squeeze.dims, (y[:1, :, :1], [0, 1, 2]), {}
        yield a.expand.default, (y[:, :, :1], [3, -1, -1, 7, -1]), {}
    yield a.channel_shuffle.default, (four, 3), {}
    yield a.native_channel_shuffle.default, (last, 2), {}
    yield a.pixel_shuffle.default, (x(2, 3, 8, 3, 2), 2), {}
    yield a.pixel_shuffle.default, (x(1, 9, 3, 2).contiguous(memory_format=torch.channels_last), 3), {}
    three = x(2, 3, 4, 5, 6)
    for mode in ("reflect", "replicate", "circular"):
        yield a.pad.default, (three, [1, 2, 3, 0, 2, 1], mode), {}
        yield a.pad.default, (three[0], [1, 2, 3, 0, 2, 1], mode) if mode != "circular" else \
            (three, [0, 0, 1, 1, 0, 0], mode), {}
        yield a.pad.default, (x(3, 7), [3, 2], mode) if mode != "circular" else (x(1, 3, 7), [7, 2], mode), {}
    for i in range(4):
        yield a._pad_enum.default, (x(1, 3, 7), [2, 1], i), {}
    for chunks in (1, 2, 3, 4, 5, 9):
        yield a.chunk.default, (four, chunks, 1), {}
        yield a.tensor_split.sections, (four, chunks, 3), {}
    yield a.chunk.default, (x(0, 3), 3, 0), {}
    yield a.split.Tensor, (x(0, 3), 3, 0), {}
    yield a.tensor_split.indices, (four, [1, 4, 3, -1], 1), {}
    yield a.hsplit.array, (x(7), [2, 3]), {}
    yield a.split.sizes, (four, [1, 3], 2), {}
    yield a.narrow.default, (four, 1, 2, 3), {}
    yield a.narrow.default, (four, 1, -2, 1), {}
    yield a.narrow_copy.default, (four, 1, -2, 2), {}
    for k in range(-2, 6):
        yield a.rot90.default, (four, k, [1, 3]), {}
    for indexing in ("ij", "xy"):
        yield a.meshgrid.indexing, ([x(3), x(4), x(2)],), {"indexing": indexing}
        yield a.meshgrid.indexing, ([x(3), torch.tensor(2.0)],), {"indexing": indexing}
    yield a.meshgrid.default, ([x(3), x(4)],), {}
    yield a.repeat_interleave.self_int, (four, 3, 1), {}
    yield a.repeat_interleave.self_int, (four, 2), {}
    yield a.repeat_interleave.self_Tensor, (four, torch.tensor([1, 0, 2, 3, 1, 1]), 1), {}
    yield a.repeat_interleave.self_Tensor, (four, torch.tensor([2]), 2), {}
    yield a.repeat_interleave.self_Tensor, (four, torch.tensor(2), -1), {}
    yield a.flatten.using_ints, (four, 1, 2), {}
    yield a.flatten.using_ints, (torch.tensor(3.0), 0, -1), {}
    yield a.unflatten.int, (four, 1, [2, -1]), {}
    yield a.unflatten.int, (four, -1, [5, 1]), {}
    yield a.movedim.intlist, (four, [0, 3], [2, 0]), {}
    yield a.movedim.int, (four, -1, 1), {}
    yield a.as_strided.default, (x(4, 6), [3, 2], [1, 7], 2), {}
    yield a.block_diag.default, ([x(2, 3), x(2), torch.tensor(5.0), x(1, 4)],), {}
    yield a.combinations.default, (x(5), 3, False), {}
    yield a.combinations.default, (x(3), 2, True), {}
    yield a.cartesian_prod.default, ([x(3), x(2), x(2)],), {}
    yield a.diag.default, (x(4), -1), {}
    yield a.diag.default, (x(4, 5), 1), {}
    yield a.atleast_3d.Sequence, ([x(2), x(2, 3), torch.tensor(1.0)],), {}
    yield a.broadcast_tensors.default, ([x(2, 1), x(3)],), {}
    yield a.column_stack.default, ([x(3), x(3, 2), ],), {}
    yield a.hstack.default, ([x(3), x(2)],), {}
    yield a.dstack.default, ([x(2, 3), x(2, 3)],), {}
    scalar = torch.tensor(4.0)
    for op in (a.squeeze.default, a.t.default, a.ravel.default, a.atleast_2d.default, a.mT.default,
               a.view_copy.default, a.squeeze_copy.default):
        yield op, (scalar, []) if op is a.view_copy.default else (scalar,), {}
    yield a.transpose.int, (scalar, 0, -1), {}
    yield a.flip.default, (scalar, [0]), {}
    yield a.roll.default, (scalar, [2]), {}
    yield a.roll.default, (scalar, [2], [0]), {}
    yield a.unfold.default, (scalar, 0, 1, 1), {}
    yield a.expand.default, (scalar, [2, 3]), {}
    yield a.repeat.default, (scalar, [2, 3]), {}
    yield a.repeat.default, (x(2), [0, 3]), {}
    yield a.unbind.int, (x(0, 3), 1), {}
    complex_x = torch.complex(x(2, 3), x(2, 3) + 1)
    yield a.view_as_real.default, (complex_x,), {}
    yield a.view_as_complex.default, (x(3, 2),), {}
    for old, new in ((torch.float32, torch.int16), (torch.int16, torch.float32), (torch.uint8, torch.int64)):
        yield a.view.dtype, (x(3, 8, dtype=old), new), {}
    yield a.slice_backward.default, (x(2, 2), [2, 5], 1, 1, 4, 2), {}
    yield a.select_backward.default, (x(5), [2, 5], 0, 1), {}
    yield a.diagonal_backward.default, (x(2), [2, 5], 1, 0, 1), {}
    # Wrong calls: torch refuses these, and so must we without harm.
    yield a.view.default, (four, [7, -1]), {}
    yield a.view.default, (four, [-1, -1]), {}
    yield a.view.default, (x(0, 3), [0, -1]), {}
    yield a.select.int, (four, 1, 6), {}
    yield a.select.int, (scalar, 0, 0), {}
    yield a.permute.default, (four, [0, 1, 2, 2]), {}
    yield a.cat.default, ([four, x(2, 6, 4)], 0), {}
    yield a.cat.default, ([four, four[:, :2]], 0), {}
    yield a.slice.Tensor, (four, 1, 0, 3, 0), {}
    yield a.slice.Tensor, (four, 4, 0, 3, 1), {}
    yield a.split_with_sizes.default, (four, [1, 2], 1), {}
    yield a.expand.default, (four, [2, 6, 4, 6]), {}
    yield a.expand.default, (four, [5]), {}
    yield a.as_strided.default, (x(4, 6), [4, 6], [6, 2], 2), {}
    yield a.as_strided.default, (x(4, 6), [2**31 - 1, 2**31 - 1], [2**40, 2**40], 0), {}
    yield a.unfold.default, (four, 1, 7, 1), {}
    yield a.reflection_pad1d.default, (x(1, 3, 4), [4, 0]), {}
    yield a.replication_pad2d.default, (x(1, 3, 4), [-3, -2, 0, 0]), {}
    yield a.constant_pad_nd.default, (x(3), [-2, -2], 0), {}
    yield a.repeat.default, (four, [2, 2]), {}
    yield a.flip.default, (four, [1, -3]), {}
    yield a.pixel_shuffle.default, (four, 4), {}
    yield a.diag_embed.default, (x(3), 2**62, 0, 1), {}
