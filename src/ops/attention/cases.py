"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def cases(torch, dtype):
    aten = torch.ops.aten
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


def calls(torch, dtypes):
    for dtype in dtypes:
        if dtype.is_floating_point:
            yield from cases(torch, dtype)
