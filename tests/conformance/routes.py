"""Routes from an exported program to results, each with a compiler and a runtime.

    stock_on_ours   stock ExecuTorch lowers (its portable flow), our runtime runs
    xnnpack...      stock lowers with its XNNPACK partitioner (four flows of its suite: f32, static
                    int8 per channel and per tensor, dynamic int8), our runtime runs
    ours_on_stock   our compiler (`--target portable`), stock's runtime
    ours_on_ours    our compiler (`--target cpu`), our runtime
    our_xnnpack_on_stock, our_xnnpack_on_ours    our compiler (`--target xnnpack`), either runtime
    our_xnnpack_*int8*_on_stock, _on_ours        the same of programs that stock's quantizer changed

A result is right when `compare.error_of` says so: same number of tensors, dtypes and shapes, and the
largest error of an output is within 1e-4 of that output's largest magnitude (f16 2e-3, bf16 1.6e-2;
integers exact; NaN and infinity at the same places). The XNNPACK flows are held against stock's own
runtime instead of torch (unless stock's runtime is wrong and ours gives torch's answer to within the
limits above), and quantised ones may be two steps of 8 bits away: XNNPACK's vector kernels
multiply with fewer bits than its reference. So are our files of quantised programs, against stock's
own file of the same program on stock's runtime.

Stock's files run twice on our runtime: compiled anew in memory, as is the default, and with --as-is;
the error is the larger one.

Both of ours run as the command line in processes of their own, stock's runtime in oracle.py's
worker, so that whatever crashes is one failed case.
"""

import copy
import pathlib
import shutil
import sys
import tempfile
from dataclasses import dataclass, field, replace

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))

import compare
from oracle import Oracle, OracleError

ROUTES = ("stock_on_ours", "ours_on_stock", "ours_on_ours")
OUR_XNNPACK_ROUTES = ("our_xnnpack_on_stock", "our_xnnpack_on_ours")
# Names of stock's flows.
XNNPACK_ROUTES = ("xnnpack", "xnnpack_static_int8_per_channel", "xnnpack_static_int8_per_tensor",
                  "xnnpack_dynamic_int8_per_channel")
# Our files of what stock's flow of that name quantises.
OUR_INT8_ROUTES = {f"our_{flow}_on_{runtime}": flow for flow in XNNPACK_ROUTES[1:]
                   for runtime in ("stock", "ours")}
ALL_ROUTES = (*ROUTES, *OUR_XNNPACK_ROUTES, *XNNPACK_ROUTES, *OUR_INT8_ROUTES)
QUANTIZED_ERROR = 2 / 255


class NotOurs(Exception):
    """The case ends before it reaches us: torch or stock cannot do it, with what they said."""


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300] if text else ''}"


def with_plain_results(program) -> None:
    """Results in a torch.return_types.X become a tuple: torch.export.save has no name for the former."""
    from torch.utils import _pytree as pytree

    signature = program.module_call_graph[0].signature
    if pytree.is_structseq_class(signature.out_spec.type):
        signature.out_spec = pytree.tree_structure((0,) * signature.out_spec.num_leaves)


def drop_outputs(path: pathlib.Path, count: int) -> None:
    """Takes the first outputs out of a file of them."""
    from safetensors.torch import load_file, save_file

    if count == 0:
        return
    kept = {name: int(name.removeprefix("output.")) - count for name in load_file(path)}
    save_file({f"output.{number}": load_file(path)[name] for name, number in kept.items() if number >= 0},
              path)


@dataclass
class Call:
    """Arguments of one call, torch's answer to them, and the arguments as torch leaves them."""

    args: tuple
    expected: object
    args_after: tuple
    method: str = "forward"


@dataclass
class Exported:
    """A program by method name, and calls that are made in order on one loaded file."""

    methods: dict[str, "torch.export.ExportedProgram"]
    calls: list[Call]
    constants: dict[str, int] = field(default_factory=dict)  # constant methods
    shared_state: bool = False  # methods share the memory of their state

    def __post_init__(self) -> None:
        for exported in self.methods.values():
            with_plain_results(exported)


@dataclass
class StocksFile:
    """What stock's lowering gives: the program, and weights that are kept beside it."""

    program: bytes
    data: list[bytes] = field(default_factory=list)  # of .ptd files
    changed: list[int] = field(default_factory=list)  # arguments changed in place, its first results
    exported: object = None  # what it was lowered from, if stock's quantizer changed that


