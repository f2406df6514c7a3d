"""Calls that torch's own samples lack: batch and instance norm in training, with running statistics."""


def calls(torch, dtypes):
    aten = torch.ops.aten
    torch.manual_seed(0)

    def statistics(channels, dtype):
        return torch.randn(channels).to(dtype), torch.rand(channels).add(0.5).to(dtype)

    for dtype in dtypes:
        if not dtype.is_floating_point:
            continue
        for sizes in ([5, 3], [2, 3, 7], [2, 4, 5, 3], [2, 3, 2, 3, 2]):
            x = torch.randn(sizes).to(dtype)
            weight, bias = (torch.randn(sizes[1]).to(dtype) for _ in range(2))
            for parameters in ((weight, bias), (None, None)):
                running = statistics(sizes[1], dtype)
                if dtype == torch.bfloat16 and parameters[0] is None:
                    running = statistics(sizes[1], torch.float32)
                for training in (True, False):
                    yield aten.batch_norm.default, (x, *parameters, *running, training, 0.3, 1e-3, False), {}
                    yield aten.native_batch_norm.default, (x, *parameters, *running, training, 0.3, 1e-3), {}
                    yield (aten._native_batch_norm_legit.default,
                           (x, *parameters, *running, training, 0.3, 1e-3), {})
                    yield (aten._native_batch_norm_legit_functional.default,
                           (x, *parameters, *running, training, 0.3, 1e-3), {})
                yield aten.batch_norm.default, (x, *parameters, None, None, True, 0.3, 1e-3, False), {}
                yield aten._batch_norm_with_update.default, (x, *parameters, *running, 0.3, 1e-3), {}
                yield (aten._batch_norm_with_update_functional.default,
                       (x, *parameters, *running, 0.3, 1e-3), {})
                # With statistics of another type torch rounds the new ones to the type of the input.
                if len(sizes) > 2 and running[0].dtype == dtype:
                    for own in (True, False):
                        yield (aten.instance_norm.default,
                               (x, *parameters, *running, own, 0.3, 1e-3, False), {})
                    yield aten.instance_norm.default, (x, *parameters, None, None, True, 0.1, 1e-5, False), {}
        x = torch.randn(2, 4, 3, 5).to(dtype).contiguous(memory_format=torch.channels_last)
        yield (aten.batch_norm.default,
               (x, None, None, *statistics(4, dtype), True, 0.1, 1e-5, False), {})
    # Statistics and parameters of f32 beside a 16-bit input, as mixed precision trains.
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.randn(3, 4, 6).to(dtype)
        yield (aten.batch_norm.default,
               (x, torch.randn(4), torch.randn(4), *statistics(4, torch.float32), True, 0.1, 1e-5, False), {})
