"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def cases(torch, dtype):
    aten = torch.ops.aten
    torch.manual_seed(3)
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
        for layers, directions, bias, batch_first, projection, hidden, batch, steps in (
                (1, 1, True, False, 0, 4, 3, 6), (2, 1, True, True, 0, 4, 3, 6), (3, 2, True, False, 0, 4, 3, 6),
                (1, 2, False, True, 0, 4, 3, 6), (2, 2, True, True, 3, 4, 3, 6), (1, 1, False, False, 2, 4, 3, 6),
                (1, 2, True, True, 0, 21, 1, 9), (2, 1, True, False, 0, 33, 40, 3), (1, 1, True, True, 17, 35, 2, 1)):
            if projection and name != "lstm":
                continue
            features = 5
            out = projection or hidden
            parameters = []
            for layer in range(layers):
                for _ in range(directions):
                    sizes = [(gates * hidden, features if layer == 0 else out * directions), (gates * hidden, out)]
                    sizes += [(gates * hidden,)] * 2 if bias else []
                    sizes += [(projection, hidden)] if projection else []
                    parameters += [torch.randn(size).mul(hidden ** -0.5).to(dtype) for size in sizes]
            x = torch.randn((batch, steps, features) if batch_first else (steps, batch, features)).to(dtype)
            h = torch.randn(layers * directions, batch, out).to(dtype)
            c = torch.randn(layers * directions, batch, hidden).to(dtype)
            yield (getattr(aten, name).input, (x, [h, c] if name == "lstm" else h, parameters, bias, layers, 0.0, False,
                                               directions == 2, batch_first), {})
        x, h = torch.randn(3, 5).to(dtype), torch.randn(3, 4).to(dtype)
        w = [torch.randn(gates * 4, 5).to(dtype), torch.randn(gates * 4, 4).to(dtype)]
        b = [torch.randn(gates * 4).to(dtype), torch.randn(gates * 4).to(dtype)]
        cell = getattr(aten, name + "_cell").default
        yield cell, (x, [h, h * 0.5] if name == "lstm" else h, *w, *b), {}
        yield cell, (x, [h, h * 0.5] if name == "lstm" else h, *w), {}


def calls(torch, dtypes):
    for dtype in dtypes:
        if dtype.is_floating_point:
            yield from cases(torch, dtype)
