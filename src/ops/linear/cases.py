"""Calls that tests/ops compares with torch, beside those of torch's own samples."""


def cases(torch, dtype):
    aten = torch.ops.aten
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
    if dtype in (torch.float32, torch.bfloat16):
        for ends in ([2, 2, 8], [0, 5, 8], [8, 8, 8]):
            yield aten._grouped_mm.default, (t(8, 16), t(3, 16, 32), torch.tensor(ends, dtype=torch.int32)), {}
        yield aten._grouped_mm.default, (t(3, 8, 16), t(3, 16, 32)), {}
    if dtype.is_floating_point:
        yield aten.bilinear.default, (t(3, 4), t(3, 5), t(6, 4, 5), t(6)), {}
        yield aten.bilinear.default, (t(2, 3, 4), t(2, 3, 5), t(6, 4, 5)), {}


def calls(torch, dtypes):
    for sizes in ((1, 1, 1), (17, 64, 24), (3, 130, 7)):
        rows, depth, columns = sizes
        a = torch.randint(-128, 128, (rows, depth), dtype=torch.int8)
        b = torch.randint(-128, 128, (depth, columns), dtype=torch.int8)
        yield torch.ops.aten._int_mm.default, (a, b), {}
        yield torch.ops.aten._int_mm.default, (a, b.t().contiguous().t()), {}
    for dtype in dtypes:
        if dtype != torch.bool:
            yield from cases(torch, dtype)
