"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def calls(torch, dtypes):
    a = torch.ops.aten

    def x(*sizes, dtype=torch.float32):
        count = 1
        for size in sizes:
            count *= size
        return (torch.arange(count) % 97).reshape(sizes).to(dtype)

    def i(*values, dtype=torch.int64):
        return torch.tensor(list(values), dtype=dtype)

    four = x(2, 5, 3, 4)
    mask = (x(2, 5) % 3 == 1)
    for y in (four, four.contiguous(memory_format=torch.channels_last), four.permute(1, 0, 3, 2)):
        first, second = i(0, 1, -1), i(1, 0, 1)
        yield a.index.Tensor, (y, [first % 2]), {}
        yield a.index.Tensor, (y, [None, second % 2]), {}
        yield a.index.Tensor, (y, [None, None, None, i(0, 2, -1, dtype=torch.int32)]), {}
        yield a.index.Tensor, (y, [first % 2, second % 2]), {}
        yield a.index.Tensor, (y, [first % 2, None, second % 2]), {}
        yield a.index.Tensor, (y, [None, second % 2, None, second % 3]), {}
        yield a.index.Tensor, (y, [i(0, 1).view(2, 1), i(0, 1, 1), None, torch.tensor(1)]), {}
        yield a.index.Tensor, (y, [i(0, 1), i(0, 1), i(1, 1), i(0, 1)]), {}
        full = y > 20
        yield a.index.Tensor, (y, [full]), {}
        yield a.index.Tensor, (y, [y.select(3, 0).select(2, 0) % 2 == 0]), {}
        yield a.index.Tensor, (y, [None, y[0, :, 0, 0] % 2 == 0]), {}
        yield a.index.Tensor, (y, [torch.tensor([True, False, True, True, True])[:y.size(0)], i(0)]), {}
        yield a.index.Tensor, (y, [full & False]), {}
        yield a.index.Tensor, (y, [torch.zeros(0, dtype=torch.int64)]), {}
        yield a._unsafe_index.Tensor, (y, [None, i(1, 0)]), {}
        for accumulate in (False, True):
            put = a.index_put.default
            yield put, (y, [i(0, 1)], y[:2] * 2, accumulate), {}
            yield put, (y, [i(0, 0)] if accumulate else [i(0)], x(1) + 7, accumulate), {}
            yield put, (y, [None, None, i(1, 2)], torch.tensor(5.0), accumulate), {}
            yield put, (y, [None, i(0, 1), None, i(0, 1)], x(y.size(2)) + 1, accumulate), {}
            yield put, (y, [full], torch.tensor(-1.0), accumulate), {}
            yield put, (y, [y[:, :, 0, 0] % 2 == 0, i(1)], torch.tensor(-1.0), accumulate), {}
        yield a.index_select.default, (y, 1, i(1, 0, 1, dtype=torch.int32)), {}
        yield a.index_select.default, (y, -1, i(2, 0)), {}
        yield a.index_select.default, (y, 0, torch.tensor(1)), {}
        yield a.gather.default, (y, 1, torch.ones(y.shape, dtype=torch.int64)), {}
        yield a.gather.default, (y, 3, torch.zeros(1, 2, 2, 7, dtype=torch.int64)), {}
        index = (x(*y.shape).long() * 7 % 2)
        yield a.gather.default, (y, 2, index), {}
        for op in (a.scatter.src, a.scatter_add.default):
            yield op, (y, 1, index[:, :1], y.flip(1)), {}
        yield a.scatter.value, (y, 2, index, 4), {}
        for how in ("sum", "prod", "mean", "amax", "amin"):
            for include in (True, False):
                yield a.scatter_reduce.two, (y, 2, index, y + 1, how), {"include_self": include}
                if how != "sum":
                    yield a.index_reduce.default, (y, 1, i(1, 0, 1)[:y.size(1)], y[:, :3], how), \
                        {"include_self": include}
        for how in ("add", "multiply"):
            yield a.scatter.reduce, (y, 2, index, y), {"reduce": how}
            yield a.scatter.value_reduce, (y, 2, index, 3), {"reduce": how}
        yield a.index_copy.default, (y, 3, i(2, 0), y[..., :2] + 50), {}
        yield a.index_add.default, (y, 3, i(0, 0), y[..., :2]), {"alpha": 3}
        yield a.index_fill.int_Scalar, (y, 2, i(1, 0), 9), {}
        yield a.index_fill.int_Tensor, (y, 0, i(1), torch.tensor(9.0)), {}
        yield a.masked_select.default, (y, full), {}
        yield a.masked_select.default, (y, full[:1, :, :1]), {}
        yield a.masked_scatter.default, (y, full, y.flip(0)), {}
        yield a.masked_scatter.default, (y[:, :1], full, x(200)), {}
        yield a.nonzero.default, (y % 3 == 1,), {}
        yield a.nonzero_static.default, (y % 3 == 1,), {"size": 200, "fill_value": -7}
        yield a.nonzero_static.default, (y,), {"size": 3}
        yield a.where.default, (y % 3 == 1,), {}
        yield a.take.default, (y, i(3, -1, 0).view(3, 1)), {}
        yield a.put.default, (y, i(3, -1, 3), i(1, 2, 3).float(), True), {}
        yield a.take_along_dim.default, (y, index[:, :, :1], 2), {}
        yield a.take_along_dim.default, (y, index), {}
        yield a.take_along_dim.default, (y, -1 - index[:, :, :1], 2), {}
        yield a.take_along_dim.default, (y, -1 - index), {}
    for dtype in dtypes:
        t = x(3, 4, dtype=dtype)
        yield a.index.Tensor, (t, [i(0, 2)]), {}
        yield a.index.Tensor, (t, [t > 2]), {}
        yield a.index_put.default, (t, [i(1, 1), i(0, 0)], x(2, dtype=dtype) + t[0, 1], True), {}
        yield a.index_put.default, (t, [i(1)], t[0], False), {}
        yield a.gather.default, (t, 1, i(0, 3).view(1, 2)), {}
        yield a.scatter_add.default, (t, 0, i(0, 1, 0, 1).view(1, 4), t), {}
        for how in ("sum", "prod", "mean", "amax", "amin"):
            if dtype == torch.bool and how == "mean":
                continue
            for include in (True, False):
                yield a.scatter_reduce.two, (t, 0, i(0, 1, 0, 1, 0, 0, 0, 0).view(2, 4), t, how), \
                    {"include_self": include}
        yield a.index_add.default, (t, 0, i(0, 0), t[1:]), {}
        yield a.index_fill.int_Scalar, (t, 1, i(1, 3), 1), {}
        yield a.masked_select.default, (t, t > 2), {}
        yield a.masked_scatter.default, (t, t > 2, t + t), {}
        yield a.nonzero.default, (t,), {}
        yield a.embedding.default, (t, i(0, 2, 1, dtype=torch.int32)), {}
        yield a.take.default, (t, i(5)), {}
        yield a.repeat_interleave.Tensor, (i(1, 0, 3),), {}
        yield a.repeat_interleave.Tensor, (i(1, 0, 3, dtype=torch.int32),), {"output_size": 4}
        if not dtype.is_floating_point:
            continue
        for scaled in (False, True):
            yield a.embedding_dense_backward.default, (x(2, 3, 4, dtype=dtype), i(0, 4, 4, 2, 0, 4).view(2, 3),
                                                       6, 2, scaled), {}
        weight = torch.randn(10, 200).to(dtype)
        indices, offsets = i(5, 1, 6, 5, 6), i(0, 3, 3)
        for mode in (0, 1, 2):
            for padding in (-1, 5):
                for closed in (False, True):
                    ends = i(0, 3, 5) if closed else offsets
                    yield a._embedding_bag.default, (weight, indices, ends, False, mode, False, None,
                                                     closed, padding), {}
                # The last offset leaves indices over.
                yield a._embedding_bag.default, (weight, indices, i(0, 2, 4), False, mode, False, None,
                                                 True, padding), {}
        yield a.embedding_bag.padding_idx, (weight, indices, i(0, 2, 2), False, 0, False,
                                            torch.randn(5).to(dtype), True, None), {}
        yield a.embedding_bag.padding_idx, (weight, indices.int(), offsets.int(), False, 0, False,
                                            torch.randn(5).to(dtype), False, -4), {}
        yield a.embedding_bag.default, (weight, indices, offsets, False, 1), {}
    for special in (float("nan"), float("inf"), -float("inf")):
        y = torch.tensor([1.0, special, -2.0, 0.0])
        yield a.nonzero.default, (y,), {}
        for how in ("amax", "amin", "sum"):
            yield a.scatter_reduce.two, (y, 0, i(0, 0, 1, 2), y.flip(0), how), {}
    scalar = torch.tensor(4.0)
    yield a.gather.default, (scalar, 0, torch.tensor(0)), {}
    yield a.index_select.default, (scalar, 0, i(0)), {}
    yield a.scatter_add.default, (scalar, 0, torch.tensor(0), torch.tensor(3.0)), {}
    yield a.index_add.default, (scalar, 0, i(0), torch.tensor(3.0)), {}
    yield a.index_fill.int_Scalar, (scalar, 0, i(0), 3), {}
    yield a.index_copy.default, (scalar, 0, i(0), torch.tensor(3.0)), {}
    yield a.nonzero.default, (scalar,), {}
    yield a.nonzero.default, (scalar * 0,), {}
    yield a.take.default, (scalar, i(0, 0)), {}
    yield a.masked_select.default, (scalar, torch.tensor(True)), {}
    yield a.embedding.default, (x(3, 2), torch.tensor(1)), {}
    yield a.embedding.default, (x(3, 2), torch.zeros(2, 0, dtype=torch.int64)), {}
    yield a.one_hot.default, (i(0, 2, 1).view(3, 1), 4), {}
    yield a.index_select_backward.default, (x(2, 3), [4, 3], 0, i(1, 1)), {}
    yield a.embedding_renorm.default, (torch.randn(6, 4) * 3, i(0, 2, 2), 1.5, 2.0), {}
    yield a._unsafe_masked_index.default, (x(4, 3), i(1, 0, 1) > 0, [i(2, 99, 0)], 7), {}
    yield a._unsafe_masked_index_put_accumulate.default, (x(4, 3), i(1, 0, 1) > 0, [i(2, 2, 0)], x(3, 3) + 1), {}
    for name, sizes, pad in (("1d", (2, 3, 5), [2, 1]), ("2d", (2, 3, 5), [2, 1, 1, 0]),
                             ("3d", (1, 2, 3, 4, 5), [2, 1, 1, 2, 0, 1])):
        y = torch.randn(sizes)
        for kind in ("reflection", "replication"):
            grad = torch.randn_like(getattr(a, f"{kind}_pad{name}").default(y, pad))
            yield getattr(a, f"{kind}_pad{name}_backward").default, (grad, y, pad), {}
    yield a.unfold_backward.default, (torch.randn(2, 3, 4, 3), [2, 7, 4], 1, 3, 2), {}
    # Wrong calls: torch refuses these, and so must we without harm.
    yield a.index.Tensor, (four, [i(2)]), {}
    yield a.index.Tensor, (four, [i(-3)]), {}
    yield a.index.Tensor, (four, [mask[:1]]), {}
    yield a.index.Tensor, (four, [i(0), i(0), i(0), i(0), i(0)]), {}
    yield a.index.Tensor, (four, [i(0, 1), i(0, 1, 1)]), {}
    yield a.index_put.default, (four, [i(0, 1)], x(3, 4, 5)), {}
    yield a.index_put.default, (four, [i(9)], torch.tensor(1.0)), {}
    yield a.embedding.default, (x(3, 2), i(3)), {}
    yield a.embedding.default, (x(3, 2), i(-1)), {}
    yield a.gather.default, (x(3, 2), 1, i(2).view(1, 1)), {}
    yield a.gather.default, (x(3, 2), 1, i(-1).view(1, 1)), {}
    yield a.gather.default, (x(3, 2), 0, torch.zeros(3, 3, dtype=torch.int64)), {}
    yield a.scatter.value, (x(3, 2), 0, i(3).view(1, 1), 1), {}
    yield a.scatter.src, (x(3, 2), 0, torch.zeros(3, 2, dtype=torch.int64), x(2, 2)), {}
    yield a.scatter_reduce.two, (x(3), 0, i(0), x(1), "median"), {}
    yield a.index_select.default, (x(3, 2), 0, i(3)), {}
    yield a.index_add.default, (x(3, 2), 0, i(0, 1), x(1, 2)), {}
    yield a.take.default, (x(3, 2), i(6)), {}
    yield a.masked_scatter.default, (x(3), x(3) < 9, x(2)), {}
    yield a.repeat_interleave.Tensor, (i(1, -1),), {}
    yield a._embedding_bag.default, (x(3, 2), i(0, 1, 3), i(0, 2)), {}
    yield a._embedding_bag.default, (x(3, 2), i(0, 1, 2), i(0, 4)), {}
