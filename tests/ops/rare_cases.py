"""Operators that torch's own samples never reach: other names, old overloads, gradients.

ALIASES maps an operator to one with the same arguments, whose recorded calls are run again under the other
name. calls() makes the rest.
"""

ALIASES = {
    "__and__": "bitwise_and", "__or__": "bitwise_or", "arctan2": "atan2", "concat": "cat",
    "concatenate": "cat", "ger": "outer", "greater": "gt", "greater_equal": "ge", "less": "lt",
    "less_equal": "le", "not_equal": "ne", "moveaxis": "movedim", "multiply": "mul", "divide": "div",
    "true_divide": "div", "subtract": "sub", "row_stack": "vstack", "swapaxes": "transpose.int",
    "swapdims": "transpose.int", "linalg_matmul": "matmul", "_stack": "stack", "_reshape_copy": "reshape",
    "special_gammainc": "igamma", "special_gammaincc": "igammac", "special_logsumexp": "logsumexp",
    "special_log_softmax": "log_softmax.int", "special_softmax": "softmax.int",
    "special_multigammaln": "mvlgamma", "special_xlogy": "xlogy.Tensor",
    "special_xlogy.other_scalar": "xlogy.Scalar_Other", "special_xlogy.self_scalar": "xlogy.Scalar_Self",
    "_unsafe_index_put": "index_put", "_index_put_impl": "index_put", "select_copy.int": "select.int",
    "split": "split_with_sizes", "unsafe_split_with_sizes": "split_with_sizes",
    "split_copy.Tensor": "split.Tensor", "squeeze_copy.dims": "squeeze.dims",
}


def aliases_of(torch):
    """Operator name -> overloads that take the same arguments under another name."""
    found = {}

    def add(new, old):
        packet, _, overload = new.partition(".")
        packet = getattr(torch.ops.aten, packet)
        if (overload or "default") in packet.overloads():
            found.setdefault("aten::" + old, []).append(getattr(packet, overload or "default"))

    for new, old in ALIASES.items():
        if "." in new or "." in old:
            add(new, old)
            continue
        for overload in getattr(torch.ops.aten, new).overloads():
            suffix = "" if overload == "default" else "." + overload
            add(new + suffix, old + suffix)
    return found


def gradients(aten, t, dtype):
    x, grad = t(4, 9) * 3, t(4, 9)
    yield aten.elu_backward.default, (grad, 1.2, 0.9, 1.1, False, x)
    yield aten.elu_backward.default, (grad, 1.2, 0.9, 1.1, True, x)
    yield aten.gather_backward.default, (t(2, 3), t(5, 3), 0, t(2, 3).abs().long().clamp(0, 4), False)
    yield aten.hardshrink_backward.default, (grad, x, 0.5)
    yield aten.hardsigmoid_backward.default, (grad, x * 2)
    yield aten.hardswish_backward.default, (grad, x * 2)
    yield aten.hardtanh_backward.default, (grad, x, -1, 2.0)
    yield aten.leaky_relu_backward.default, (grad, x, 0.1, False)
    yield aten.leaky_relu_backward.default, (grad, x, 0.1, True)
    yield aten.softplus_backward.default, (grad, x, 2, 4)
    yield aten.softshrink_backward.default, (grad, x, 0.5)
    yield aten.threshold_backward.default, (grad, x, 0.25)
    _, buffer = aten.log_sigmoid_forward.default(x)
    yield aten.log_sigmoid_backward.default, (grad, x, buffer)
    yield aten._log_softmax_backward_data.default, (grad, aten.log_softmax.int(x, 1), 1, dtype)
    # Gradients of norms at the values that their forward forms save.
    for mask in ([True, True, True], [True, False, False], [False, True, True]):
        y = t(2, 6, 3, 4)
        _, mean, rstd = aten.native_layer_norm.default(y, [3, 4], t(3, 4), t(3, 4), 1e-5)
        yield aten.native_layer_norm_backward.default, (t(2, 6, 3, 4), y, [3, 4], mean, rstd, t(3, 4), t(3, 4), mask)
        _, mean, rstd = aten.native_group_norm.default(y, None, None, 2, 6, 12, 3, 1e-5)
        yield aten.native_group_norm_backward.default, (t(2, 6, 3, 4), y, mean, rstd, t(6), 2, 6, 12, 3, mask)
        _, mean, rstd = aten.native_batch_norm.default(y, None, None, None, None, True, 0.1, 1e-5)
        yield aten.native_batch_norm_backward.default, (t(2, 6, 3, 4), y, t(6), None, None, mean, rstd, True, 1e-5,
                                                        mask)
        yield aten.native_batch_norm_backward.default, (t(2, 6, 3, 4), y, t(6), t(6), t(6).abs() + 0.5, None, None,
                                                        False, 1e-5, mask)


