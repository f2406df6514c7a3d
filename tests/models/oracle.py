"""Stock ExecuTorch as an oracle: lowers and runs models in a process of its own.

A bad file can end the process that loads it, so the caller keeps an `Oracle`, which starts a worker
when it needs one and starts another after a crash. The worker (this file run as a program) answers
one JSON object a line:
    {"do": "run", "pte": P, "calls": [{"inputs": [leaf...], "from": A, "to": B}...], "imports": [M...],
     "data": D}
    {"do": "lower", "pt2": P, "pte": Q, "flow": "portable" | "xnnpack"}
    {"do": "arena", "pte": P}
    {"do": "time", "ptes": [P...], "inputs": [leaf...], "from": A, "rounds": N}
    {"do": "load", "pte": P}
"imports" names modules that bring kernels of their own, "data" a .ptd beside the program. With a plug-in the worker loads that library beside the runtime, as an app would.
"""

import ctypes
import importlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve()


class OracleError(Exception):
    pass


class Oracle:
    """Calls into one worker; `close` ends it."""

    def __init__(self, log: pathlib.Path | None = None, plugin: pathlib.Path | None = None) -> None:
        self.process: subprocess.Popen | None = None
        self.plugin = [str(plugin)] if plugin else []
        self.log = open(log, "a") if log else subprocess.DEVNULL

    def ask(self, request: dict, timeout_s: float = 900) -> dict:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE), *self.plugin], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self.log, text=True,
            )
        worker = self.process
        timer = threading.Timer(timeout_s, worker.kill)
        timer.start()
        try:
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            worker.wait()
            self.process = None
            raise OracleError(f"stock runtime ended with status {worker.returncode}")
        answer = json.loads(line)
        if "error" in answer:
            raise OracleError(answer["error"])
        return answer

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


# The worker.


def run(request: dict) -> dict:
    import torch
    import executorch.kernels.quantized  # noqa: F401: its kernels register themselves
    from executorch.runtime import Runtime
    from safetensors.torch import load_file, save_file

    for module in request.get("imports", []):
        importlib.import_module(module)
    program = Runtime.get().load_program(request["pte"], data_path=request.get("data"))
    method = program.load_method(request.get("method", "forward"))
    if method is None:
        raise RuntimeError("load_method gave nothing")
    for call in request["calls"]:
        inputs = load_file(call["from"])
        values = [inputs[f"input.{leaf['tensor']}"] if "tensor" in leaf else leaf["value"]
                  for leaf in call["inputs"]]
        outputs = [x for x in method.execute(values) if isinstance(x, torch.Tensor)]
        save_file({f"output.{i}": x.detach().clone().contiguous() for i, x in enumerate(outputs)},
                  call["to"])
    return {}


def lower(request: dict) -> dict:
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    try:
        import transformers.modeling_outputs  # noqa: F401  registers the types models return
    except ImportError:
        pass
    program = torch.export.load(request["pt2"])
    start = time.monotonic()
    partitioners = []
    if request["flow"] == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        partitioners = [XnnpackPartitioner()]
    edge = to_edge_transform_and_lower(
        program, partitioner=partitioners,
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    plan = edge.to_executorch()
    seconds = time.monotonic() - start
    with open(request["pte"], "wb") as file:
        plan.write_to_file(file)
    return {"seconds": seconds, "arena": plan.executorch_program.execution_plan[0].non_const_buffer_sizes}


def arena(request: dict) -> dict:
    from executorch.runtime import Runtime

    meta = Runtime.get().load_program(request["pte"]).metadata(request.get("method", "forward"))
    count = meta.num_memory_planned_buffers()
    return {"arena": [meta.memory_planned_buffer_size(i) for i in range(count)]}


def time_calls(request: dict) -> dict:
    """The least time of a call, for each of several files whose calls take turns."""
    import executorch.kernels.quantized  # noqa: F401: its kernels register themselves
    from executorch.runtime import Runtime
    from safetensors.torch import load_file

    inputs = load_file(request["from"])
    values = [inputs[f"input.{leaf['tensor']}"] if "tensor" in leaf else leaf["value"]
              for leaf in request["inputs"]]
    programs = [Runtime.get().load_program(pte) for pte in request["ptes"]]
    methods = [program.load_method("forward") for program in programs]
    least = [float("inf")] * len(methods)
    for _ in range(request["rounds"] + 1):  # the first round does not count
        for i, method in enumerate(methods):
            start = time.perf_counter()
            method.execute(values)
            took = time.perf_counter() - start
            least[i] = min(least[i], took) if _ else least[i]
    return {"seconds": least}


def load(request: dict) -> dict:
    """Memory that loading a file takes, at its peak and afterwards, in bytes. Of a fresh worker."""
    from executorch.runtime import Runtime

    def memory(field: str) -> int:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

    runtime, before = Runtime.get(), memory("VmRSS")
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak starts anew
    program = runtime.load_program(request["pte"])
    method = program.load_method("forward")
    return {"peak": memory("VmHWM") - before, "after": memory("VmRSS") - before, "loaded": method is not None}


def serve() -> None:
    # Libraries print to standard output; the answers get a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"run": run, "lower": lower, "arena": arena, "time": time_calls, "load": load}[request["do"]](request)
        except Exception as error:
            text = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {text[0][:300] if text else ''}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    for library in sys.argv[1:]:
        import executorch.runtime  # noqa: F401  the plug-in wants its library

        ctypes.CDLL(library)
    serve()