class Bench:
    """Where the files of one case after the other go, and stock's worker."""

    def __init__(self, sconce: pathlib.Path | None = None, timeout_s: float = 120) -> None:
        self.sconce = sconce or compare.find_sconce()
        if self.sconce is None:
            raise FileNotFoundError("no sconce: build it, or name it in SCONCE_CLI")
        self.folder = tempfile.TemporaryDirectory(prefix="sconce-conformance-")
        self.work = pathlib.Path(self.folder.name)
        self.oracle = Oracle(self.work / "stock.log")
        self.timeout_s = timeout_s
        self.as_it_stands: str | None = None  # of the last file that note() was told of

    def close(self) -> None:
        self.oracle.close()
        self.folder.cleanup()

    def compile(self, case: Exported, target: str) -> pathlib.Path:
        import torch

        pte = self.work / "ours.pte"
        pte.unlink(missing_ok=True)
        inputs = []
        for name, program in case.methods.items():
            path = self.work / f"{name}.pt2"
            torch.export.save(program, path)
            inputs.append(f"{name}={path}")
        for name, value in case.constants.items():
            inputs += ["--constant-method", f"{name}={value}"]
        compare.run_cli(self.sconce, "compile", *inputs, "-o", pte, "--target", target,
                        timeout_s=self.timeout_s)
        return pte

    def files(self, call: Call, number: int) -> dict:
        """Writes the inputs and torch's outputs of a call."""
        from export_models import flat_tensors, save_tensors

        made = {kind: self.work / f"{kind}.{number}.safetensors"
                for kind in ("inputs", "expected", "got")}
        made["torch"] = self.work / f"torch.{number}.safetensors"
        made["got"].unlink(missing_ok=True)
        tensors, made["leaves"] = flat_tensors(call.args)
        save_tensors(made["inputs"], "input", tensors)
        save_tensors(made["expected"], "output", flat_tensors(call.expected)[0])
        shutil.copyfile(made["expected"], made["torch"])
        return made

    def judge(self, files: dict, limit: float | None = None) -> float:
        if not files["got"].is_file():
            raise compare.Wrong("no results were written")
        return compare.error_of(files["got"], files["expected"], limit)

    def judge_beside_stock(self, files: dict, limit: float | None) -> float:
        """Against what stock's runtime gave, in place of torch's answer. Where stock itself is wrong
        (XNNPACK's square root of infinity is NaN), torch's answer is right."""
        try:
            return self.judge(files, limit)
        except compare.Wrong:
            try:
                return compare.error_of(files["got"], files["torch"])
            except compare.Wrong:
                pass
            raise

    def on_ours(self, pte: pathlib.Path, case: Exported, data: list[pathlib.Path] = [],
                both_ways: bool = False) -> float:
        """As the file stands, and with `both_ways` compiled anew in memory too, where that can be."""
        made = [self.files(call, number) for number, call in enumerate(case.calls)]
        arguments: list[object] = ["--share-memories"] if case.shared_state else []
        for path in data:
            arguments += ["--data", path]
        for call, files in zip(case.calls, made):
            arguments += ["--method", call.method, "--inputs", files["inputs"],
                          "--outputs", files["got"]]
        worst = 0.0
        for how in ("--as-is", "--verbose")[:1 + both_ways]:
            for files in made:
                files["got"].unlink(missing_ok=True)
            try:
                said = compare.run_cli(self.sconce, "run", pte, *arguments, how, timeout_s=self.timeout_s)
                worst = max([worst, *map(self.judge, made)])
            except compare.Wrong as wrong:
                raise compare.Wrong(f"{how}: {wrong}") from None
            self.note(said)
        return worst

    def note(self, said: str) -> None:
        """Why a file runs as it stands, from what --verbose prints; "" when it was compiled anew."""
        for line in said.splitlines():
            if "as it stands: " in line:
                self.as_it_stands = line.split("as it stands: ", 1)[1]
            elif line.startswith("compiled anew"):
                self.as_it_stands = ""

    def check_ours_of_quantised(self, made: StocksFile, case: Exported, on_stock: bool) -> float:
        """Our file of a program that stock's quantizer changed, against stock's own on stock's
        runtime."""
        ours = self.compile(Exported({"forward": made.exported}, []), "xnnpack")
        (self.work / "stock.pte").write_bytes(made.program)
        worst = 0.0
        for number, call in enumerate(case.calls):
            files = self.files(call, number)

            def run_on_stock(pte: pathlib.Path, to: str) -> None:
                self.oracle.ask({"do": "run", "pte": str(pte), "method": call.method,
                                 "calls": [{"inputs": files["leaves"], "from": str(files["inputs"]),
                                            "to": str(files[to])}]}, timeout_s=self.timeout_s)
            try:
                run_on_stock(self.work / "stock.pte", "expected")
            except OracleError as error:
                raise NotOurs(f"stock cannot run its file: {first_line(error)}") from None
            drop_outputs(files["expected"], len(made.changed))  # ours changes them in place
            if on_stock:
                run_on_stock(ours, "got")
            else:
                compare.run_cli(self.sconce, "run", ours, "--as-is", "--method", call.method, "--inputs",
                                files["inputs"], "--outputs", files["got"], timeout_s=self.timeout_s)
            worst = max(worst, self.judge_beside_stock(files, self.quantized_limit(files, made)))
        return worst

    def on_stock(self, pte: pathlib.Path, case: Exported) -> float:
        """Methods one after the other: each keeps its own state over its calls."""
        worst = 0.0
        for method in dict.fromkeys(call.method for call in case.calls):
            made = [self.files(call, number) for number, call in enumerate(case.calls)
                    if call.method == method]
            self.oracle.ask({
                "do": "run", "pte": str(pte), "method": method,
                "calls": [{"inputs": files["leaves"], "from": str(files["inputs"]),
                           "to": str(files["got"])} for files in made],
            }, timeout_s=self.timeout_s)
            worst = max([worst, *map(self.judge, made)])
        return worst

    @staticmethod
    def quantized_limit(files: dict, made: StocksFile) -> float:
        """One step of the output's quantisation, where that is more than QUANTIZED_ERROR of what came
        out: a sum at the middle of two steps goes either way."""
        from safetensors.torch import load_file

        steps = [0.0]
        for node in made.exported.graph.output_node().args[0]:
            if "dequantize_per_tensor" in str(getattr(node, "target", "")):
                steps.append(float(node.args[1]))
        scale = max((float(tensor.double().abs().max()) for tensor in load_file(files["expected"]).values()
                     if tensor.numel()), default=0.0)
        return max(QUANTIZED_ERROR, 1.001 * max(steps) / scale if scale > 0 else 0.0)

    def check_against_stock(self, made: StocksFile, case: Exported, quantized: bool) -> float:
        """Stock's own file on our runtime, against stock's runtime."""
        pte = self.work / "stock.pte"
        pte.write_bytes(made.program)
        worst = 0.0
        for number, call in enumerate(case.calls):
            files = self.files(call, number)
            try:
                self.oracle.ask({
                    "do": "run", "pte": str(pte), "method": call.method,
                    "calls": [{"inputs": files["leaves"], "from": str(files["inputs"]),
                               "to": str(files["expected"])}],
                }, timeout_s=self.timeout_s)
            except OracleError as error:
                raise NotOurs(f"stock cannot run its file: {first_line(error)}") from None
            for how in ("--verbose", "--as-is"):
                files["got"].unlink(missing_ok=True)
                try:
                    self.note(compare.run_cli(self.sconce, "run", pte, "--method", call.method,
                                              "--inputs", files["inputs"], "--outputs", files["got"],
                                              how, timeout_s=self.timeout_s))
                    limit = self.quantized_limit(files, made) if quantized else None
                    worst = max(worst, self.judge_beside_stock(files, limit))
                except compare.Wrong as wrong:
                    raise compare.Wrong(f"{how}: {wrong}") from None
        return worst

    def check_stocks_file(self, made: StocksFile, case: Exported) -> float:
        """Stock's own file on our runtime. Where stock's runtime is wrong as well, the file is."""
        pte = self.work / "stock.pte"
        pte.write_bytes(made.program)
        if made.changed:
            case = replace(case, calls=[
                replace(call, expected=([call.args_after[i] for i in made.changed], call.expected))
                for call in case.calls])
        data = [self.work / f"stock.{i}.ptd" for i in range(len(made.data))]
        for path, blob in zip(data, made.data):
            path.write_bytes(blob)
        try:
            return self.on_ours(pte, case, data, both_ways=True)
        except compare.Wrong:
            try:
                self.on_stock(pte, case)
            except compare.Wrong as wrong:
                raise NotOurs(f"stock's file is wrong on stock too: {wrong}") from None
            except OracleError:
                pass  # stock cannot run its own file: no excuse for us
            raise

    def run(self, route: str, case: Exported, lower) -> float:
        """The largest relative error; raises Wrong or OracleError when the route fails. `lower`
        gives the StocksFile of the case, or raises NotOurs."""
        if route == "stock_on_ours":
            return self.check_stocks_file(lower(), case)
        if route in XNNPACK_ROUTES:
            return self.check_against_stock(lower(), case, route != "xnnpack")
        if route in OUR_INT8_ROUTES:
            return self.check_ours_of_quantised(lower(), case, route.endswith("_on_stock"))
        if route == "ours_on_stock":
            return self.on_stock(self.compile(case, "portable"), case)
        if route == "our_xnnpack_on_stock":
            return self.on_stock(self.compile(case, "xnnpack"), case)
        if route == "our_xnnpack_on_ours":
            return self.on_ours(self.compile(case, "xnnpack"), case)
        return self.on_ours(self.compile(case, "cpu"), case)


def call_of(module, args: tuple, method: str = "forward") -> Call:
    """The call with what torch says, eagerly; the arguments themselves stay as they are."""
    import torch

    after = copy.deepcopy(args)
    with torch.no_grad():
        expected = copy.deepcopy(module(*after))  # a result may be an argument, or the module's state
    return Call(args, expected, after, method)