def floating(aten, torch, t, dtype):
    x = t(2, 6, 5, 4)
    mean, variance = t(6), t(6).abs() + 0.5
    yield aten._batch_norm_no_update.default, (x, t(6), t(6), mean, variance, 0.1, 1e-5)
    yield aten._native_batch_norm_legit.no_stats, (x, t(6), t(6), True, 0.1, 1e-5)
    yield aten._native_batch_norm_legit_no_training.default, (x, t(6), t(6), mean, variance, 0.1, 1e-5)
    yield aten._native_batch_norm_legit_no_training.default, (x, None, None, mean, variance, 0.1, 1e-3)
    w = t(4, 3, 3, 3)
    for bias in (t(4), None):
        yield aten._convolution.default, (x, w, bias, [1, 2], [1, 0], [1, 1], False, [0, 0], 2, False, False, True,
                                          True)
        yield aten._convolution.deprecated, (x, t(6, 4, 3, 3), bias, [2, 2], [1, 1], [1, 1], True, [1, 1], 1, False,
                                             False, True)
        for padding in ("same", "valid"):
            yield aten._convolution_mode.default, (x, w, bias, [1, 1], padding, [2, 1], 2)
    yield aten._euclidean_dist.default, (t(5, 3), t(4, 3))
    yield aten._fused_rms_norm.default, (x, [4], t(4), 1e-5)
    yield aten._fused_rms_norm.default, (x, [5, 4], None, None)
    for dim in (0, 1, 2):
        sizes = [1, 1, 1]
        sizes[dim] = [6, 5, 4][dim]
        yield aten._weight_norm.default, (t(6, 5, 4), t(*sizes), dim)
        if dim != 1:
            yield aten._weight_norm_interface.default, (t(6, 5, 4), t(*sizes), dim)
    for keep in (False, True):
        yield aten.frobenius_norm.dim, (x, [1], keep)
        yield aten.frobenius_norm.dim, (x, [1, -1], keep)
        for ord in ("fro", "nuc")[:1]:
            yield aten.linalg_norm.ord_str, (x, ord, [1, 2], keep)
        yield aten.linalg_norm.ord_str, (t(3, 4), "fro", None, keep)
        for unbiased in (False, True):
            for op in (aten.std.dim, aten.var.dim, aten.std_mean.dim, aten.var_mean.dim):
                yield op, (x, [1, -1], unbiased, keep)
                yield op, (x, None, unbiased, keep)
        for p in (None, 1, 2, 3.5, float("inf"), 0):
            yield aten.norm.ScalarOpt_dim_dtype, (x, p, [1, 3], keep), {"dtype": torch.float64}
            yield aten.norm.ScalarOpt_dtype, (x, p), {"dtype": torch.float32}
    if dtype in (torch.float32, torch.float64):
        for interpolation in ("linear", "lower", "higher", "midpoint", "nearest"):
            q = torch.tensor([0.0, 0.3, 0.5, 1.0], dtype=dtype)
            yield aten.quantile.default, (x, q, 1, False), {"interpolation": interpolation}
            yield aten.quantile.default, (x, q[1], None, True), {"interpolation": interpolation}
        window = torch.hann_window(8).to(dtype)
        for center in (True, False):
            for normalized in (True, False):
                yield aten.stft.center, (t(2, 40), 8, 2, 8, window, center, "reflect", normalized, True, True)
        yield aten.stft.center, (t(40), 8, None, 6, None, True, "constant", False, False, True)
        spectrum = torch.stft(t(2, 40), 8, 2, 8, window, return_complex=True)
        for length in (None, 37):
            yield aten.istft.default, (spectrum, 8, 2, 8, window, True, False, True, length)
        full = torch.stft(t(2, 40), 8, 2, 8, window, normalized=True, onesided=False, return_complex=True)
        yield aten.istft.default, (full, 8, 2, 8, window, True, True, False, None)
    for pad in ([1, 2, 0, 1, 3, 1], [0, 0, 2, 2, 0, 0]):
        for op in (aten.reflection_pad3d, aten.replication_pad3d):
            yield op.default, (t(2, 3, 4, 5, 6), pad)
            yield op.default, (t(3, 4, 5, 6), pad)


def created(aten, dtype):
    for n in (0, 1, 2, 7, 12):
        for name in ("bartlett", "blackman", "hamming", "hann", "kaiser"):
            op = getattr(aten, name + "_window")
            yield op.default, (n,), {"dtype": dtype}
            for periodic in (True, False):
                yield op.periodic, (n, periodic), {"dtype": dtype}
                if name == "hamming":
                    yield op.periodic_alpha, (n, periodic, 0.6), {"dtype": dtype}
                    yield op.periodic_alpha_beta, (n, periodic, 0.6, 0.4), {"dtype": dtype}
                if name == "kaiser":
                    yield op.beta, (n, periodic, 9.0), {"dtype": dtype}
        if n:
            yield aten.fft_fftfreq.default, (n, 0.5), {"dtype": dtype}
            yield aten.fft_rfftfreq.default, (n, 0.5), {"dtype": dtype}


