"""Times kernels as C beside the same kernels on the block kernels, both on one thread.

    python examples/kernels/bench_c.py SCONCE KERNELS.tile [CFLAGS...]

The C is compiled with cc for this processor. Least times of calls, by turns.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
import time

import numpy as np

SIZES = {
    "linear": dict(M=64, K=512, N=1024),
    "linear_bias": dict(M=64, K=512, N=1024),
    "swiglu": dict(M=64, K=512, N=1024),
    "softmax": dict(M=1024, N=1024),
    "rms_norm": dict(M=1024, N=1024),
    "flash_attention": dict(H=12, Q=512, T=512, D=64),
    "convolution_add_relu": dict(H=56, W=56, C=16, N=64),
}
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"]


def main(sconce, path, *flags):
    kernels = json.loads(subprocess.check_output([sconce, "kernels", path, "--json"]))["kernels"]
    names = [k["name"] for k in kernels if k["name"] in SIZES]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.check_call([sconce, "kernels", path, "--emit-c", "-o", f"{folder}/k.c"],
                              stdout=subprocess.DEVNULL)
        subprocess.check_call(["cc", "-std=c99", "-ffp-contract=off", *(flags or FLAGS), "-fPIC",
                               "-shared", f"{folder}/k.c", "-o", f"{folder}/k.so", "-lm"])
        library = ctypes.CDLL(f"{folder}/k.so")
        for kernel in kernels:
            name = kernel["name"]
            if name not in names:
                continue
            sizes = SIZES[name]
            own, arrays = [], []
            for buffer in kernel["buffers"]:
                dims = buffer["type"].split("[")[1].split("]")[0].split(", ")
                shape = [sizes[d] if d in sizes else int(d) for d in dims]
                if "packed" in buffer["type"]:
                    shape[-1] = -(-shape[-1] // 16) * 16
                arrays.append(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))
                for d in dims:
                    if d in sizes and d not in own:
                        own.append(d)
            # The function's sizes are in the order of the kernel's dims.
            text = open(f"{folder}/k.h").read().split(f"int64_t {name}_scratch(")[1].split(")")[0]
            values = [ctypes.c_int64(sizes[d.split()[-1]]) for d in text.split(", ")]
            size = getattr(library, f"{name}_scratch")
            size.restype = ctypes.c_int64
            scratch = np.zeros(size(*values) // 8 + 16, np.int64)
            start = -(scratch.ctypes.data // 8) % 8
            arguments = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays] + values
            arguments.append(ctypes.c_void_p(scratch[start:].ctypes.data))
            call = getattr(library, name)
            c_us = vm_us = float("inf")
            for _ in range(3):
                end = time.perf_counter() + 0.4
                while time.perf_counter() < end:
                    before = time.perf_counter()
                    call(*arguments)
                    c_us = min(c_us, 1e6 * (time.perf_counter() - before))
                out = subprocess.check_output(
                    [sconce, "kernels", path, "--kernel", name, "--bench", "--seconds", "0.4", "--json",
                     "--dims", *[f"{d}={n}" for d, n in sizes.items()]])
                vm_us = min(vm_us, json.loads(out)["kernels"][0]["least_us"])
            print(f"{name:24} C {c_us:9.0f} us   block kernels {vm_us:9.0f} us   {c_us / vm_us:5.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
