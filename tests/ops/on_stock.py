#!/usr/bin/env python3
"""Operators that stock ExecuTorch lacks, compiled for it: each runs on stock's runtime with torch's answer.

opinfo.py compares rewritings with our kernels in place of stock's; here stock itself runs the file.
Every case is a function of tensors, exported, compiled with `sconce compile --target portable`, and
loaded by the runtime of the executorch wheel. Exit code 0: all agree; 1: something does not; 77: no
torch or no executorch here.

    on_stock.py --sconce build/dev/sconce [--op PATTERN]
"""
import argparse
import fnmatch
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
warnings.filterwarnings("ignore")
try:
    import torch
    from executorch.runtime import Runtime
except ImportError as problem:
    print(f"[SKIP] {problem}")
    sys.exit(77)

CASES = {}


def case(function, *inputs, name=None):
    CASES[name or f"{len(CASES)}"] = (function, inputs)


def unary(op, *ranges, dtypes=(torch.float32, torch.float64)):
    for low, high in ranges:
        for dtype in dtypes:
            case(op, torch.linspace(low, high, 41, dtype=dtype), name=f"{op.__name__} {low} {high} {dtype}")


def cases():
    aten = torch.ops.aten
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5)
    unary(torch.erfinv, (-0.999, 0.999))
    unary(torch.lgamma, (-4.7, 12.3), (20, 1e5))
    unary(torch.digamma, (-4.7, 12.3))
    unary(torch.special.i0, (-30.5, 40))
    unary(torch.special.i0e, (-30.5, 40))
    unary(torch.special.i1, (-30.5, 40))
    unary(torch.special.i1e, (-30.5, 40))
    for n in (1, 2, 3):
        case(lambda t, n=n: torch.polygamma(n, t), torch.linspace(-3.3, 9, 30), name=f"polygamma {n}")
    case(torch.copysign, x, x.flip(0), name="copysign")
    case(torch.signbit, torch.tensor([0.0, -0.0, 1, -1]), name="signbit")
    case(torch.logaddexp2, x, x.flip(1), name="logaddexp2")
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        a, b = (torch.randint(0, 120, (20,)).to(dtype) for _ in range(2))
        case(torch.gcd, a, b, name=f"gcd {dtype}")
        case(torch.lcm, a % 11, b % 11, name=f"lcm {dtype}")
    index = torch.randint(0, 3, (3, 4, 5))
    for how in ("sum", "prod", "mean", "amax", "amin"):
        for own in (True, False):
            for dtype in (torch.float32, torch.int64, torch.int32):
                t = (x * 5).to(dtype)
                case(lambda t, i, how=how, own=own: t.scatter_reduce(0, i, t.flip(0), how, include_self=own),
                     t, index, name=f"scatter_reduce {how} {own} {dtype}")
                if how != "sum":
                    case(lambda t, i, how=how, own=own: t.index_reduce(1, i, t[:, :3], how, include_self=own),
                         t, torch.tensor([2, 0, 2]), name=f"index_reduce {how} {own} {dtype}")
    case(lambda t: aten.nonzero_static(t, size=20, fill_value=-7), (x > 0.7).float(), name="nonzero_static")
    # Which of several equal values its position names is nobody's promise.
    case(lambda t: torch.mode(t, 1).values, torch.randint(0, 3, (4, 9)), name="mode")
    real = torch.view_as_real
    for dims in ([2], [0, 1], [1, 2]):
        for norm in ("backward", "ortho", "forward"):
            case(lambda t, d=dims, n=norm: real(torch.fft.fftn(torch.complex(t, t * 2), dim=d, norm=n)), x,
                 name=f"fftn {dims} {norm}")
            case(lambda t, d=dims, n=norm: real(torch.fft.ifftn(torch.complex(t, t * 2), dim=d, norm=n)), x,
                 name=f"ifftn {dims} {norm}")
            case(lambda t, d=dims, n=norm: torch.fft.irfftn(torch.fft.rfftn(t, dim=d, norm=n), dim=d, norm=n), x,
                 name=f"rfftn irfftn {dims} {norm}")
    case(lambda t: real(torch.fft.fft(t)), x, name="fft of real")
    volume, grid = torch.randn(2, 3, 4, 5, 6), torch.rand(2, 3, 2, 4, 3) * 2.6 - 1.3
    for mode in (0, 1):
        for padding in (0, 1, 2):
            for align in (True, False):
                case(lambda v, g, m=mode, p=padding, a=align: aten.grid_sampler_3d(v, g, m, p, a), volume, grid,
                     name=f"grid_sampler_3d {mode} {padding} {align}")
    case(lambda t: torch.nn.functional.avg_pool3d(t, 2, 2, 1), torch.randint(-90, 90, (2, 3, 4, 5, 6)),
         name="avg_pool3d of integers")
    picture = torch.randn(2, 3, 7, 8)
    case(lambda g, t: aten.avg_pool2d_backward(g, t, [3, 3], [2, 2], [1, 1], True, False, None),
         torch.randn_like(torch.nn.functional.avg_pool2d(picture, 3, 2, 1, True)), picture,
         name="avg_pool2d_backward")
    case(aten._adaptive_avg_pool2d_backward, torch.randn(2, 3, 3, 5), picture,
         name="_adaptive_avg_pool2d_backward")
    for pad in ([0, 0, 1, -1], [-2, 3], [-1, -1, -2, 0, 1, 1]):
        case(lambda t, p=pad: torch.constant_pad_nd(t, p, 2.5), picture, name=f"constant_pad_nd {pad}")
    case(lambda t: torch.unbind(t), torch.randn(150, 2), name="unbind of 150")
    norm = torch.nn.functional
    case(lambda t: norm.batch_norm(t, None, None, None, None, True), picture, name="batch_norm in training")
    case(lambda g, t, w: aten.convolution_backward(g, t, w, [4], [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
                                                   [True, True, True]),
         torch.randn(2, 4, 7, 8), picture, torch.randn(4, 3, 3, 3), name="convolution_backward")
    pooled = aten.max_pool2d_with_indices(picture, [2, 2], [2, 2])
    case(lambda g, t, i: aten.max_pool2d_with_indices_backward(g, t, [2, 2], [2, 2], [0, 0], [1, 1], False, i),
         torch.randn_like(pooled[0]), picture, pooled[1], name="max_pool2d_with_indices_backward")
    case(lambda g, i: aten.embedding_dense_backward(g, i, 9, 0, False), torch.randn(4, 6),
         torch.randint(0, 9, (4,)), name="embedding_dense_backward")
    weight, bias = torch.randn(5), torch.randn(5)
    given = aten.native_layer_norm(x, [5], weight, bias, 1e-5)
    case(lambda g, t, m, r, w, b: aten.native_layer_norm_backward(g, t, [5], m, r, w, b, [True, True, True]),
         torch.randn_like(x), x, given[1], given[2], weight, bias, name="native_layer_norm_backward")


def flat(answer):
    return [t for part in answer for t in flat(part)] if isinstance(answer, (list, tuple)) else [answer]


def run(function, inputs, sconce, folder):
    class Module(torch.nn.Module):
        def forward(self, *tensors):
            return tuple(flat(function(*tensors)))

    pt2, pte = folder / "case.pt2", folder / "case.pte"
    torch.export.save(torch.export.export(Module(), inputs), pt2)
    pte.unlink(missing_ok=True)
    done = subprocess.run([sconce, "compile", pt2, "-o", pte, "--target", "portable"],
                          capture_output=True, text=True)
    if done.returncode:
        return "compile: " + done.stderr.strip()[:300]
    try:
        method = Runtime.get().load_program(pte).load_method("forward")
        found = method.execute([t.clone() for t in inputs])
    except Exception as problem:
        return f"stock: {problem}"
    wanted = flat(function(*inputs))
    if len(found) != len(wanted):
        return f"{len(found)} results, {len(wanted)} are wanted"
    for k, (f, w) in enumerate(zip(found, wanted)):
        if f.dtype != w.dtype or f.shape != w.shape:
            return f"result {k}: {f.dtype}{list(f.shape)}, {w.dtype}{list(w.shape)} is wanted"
        close = torch.isclose(f, w, rtol=2e-5, atol=2e-5, equal_nan=True) if w.is_floating_point() else f == w
        if not bool(close.all()):
            at = int((~close).flatten().nonzero()[0])
            return f"result {k}: at {at} {f.flatten()[at].item()}, {w.flatten()[at].item()} is wanted"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sconce", required=True, type=pathlib.Path)
    parser.add_argument("--op", default="*", help="names of cases, * allowed")
    options = parser.parse_args()
    cases()
    failed = 0
    chosen = [n for n in CASES if fnmatch.fnmatch(n, options.op)]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            problem = run(*CASES[name], options.sconce, pathlib.Path(folder))
            if problem:
                failed += 1
                print(f"{name}: {problem}")
    print(f"{len(chosen)} cases, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
