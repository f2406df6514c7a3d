"""Whole models, ours beside the peers, interleaved in one run.

    python bench/peers/run.py mobilenet_v2 resnet18 --threads 1 2 [--rounds 5] [--json FILE]
    python bench/peers/run.py resnet50 minilm --int8 static        # or dynamic: rows by their own ranges

Every peer is a process of its own that has loaded the model and waits, stopped, while others are
measured; a round measures each once, so that what else the machine does falls on all alike. All run
on the first N processors that this process may use, with N threads. The least time and the median of
all calls are shown, and how much faster we are than each. Ours includes nothing of Python; peers are
called through their Python packages, which costs them tens of microseconds a call.

Peers: executorch 1.5.1 (XNNPACK, lowered here), onnxruntime 1.31.1 (with onnx and onnxscript),
openvino 2026.4.1 (told to compute in f32), torch (eager). One that is not installed is named and
left out. Models are those of tests/models/export_models.py.

With --int8 each makes the model's integers in its own way, from the model's example inputs: ours by
`sconce quantize`, ExecuTorch by PT2E and XNNPACKQuantizer, ONNX Runtime by its static quantisation
(QDQ, weights by channel) or its dynamic one; OpenVINO runs the file of ONNX Runtime, which is what
it takes without further packages. Times say nothing of how exact the answers are: tests/models/
quantized_accuracy.py does.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

NEEDS = {"executorch": ["executorch"], "onnxruntime": ["onnxruntime", "onnx", "onnxscript"],
         "openvino": ["openvino"], "torch": ["torch"]}
ROUND_SECONDS = 0.5


# Each gives a function without arguments that runs the model once.


def load_inputs(models: pathlib.Path, name: str):
    from safetensors.torch import load_file

    call = json.loads((models / f"{name}.json").read_text())["calls"][0]
    tensors = load_file(models / f"{name}.inputs.safetensors")
    return [tensors[f"input.{leaf['tensor']}"] if "tensor" in leaf else leaf["value"]
            for leaf in call["inputs"]]


def arrays(inputs) -> list:
    """The tensors among the inputs: what is no tensor was fixed when the model was converted."""
    return [x.numpy() for x in inputs if hasattr(x, "numpy")]


def pt2e(models, name, int8):
    """The exported program as PT2E quantises it for XNNPACK."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer, get_symmetric_quantization_config)
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    program = exported(models, name)
    inputs, named = program.example_inputs
    how = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=int8 == "dynamic")
    quantizer = XNNPACKQuantizer().set_global(how)
    if int8 == "dynamic":
        # Only linears take part. It would also make floats of all scalars, MiniLM's indices among
        # what comes of them, which then are none.
        quantizer.transform_for_annotation = lambda graph: graph
    graph = prepare_pt2e(program.module(), quantizer)
    graph(*inputs, **named)
    return torch.export.export(convert_pt2e(graph), inputs, named)


def exported(models: pathlib.Path, name: str):
    import torch

    try:
        import transformers.modeling_outputs  # noqa: F401  registers the types models return
    except ImportError:
        pass
    return torch.export.load(models / f"{name}.pt2")


def prepare_executorch(models, name, threads, work, int8):
    from oracle import lower

    pte = work / f"{name}{int8 or ''}.xnnpack.pte"
    if not pte.is_file():
        pt2 = models / f"{name}.pt2"
        if int8:
            import torch

            pt2 = work / f"{name}.{int8}.pt2"
            torch.export.save(pt2e(models, name, int8), pt2)
        lower({"pt2": str(pt2), "pte": str(pte), "flow": "xnnpack"})
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(pte)
    method = program.load_method("forward")
    inputs = load_inputs(models, name)

    def call(kept=program):
        method.execute(inputs)

    return call