def calls(torch, dtypes):
    aten = torch.ops.aten
    torch.manual_seed(7)

    def finish(case):
        op, args, *kwargs = case
        return op, args, kwargs[0] if kwargs else {}

    for dtype in dtypes:
        def t(*size):
            if dtype.is_floating_point:
                return torch.randn(size).to(dtype)
            return torch.randint(0, 2 if dtype == torch.bool else 9, size).to(dtype)

        if dtype.is_floating_point:
            for part in (floating(aten, torch, t, dtype), gradients(aten, t, dtype), created(aten, dtype)):
                yield from map(finish, part)
        x, y = t(4, 6), t(4, 6)
        condition = torch.rand(4, 6) > 0.5
        number = True if dtype == torch.bool else 3
        for pad in ([1, 2], [1, 2, 0, 1], [2, 2, 1, 1]):
            yield aten._pad_circular.default, (t(2, 3, 5, 4) if len(pad) == 4 else t(2, 3, 5), pad), {}
        yield aten.moveaxis.int, (t(2, 3, 5), 0, -1), {}
        for to in (torch.uint8, torch.int8, dtype):  # of the same size, or of parts
            yield aten.view_copy.dtype, (x, to), {}
        yield aten._reshape_alias.default, (x, [8, 3], [3, 1]), {}
        yield aten._reshape_alias_copy.default, (x, [2, 12], [12, 1]), {}
        rows, columns = torch.tensor([3, 0, 3]), torch.tensor([[1], [-1]])
        for op in (aten.index.Tensor_hacked_twin, aten._unsafe_index.Tensor_hacked_twin):
            yield op, (x, [rows]), {}
            yield op, (x, [rows, columns]), {}
        for op in (aten.index_put.hacked_twin, aten._unsafe_index_put.hacked_twin):
            yield op, (x, [rows[:2], columns.flatten()], t(2)), {}
            yield op, (x, [rows], t(3, 6), dtype != torch.bool), {}
        yield aten.atleast_1d.Sequence, ([t(), t(3), x],), {}
        yield aten.atleast_2d.Sequence, ([t(), t(3), x],), {}
        yield aten.count_nonzero.dim_IntList, (x, [0]), {}
        yield aten.count_nonzero.dim_IntList, (x, [0, -1]), {}
        yield aten.where.Scalar, (condition, number, 2.5), {}
        yield aten.where.ScalarOther, (condition, x, number), {}
        yield aten.where.ScalarSelf, (condition, number, x), {}
        yield aten.to.prim_Device, (x, torch.device("cpu"), None, False, True), {}
        if dtype == torch.bool:
            continue
        for mode in (None, "floor", "trunc"):
            for op in (aten.div, aten.divide):
                yield op.Scalar_mode, (x, 2), {"rounding_mode": mode}
                yield op.Scalar_mode, (x, -2.5 if dtype.is_floating_point else 3), {"rounding_mode": mode}
        yield aten.floor_divide.Scalar, (x, 2), {}
        yield aten.subtract.Scalar, (x, 2), {}
        yield aten.subtract.Scalar, (x, 2, 3), {}
        yield aten.linalg_vecdot.default, (x, y), {}
        yield aten.linalg_vecdot.default, (x, t(6)), {}
        yield aten.linalg_vecdot.default, (x, y), {"dim": 0}
        boundaries = torch.arange(0, 10, 2).to(dtype)
        for right in (False, True):
            for value in (4, 4.5, -1, 20):
                yield aten.bucketize.Scalar, (value, boundaries), {"right": right}
                yield aten.searchsorted.Scalar, (boundaries, value), {"right": right, "out_int32": True}
        yield aten.range.default, (0, 5), {"dtype": dtype}
        yield aten.range.step, (1, 6, 2), {"dtype": dtype}
        for dim in (0, 1, -1):
            values = torch.randint(0, 2, (5, 4)).to(dtype)
            yield aten.unique_dim.default, (values, dim), {}
            yield aten.unique_dim.default, (values, dim, True, True, True), {}
    yield aten.range.default, (0.5, 4), {}
    yield aten.range.step, (0, 1, 0.25), {}


def complex_calls(torch):
    """Arithmetic of complex numbers, as rotary embeddings written with them do."""
    aten = torch.ops.aten
    torch.manual_seed(9)
    for dtype, real in ((torch.complex64, torch.float32), (torch.complex128, torch.float64)):
        x, y = torch.randn(3, 1, 5, dtype=dtype), torch.randn(4, 1, dtype=dtype)
        for op in (aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor):
            for other in (y, torch.randn(4, 1, dtype=real), torch.arange(1, 5)[:, None], torch.randn([], dtype=dtype)):
                yield op, (x, other), {}
            yield op, (y.real, x), {}
        for op in (aten.mul.Scalar, aten.div.Scalar):
            yield op, (x, 2.5), {}
        yield aten.add.Tensor, (x, y), {"alpha": -3}
        yield aten.rsub.Scalar, (x, 2), {}


def random_calls(torch):
    aten = torch.ops.aten
    size, p = [5000], torch.full((5000,), 0.3)
    yield aten.bernoulli.Tensor, (torch.zeros(5000), p), {}
    yield aten.rand.generator, (size,), {"generator": None}
    yield aten.randn.generator, (size,), {"generator": None}
    yield aten.randint.generator, (10, size), {"generator": None}
    yield aten.randint.low_generator, (-5, 10, size), {"generator": None}
    yield aten.randperm.generator, (5000,), {"generator": None}