def as_onnx(models, name, work, int8) -> pathlib.Path:
    import torch

    path = work / f"{name}.onnx"
    if not path.is_file():
        torch.onnx.export(exported(models, name), dynamo=True, external_data=True).save(path)
    if not int8:
        return path
    from onnxruntime import quantization as q

    made = work / f"{name}.{int8}.onnx"
    if made.is_file():
        return made
    prepared = work / f"{name}.prepared.onnx"
    q.shape_inference.quant_pre_process(path, prepared)
    if int8 == "dynamic":
        q.quantize_dynamic(prepared, made, weight_type=q.QuantType.QInt8, per_channel=True)
        return made
    import onnx

    names = [i.name for i in onnx.load(prepared, load_external_data=False).graph.input]
    feed = dict(zip(names, arrays(load_inputs(models, name))))

    class Samples(q.CalibrationDataReader):
        left = [feed]

        def get_next(self):
            return self.left.pop() if self.left else None

    q.quantize_static(prepared, made, Samples(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                      activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8)
    return made


def prepare_onnxruntime(models, name, threads, work, int8):
    import onnxruntime

    path = as_onnx(models, name, work, int8)
    inputs = load_inputs(models, name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = dict(zip([i.name for i in session.get_inputs()], arrays(inputs)))
    return lambda: session.run(None, feed)


def prepare_openvino(models, name, threads, work, int8):
    import openvino

    def compiled(source):
        return openvino.compile_model(openvino.convert_model(source), "CPU", {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY"})

    inputs = arrays(load_inputs(models, name))
    try:
        program = compiled(as_onnx(models, name, work, int8) if int8 else exported(models, name))
    except RuntimeError:
        if int8:
            raise
        program = compiled(as_onnx(models, name, work, None))  # what it does not read from torch
    request = program.create_infer_request()
    return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)


def prepare_torch(models, name, threads, work, int8):
    import torch

    if int8:
        raise RuntimeError("it has no integers of its own outside of the other peers' formats")

    torch.set_num_threads(threads)
    module = exported(models, name).module()
    inputs = load_inputs(models, name)

    def call():
        with torch.inference_mode():
            module(*inputs)

    return call


def serve(peer: str, models: pathlib.Path, name: str, threads: int, work: pathlib.Path,
          int8: str | None) -> None:
    answers = os.fdopen(os.dup(1), "w")  # libraries print to standard output
    os.dup2(2, 1)
    try:
        call = globals()[f"prepare_{peer}"](models, name, threads, work, int8)
        for _ in range(3):
            call()
    except Exception as error:
        text = str(error).strip().splitlines()
        print(json.dumps({"error": f"{type(error).__name__}: {text[0][:200] if text else ''}"}),
              file=answers, flush=True)
        return
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        times, end = [], time.perf_counter() + ROUND_SECONDS
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        print(json.dumps(times), file=answers, flush=True)


class Peer:
    """A process that holds the model; stopped unless it is asked."""

    def __init__(self, peer: str, options, name: str, threads: int) -> None:
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE, "--serve", peer, name, "--threads", str(threads),
             "--models", options.models, "--work", options.work,
             *(["--int8", options.int8] if options.int8 else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment)
        answer = self.read()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        self.process.send_signal(signal.SIGSTOP)

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"ended with status {self.process.wait()}")
        return json.loads(line)

    def round(self) -> list[float]:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        times = self.read()
        self.process.send_signal(signal.SIGSTOP)
        return times

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Ours:
    def __init__(self, options, name: str, threads: int) -> None:
        self.sconce, self.threads = options.sconce, threads
        self.pte = options.work / f"{name}{options.int8 or ''}.sconce.pte"
        self.inputs = options.models / f"{name}.inputs.safetensors"
        how = ["compile", "--prefer", options.prefer]
        if options.int8:
            how = ["quantize", "--no-sensitivity", "--scheme", "int8-dynamic"]
            if options.int8 == "static":
                how[-1:] = ["int8", "--calibrate", self.inputs]
        subprocess.run([self.sconce, *how, options.models / f"{name}.pt2", "-o", self.pte,
                        "--target", "cpu"], check=True, capture_output=True)
        self.runs = 3
        median = statistics.median(self.round())
        self.runs = max(3, min(200, int(ROUND_SECONDS / median)))

    def round(self) -> list[float]:
        done = subprocess.run(
            [self.sconce, "bench", self.pte, "--inputs", self.inputs, "--threads",
             str(self.threads), "--runs", str(self.runs), "--json"],
            check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout)
        return [figures["min_ms"] / 1e3, figures["median_ms"] / 1e3]

    def close(self) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=list(NEEDS), choices=list(NEEDS))
    parser.add_argument("--int8", choices=["static", "dynamic"], help="models of 8-bit integers")
    parser.add_argument("--prefer", choices=["size", "balance", "speed"], default="balance",
                        help="how our f32 files are compiled (sconce compile --help)")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build" / "models")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "peers")
    parser.add_argument("--sconce", type=pathlib.Path, default=ROOT / "build" / "release" / "sconce")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.serve:
        serve(options.serve, options.models, options.names[0], options.threads[0], options.work,
              options.int8)
        return 0
    processors = sorted(os.sched_getaffinity(0))
    peers = []
    for peer in options.peers:
        missing = [m for m in NEEDS[peer] if importlib.util.find_spec(m) is None]
        if missing:
            print(f"[SKIP] {peer}: python package {', '.join(missing)} is not installed")
        else:
            peers.append(peer)
    rows = []
    for name in options.names:
        for threads in options.threads:
            if threads > len(processors):
                print(f"[SKIP] {threads} threads: {len(processors)} processors")
                continue
            os.sched_setaffinity(0, processors[:threads])
            running = {"sconce": Ours(options, name, threads)}
            for peer in peers:
                try:
                    running[peer] = Peer(peer, options, name, threads)
                except RuntimeError as error:
                    print(f"[SKIP] {name}: {peer}: {error}")
            least = {peer: float("inf") for peer in running}
            every: dict[str, list[float]] = {peer: [] for peer in running}
            for _ in range(options.rounds):
                for peer, process in running.items():
                    times = process.round()
                    least[peer] = min(least[peer], *times)
                    every[peer].append(statistics.median(times))
            for process in running.values():
                process.close()
            os.sched_setaffinity(0, processors)
            for peer in running:
                row = {"model": name, "threads": threads, "peer": peer, "least_ms": least[peer] * 1e3,
                       "median_ms": statistics.median(every[peer]) * 1e3,
                       "ratio": least[peer] / least["sconce"]}
                rows.append(row)
                print(f"{name:<16}{threads} thread(s)  {peer:<13}{row['least_ms']:9.2f} ms least"
                      f"{row['median_ms']:9.2f} ms median{row['ratio']:8.2f} x ours", flush=True)
    for threads in options.threads:
        ratios: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["threads"] == threads and row["peer"] != "sconce":
                ratios.setdefault(row["model"], {})[row["peer"]] = row["ratio"]
        if len(ratios) < 2:
            continue
        for what, of in [("the best peer", lambda r: min(r.values())),
                         ("executorch", lambda r: r.get("executorch"))]:
            known = [of(r) for r in ratios.values() if of(r)]
            if known:
                print(f"{threads} thread(s): {statistics.geometric_mean(known):.3f} times as fast as {what} in "
                      f"geometric mean of {len(known)} models")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
