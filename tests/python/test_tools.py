"""The tools round ExecuTorch's files, with stock's own devtools as oracle: bundles, differences, parts, profiles."""

import functools
import json
import subprocess
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("executorch")

from executorch.devtools import BundledProgram
from executorch.devtools.bundled_program.config import MethodTestCase, MethodTestSuite
from executorch.devtools.bundled_program.serialize import (
    deserialize_from_flatbuffer_to_bundled_program, serialize_from_bundled_program_to_flatbuffer)
from executorch.exir import ExecutorchBackendConfig, to_edge, to_edge_transform_and_lower
from executorch.exir.passes import MemoryPlanningPass
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore")


class Scale(torch.nn.Module):
    def forward(self, x, count: int, flag: bool, factor: float):
        return (x + count) * (factor if flag else 1.0), x.argmax(1)


class Counter(torch.nn.Module):
    """State: every case has to start from 1."""

    def __init__(self):
        super().__init__()
        self.register_buffer("state", torch.zeros(2))

    def forward(self, x):
        self.state.add_(x)
        return self.state * 1


class Image(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def lower(modules, dynamic=None, xnnpack=False, **options):
    """modules: {method: (module, example inputs)}."""
    exported = {}
    for method, (module, example) in modules.items():
        module.eval().requires_grad_(False)
        exported[method] = torch.export.export(module, example, strict=True,
                                               dynamic_shapes=(dynamic or {}).get(method))
    if xnnpack:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    else:
        edge = to_edge(exported)
    return edge.to_executorch(ExecutorchBackendConfig(**options))


def bundle_of(program, cases):
    """cases: [(method, inputs, answers or None)], as stock writes them."""
    suites = {}
    for method, inputs, answers in cases:
        suites.setdefault(method, []).append(MethodTestCase(inputs=inputs, expected_outputs=answers))
    return serialize_from_bundled_program_to_flatbuffer(
        BundledProgram(program, [MethodTestSuite(name, made) for name, made in suites.items()]))


def run(sconce, *args, code=0):
    done = subprocess.run([sconce, *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def run_json(sconce, *args, code=0):
    return json.loads(run(sconce, *args, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Two methods, numbers, integers as answers, sizes that vary, a case without answers."""
    torch.manual_seed(0)
    scale = (torch.randn(2, 3), 3, True, 0.5)
    rows = torch.nn.Linear(3, 2)
    program = lower({"forward": (Scale(), scale), "rows": (rows, (torch.randn(5, 3),))},
                    {"rows": ({0: torch.export.Dim("n", max=5)},)})
    cases = [("forward", scale, Scale()(*scale))]
    for n in (1, 5, 2):
        x = torch.randn(n, 3)
        cases.append(("rows", (x,), rows(x)))
    cases.append(("rows", (torch.randn(3, 3),), None))
    path = tmp_path_factory.mktemp("several") / "several.bpte"
    path.write_bytes(bundle_of(program, cases))
    return path


def test_runs_every_case_of_stocks_bundle(sconce, several):
    report = run_json(sconce, "check", several, "--bundle", "--rtol", "1e-6")
    assert report["passed"]
    assert [(c["method"], c["case"], c["compared"]) for c in report["cases"]] == [
        ("forward", 0, True), ("rows", 0, True), ("rows", 1, True), ("rows", 2, True), ("rows", 3, False)]
    text = run(sconce, "check", several, "--bundle").stdout
    assert "5 cases: 5 passed, 0 failed" in text


def test_starts_every_case_from_the_methods_own_state(sconce, tmp_path):
    program = lower({"forward": (Counter(), (torch.ones(2),))})
    x = torch.tensor([1.0, 2.0])
    (tmp_path / "state.bpte").write_bytes(bundle_of(program, [("forward", (x,), x)] * 3))
    assert run_json(sconce, "check", tmp_path / "state.bpte", "--bundle", "--rtol", "0")["passed"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_takes_any_element_type(sconce, tmp_path, dtype):
    class Both(torch.nn.Module):
        def forward(self, x):
            return torch.cat([x, x]), x.flip(0)

    x = (torch.randn(3, 2) * 9).to(dtype)
    program = lower({"forward": (Both(), (x,))})
    (tmp_path / "any.bpte").write_bytes(bundle_of(program, [("forward", (x,), Both()(x))]))
    report = run_json(sconce, "check", tmp_path / "any.bpte", "--bundle", "--rtol", "0")
    assert report["cases"][0]["error_max"] == 0


def test_gives_a_method_its_images_channels_last(sconce, tmp_path):
    image = Image()
    x = torch.randn(1, 3, 6, 5).to(memory_format=torch.channels_last)
    program = lower({"forward": (image, (x,))})
    (tmp_path / "image.bpte").write_bytes(bundle_of(program, [("forward", (x,), image(x))]))
    report = run_json(sconce, "check", tmp_path / "image.bpte", "--bundle", "--rtol", "1e-6")
    assert report["passed"], report


def test_says_which_case_fails_and_by_how_much(sconce, tmp_path):
    program = lower({"forward": (Scale(), (torch.zeros(2, 3), 3, True, 0.5))})
    inputs = (torch.arange(6.0).reshape(2, 3), 3, True, 0.5)
    answers = [t.clone() for t in Scale()(*inputs)]
    good, off, index = answers, [t.clone() for t in answers], [t.clone() for t in answers]
    off[0][1, 2] += 0.25
    index[1][0] = 1
    short = answers[:1]
    number = (inputs[0], 4, True, 0.5)
    (tmp_path / "wrong.bpte").write_bytes(bundle_of(program, [
        ("forward", inputs, given) for given in (good, off, index, short)]))
    report = run_json(sconce, "check", tmp_path / "wrong.bpte", "--bundle", code=1)
    assert [c["passed"] for c in report["cases"]] == [True, False, False, False]
    assert report["cases"][1]["error_max"] == 0.25
    assert report["cases"][2]["outputs"][1]["mismatches"] == 1
    assert report["cases"][3]["problem"] == "1 expected outputs, the method gives 2"
    assert run_json(sconce, "check", tmp_path / "wrong.bpte", "--bundle", "--atol", "0.25",
                    code=1)["cases"][1]["passed"]
    text = run(sconce, "check", tmp_path / "wrong.bpte", "--bundle", code=1).stdout
    assert "4 cases: 1 passed, 3 failed" in text
    (tmp_path / "number.bpte").write_bytes(bundle_of(program, [("forward", number, answers)]))
    report = run_json(sconce, "check", tmp_path / "number.bpte", "--bundle", code=1)
    assert "is 4, was fixed to 3 at export" in report["cases"][0]["problem"]


def test_shows_what_is_in_a_bundle_and_runs_its_program(sconce, several, tmp_path):
    shown = run_json(sconce, "inspect", several)
    assert [s["method"] for s in shown["suites"]] == ["forward", "rows"]
    assert shown["suites"][0]["cases"][0]["inputs"] == ["f32[2, 3]", "int 3", "true", "float 0.5"]
    assert [m["name"] for m in shown["program"]["methods"]] == ["forward", "rows"]
    assert "nothing is expected" in run(sconce, "inspect", several).stdout
    save_file({"input.0": torch.zeros(2, 3)}, tmp_path / "in.safetensors")
    run(sconce, "run", several, "--method", "rows", "--inputs", tmp_path / "in.safetensors",
        "--outputs", tmp_path / "out.npy")
    assert run_json(sconce, "check", several)["executorch"]["runs"]
    run(sconce, "bench", several, "--runs", "1", "--warmup", "0")


def test_refuses_what_is_no_bundle(sconce, several, tmp_path):
    whole = several.read_bytes()
    (tmp_path / "cut.bpte").write_bytes(whole[:-64])
    for command in (["check", "--bundle"], ["inspect"], ["check"], ["bench"]):
        assert "tables leave" in run(sconce, *command, tmp_path / "cut.bpte", code=4).stderr
    (tmp_path / "other.bpte").write_bytes(b"\0" * 100)
    assert "BP08 is wanted" in run(sconce, "check", "--bundle", tmp_path / "other.bpte", code=4).stderr


def test_stock_reads_and_verifies_our_bundles(sconce, tmp_path):
    from executorch.extension.pybindings.portable_lib import _load_bundled_program_from_buffer

    torch.manual_seed(1)
    rows = torch.nn.Linear(3, 2)
    program = lower({"forward": (Scale(), (torch.zeros(2, 3), 3, True, 0.5)), "rows": (rows, (torch.randn(5, 3),))},
                    {"rows": ({0: torch.export.Dim("n", max=5)},)})
    (tmp_path / "m.pte").write_bytes(program.buffer)
    x, y = torch.randn(2, 3), torch.randn(4, 3)
    save_file({"input.0": x}, tmp_path / "x.safetensors")
    save_file({f"output.{i}": t.contiguous() for i, t in enumerate(Scale()(x, 3, True, 0.5))}, tmp_path / "fx.safetensors")
    save_file({"input.0": y}, tmp_path / "y.safetensors")
    save_file({"output.0": rows(y)}, tmp_path / "fy.safetensors")
    made = run_json(sconce, "bundle", tmp_path / "m.pte",
                    "--method", "rows", "--inputs", tmp_path / "y.safetensors", "--outputs", tmp_path / "fy.safetensors",
                    "--method", "forward", "--inputs", tmp_path / "x.safetensors", "--outputs", tmp_path / "fx.safetensors",
                    "-o", tmp_path / "m.bpte")
    assert made["cases"] == 2
    written = (tmp_path / "m.bpte").read_bytes()
    stock = bundle_of(program, [("forward", (x, 3, True, 0.5), Scale()(x, 3, True, 0.5)), ("rows", (y,), rows(y))])
    assert deserialize_from_flatbuffer_to_bundled_program(written) == deserialize_from_flatbuffer_to_bundled_program(stock)
    bundle = _load_bundled_program_from_buffer(written)
    for method in ("forward", "rows"):
        bundle.verify_result_with_bundled_expected_output(method, 0, 1e-5, 1e-6)
    # More cases go into a bundle that is there, and ours reads its own.
    run(sconce, "bundle", tmp_path / "m.bpte", "--method", "rows", "--inputs", tmp_path / "y.safetensors",
        "-o", tmp_path / "m.bpte")
    assert len(run_json(sconce, "check", tmp_path / "m.bpte", "--bundle")["cases"]) == 3


def test_refuses_cases_that_do_not_fit_the_method(sconce, several, tmp_path):
    save_file({"input.0": torch.zeros(2, 3)}, tmp_path / "in.safetensors")
    save_file({"output.0": torch.zeros(2, 3)}, tmp_path / "one.safetensors")
    save_file({f"output.{i}": torch.zeros(2) for i in range(3)}, tmp_path / "three.safetensors")
    out = ["-o", tmp_path / "no.bpte"]
    done = run(sconce, "bundle", several, "--inputs", tmp_path / "one.safetensors", *out, code=3)
    assert 'tensor "input.0" is missing' in done.stderr
    done = run(sconce, "bundle", several, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "one.safetensors",
               *out, code=3)
    assert 'tensor "output.1" is missing' in done.stderr
    done = run(sconce, "bundle", several, "--inputs", tmp_path / "in.safetensors", "--outputs",
               tmp_path / "three.safetensors", *out, code=3)
    assert '"output.0" is f32[2], the method has f32[2, 3] there' in done.stderr
    save_file({"input.0": torch.zeros(2, 4)}, tmp_path / "wide.safetensors")
    done = run(sconce, "bundle", several, "--inputs", tmp_path / "wide.safetensors", *out, code=3)
    assert '"input.0" is f32[2, 4], the method has f32[2, 3] there' in done.stderr
    good = {"output.0": torch.zeros(2, 3), "output.1": torch.zeros(2, dtype=torch.int64), "output.2": torch.zeros(1)}
    save_file(good, tmp_path / "more.safetensors")
    done = run(sconce, "bundle", several, "--inputs", tmp_path / "in.safetensors", "--outputs",
               tmp_path / "more.safetensors", *out, code=3)
    assert "3 tensors, the method gives 2" in done.stderr
    assert not (tmp_path / "no.bpte").exists()


# Differences


class Layers(torch.nn.Module):
    def __init__(self, activation=torch.relu, change=0.0):
        super().__init__()
        torch.manual_seed(3)
        self.one, self.two = torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)
        self.activation = activation
        with torch.no_grad():
            self.two.weight[1, 3] += change

    def forward(self, x):
        return self.two(self.activation(self.one(x)))


X = (torch.ones(3, 4),)


@functools.cache
def layers(activation=torch.relu, change=0.0, xnnpack=False):
    return lower({"forward": (Layers(activation, change), X)}, xnnpack=xnnpack)


@pytest.fixture
def diff(sconce, tmp_path):
    """The report about two programs, which are lowered here."""

    def compare(a, b, same=False):
        for name, program in (("a", a), ("b", b)):
            (tmp_path / f"{name}.pte").write_bytes(program.buffer)
        code = 0 if same else 1
        text = run(sconce, "diff", tmp_path / "a.pte", tmp_path / "b.pte", code=code).stdout
        return run_json(sconce, "diff", tmp_path / "a.pte", tmp_path / "b.pte", code=code), text

    return compare


def of(report, what):
    """The only difference about something."""
    found = [d for d in report["differences"] if what in f"{d['where']}: {d['what']}"]
    assert len(found) == 1, report["differences"]
    return found[0]


def test_finds_no_difference_between_equal_programs(diff):
    report, text = diff(layers(), layers(), same=True)
    assert report["equal"] and report["same_bytes"] and report["constants"]["equal"] == 4
    assert "the files are equal" in text


def test_tells_equal_programs_in_files_laid_out_differently(diff):
    report, text = diff(layers(), lower({"forward": (Layers(), X)}, segment_alignment=4096),
                        same=True)
    assert report["equal"] and not report["same_bytes"] and report["constants"]["moved"] == 4
    assert "laid out differently" in text


def test_says_which_weight_changed_and_by_how_much(diff):
    report, text = diff(layers(), layers(change=0.5))
    assert report["constants"] == {"equal": 3, "moved": 0, "changed": 1, "only_a": 0, "only_b": 0}
    (change,) = report["differences"]
    assert change["where"] == "constants" and change["a"] == change["b"] and abs(change["error_max"] - 0.5) < 1e-6
    assert "values differ by up to 0.5" in text and "3 equal, 1 changed" in text


def test_shows_instructions_that_came_and_went(diff):
    report, text = diff(layers(), layers(torch.sigmoid))
    lines = of(report, "what the instructions do")["lines"]
    assert [line[:18] for line in lines if line[0] in "-+"] == ["- aten::relu.out(f", "+ aten::sigmoid.ou"]
    assert of(report, "calls of aten::sigmoid.out")["b"] == "1"
    assert report["constants"]["equal"] == 4 and "aten::sigmoid.out: 0 -> 1" in text


def test_sees_the_same_instructions_on_other_values(diff):
    class Less(torch.nn.Module):
        def __init__(self, swap):
            super().__init__()
            self.swap = swap

        def forward(self, x, y):
            return y - x if self.swap else x - y

    pair = (torch.ones(2), torch.zeros(2))
    report, _ = diff(lower({"forward": (Less(False), pair)}), lower({"forward": (Less(True), pair)}))
    (only,) = report["differences"]
    assert only["what"].startswith("instruction 0 works on other values: aten::sub.out")


def test_tells_a_constant_from_a_computed_value(diff):
    weight = torch.full((2,), 3.0)

    class Twice(torch.nn.Module):
        def __init__(self, second):
            super().__init__()
            self.second = second

        def forward(self, x):
            return x + weight, x + (weight if self.second else x)

    pair = (torch.ones(2),)
    report, _ = diff(lower({"forward": (Twice(True), pair)}), lower({"forward": (Twice(False), pair)}))
    assert any("works on other values" in d["what"] for d in report["differences"]), report


def test_compares_payloads_that_it_cannot_read_by_their_bytes(sconce, tmp_path):
    program = layers(xnnpack=True).buffer
    assert program.count(b"XN01") == 1
    (tmp_path / "a.pte").write_bytes(program.replace(b"XN01", b"XN09"))
    assert run_json(sconce, "diff", tmp_path / "a.pte", tmp_path / "a.pte")["equal"]
    (tmp_path / "b.pte").write_bytes(program.replace(b"XN01", b"XN08"))
    (only,) = run_json(sconce, "diff", tmp_path / "a.pte", tmp_path / "b.pte", code=1)["differences"]
    assert only["what"] == "delegate 0" and "XN" in only["a"]


def test_compares_inputs_methods_and_the_memory_plan(diff):
    many = torch.export.Dim("n", max=7)
    a = layers()
    b = lower({"forward": (Layers(), X), "more": (Scale(), (torch.zeros(2, 3), 3, True, 0.5))},
              {"forward": ({0: many},)}, memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False))
    report, text = diff(a, b)
    assert of(report, "method forward: input 0")["b"] == "f32[<= 7, 4]"
    assert of(report, "file: method more")["a"] == ""
    assert of(report, "planned memory")["a"] != of(report, "planned memory")["b"]
    assert "method more: 5 instructions, only in the second" in text or "only in the second" in text
    plan = lower({"forward": (Layers(), X)}, memory_planning_pass=MemoryPlanningPass(alignment=64))
    report, _ = diff(a, plan)
    assert {d["where"] for d in report["differences"]} == {"method forward"}
    assert "planned tensors lie elsewhere" in str(report["differences"])


def test_looks_into_xnnpack_payloads(diff):
    a = layers(xnnpack=True)
    report, text = diff(a, layers(change=0.5, xnnpack=True))
    payload = of(report, "delegate 0")
    assert len(payload["lines"]) == 1 and "f32[2, 6] changed, by up to 0.5" in payload["lines"][0]
    assert report["named_data"] == {"equal": 3, "moved": 0, "changed": 0, "only_a": 1, "only_b": 1}
    report, _ = diff(a, layers(torch.sigmoid, xnnpack=True))
    assert any(line.startswith("+ ") and "sigmoid" in line for line in of(report, "delegate 0")["lines"])


# Parts


def extract(sconce, tmp_path, program, name="m.pte"):
    (tmp_path / name).write_bytes(program if isinstance(program, bytes) else program.buffer)
    report = run_json(sconce, "extract", tmp_path / name, "-o", tmp_path / "parts", "--weights", tmp_path / "w.safetensors")
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    assert manifest["files"] == report["files"]
    assert {f["file"] for f in manifest["files"]} | {"manifest.json"} == {p.name for p in (tmp_path / "parts").iterdir()}
    for file in manifest["files"]:
        assert (tmp_path / "parts" / file["file"]).stat().st_size == file["bytes"]
    return report, load_file(tmp_path / "w.safetensors")


def assert_same_tensors(found, wanted):
    found, wanted = (sorted((str(t.dtype), tuple(t.shape), t.contiguous().numpy().tobytes()) for t in tensors)
                     for tensors in (found, wanted))
    assert found == wanted


def test_extracts_constants_with_their_bytes_and_types(sconce, tmp_path):
    class Typed(torch.nn.Module):
        def forward(self, x):
            return x + torch.tensor([0.5, 1.5], dtype=torch.float16), x > torch.tensor([True, False])

    report, weights = extract(sconce, tmp_path, lower({"forward": (Typed(), (torch.ones(2, dtype=torch.float16),))}))
    assert_same_tensors(weights.values(), [torch.tensor([0.5, 1.5], dtype=torch.float16), torch.tensor([True, False])])
    assert report["files"] == []


def test_extracts_weights_by_the_models_names_from_our_files(sconce, tmp_path):
    torch.export.save(torch.export.export(Layers(), X), tmp_path / "m.pt2")
    run(sconce, "compile", tmp_path / "m.pt2", "--target", "portable", "-o", tmp_path / "ours.pte")
    _, weights = extract(sconce, tmp_path, (tmp_path / "ours.pte").read_bytes())
    state = Layers().state_dict()
    for name in ("one.bias", "two.bias"):
        assert torch.equal(weights[name], state[name])
    assert len(weights) == 4


def test_extracts_payloads_and_the_weights_they_name(sconce, tmp_path):
    from executorch.exir._serialize._program import deserialize_pte_binary

    program = layers(xnnpack=True)
    report, weights = extract(sconce, tmp_path, program)
    stock = deserialize_pte_binary(program.buffer)
    stock = getattr(stock, "program", stock)
    delegates = [f for f in report["files"] if f["what"] == "delegate"]
    assert [f["name"] for f in delegates] == ["forward: 0 XnnpackBackend"]
    assert (tmp_path / "parts" / delegates[0]["file"]).read_bytes() == bytes(stock.backend_delegate_data[0].data)
    assert_same_tensors(weights.values(), Layers().state_dict().values())
    assert sum(f["what"] == "named data" for f in report["files"]) == 4


def test_extracts_a_data_file_and_initial_values(sconce, tmp_path):
    program = lower({"forward": (Layers(), X)}, external_constants=True)
    (blob,) = program._tensor_data.values()
    report, weights = extract(sconce, tmp_path, bytes(blob), "w.ptd")
    assert report["files"] == [] and len(weights) == 4
    assert {e["type"] for e in run_json(sconce, "inspect", tmp_path / "w.ptd")["entries"]} == {
        "f32[6, 4]", "f32[6]", "f32[2, 6]", "f32[2]"}
    for name, value in Layers().state_dict().items():
        assert torch.equal(weights[name], value)


def test_takes_the_program_out_of_a_bundle(sconce, several, tmp_path):
    extract(sconce, tmp_path, several.read_bytes(), "m.bpte")
    bundle = deserialize_from_flatbuffer_to_bundled_program(several.read_bytes())
    assert (tmp_path / "parts" / "program.pte").read_bytes() == bytes(bundle.program)


def test_names_in_a_file_are_no_paths(sconce, tmp_path):
    bytes_ = layers(xnnpack=True).buffer
    for name, path in ((b"forward", b"../../x"), (b"XnnpackBackend", b"/../../../abc\xff")):
        assert name in bytes_
        bytes_ = bytes_.replace(name, path)
    (tmp_path / "inner").mkdir()
    report, _ = extract(sconce, tmp_path / "inner", bytes_)
    (payload,) = [f for f in report["files"] if f["what"] == "delegate"]
    assert payload["file"] == "delegate.0..._.._x.0._.._.._.._abc_.bin"
    assert payload["name"] == "../../x: 0 /../../../abc\ufffd"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner"]


def test_leaves_a_folder_that_is_there_alone(sconce, several, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine").write_text("x")
    done = run(sconce, "extract", several, "-o", tmp_path / "parts", code=3)
    assert "is no empty folder" in done.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["parts", "mine"]
    assert "nothing to write" in run(sconce, "extract", several, code=3).stderr
    (tmp_path / "cut.pte").write_bytes(several.read_bytes()[:200])
    run(sconce, "extract", tmp_path / "cut.pte", "-o", tmp_path / "new", code=4)
    assert not (tmp_path / "new").exists()


# Profiles


def profile(sconce, tmp_path, program, calls=2, *more):
    (tmp_path / "m.pte").write_bytes(program.buffer)
    save_file({"input.0": X[0]}, tmp_path / "x.safetensors")
    call = ["--inputs", tmp_path / "x.safetensors", "--outputs", tmp_path / "out.safetensors"]
    run(sconce, "run", tmp_path / "m.pte", "--as-is", *call * calls, "--etdump", tmp_path / "m.etdp",
        "--trace", tmp_path / "m.json")
    return tmp_path / "m.etdp", json.loads((tmp_path / "m.json").read_text())["traceEvents"]


def inspect(path):
    """Events by run: {name of the run: [(name, instruction, times of the runs in ms), ...]}."""
    from executorch.devtools import Inspector
    from executorch.devtools.inspector import TimeScale

    inspector = Inspector(etdump_path=str(path), source_time_scale=TimeScale.NS, target_time_scale=TimeScale.MS)
    return {block.name: [(event.name, event._instruction_id, event.perf_data.raw) for event in block.events]
            for block in inspector.event_blocks}


def stocks_profile(tmp_path, program, calls=2):
    from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

    module = _load_for_executorch_from_buffer(program.buffer, enable_etdump=True)
    for _ in range(calls):
        module.forward(X)
    module.write_etdump_result_to_file(str(tmp_path / "stock.etdp"), None)
    return inspect(tmp_path / "stock.etdp")


@pytest.mark.parametrize("xnnpack", [False, True], ids=["portable", "xnnpack"])
def test_stocks_inspector_finds_in_our_profile_what_it_finds_in_its_own(sconce, tmp_path, xnnpack):
    class Model(Layers):
        def forward(self, x):
            return super().forward(x).cumsum(0)

    program = lower({"forward": (Model(), X)}, xnnpack=xnnpack)
    path, trace = profile(sconce, tmp_path, program)
    ours, stock = inspect(path), stocks_profile(tmp_path, program)
    assert ours.keys() == stock.keys()

    def instructions(events):  # backends tell of steps of their own
        return [event[:2] for event in events if event[0].isupper() or "::" in event[0] or event[0].startswith("native")]

    for name in ours:
        assert instructions(ours[name]) == instructions(stock[name])
    for name, _, times in ours["Execute"]:
        assert len(times) == 2 and all(t >= 0 for t in times), name
    steps = [event[0] for event in ours["Execute"] if "#" in event[0]]
    assert steps == (["fully_connected #1", "fully_connected #2"] if xnnpack else [])
    # The trace has the same events, each inside the one that it belongs to.
    runs = [event for event in trace if event["cat"] == "method"]
    assert [event["name"] for event in runs] == ["load forward", "run forward", "run forward"]
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in trace)
    inner = [event for event in trace if event["cat"] != "method"]
    assert len(inner) == 2 * (sum(e[0] in ("OPERATOR_CALL", "DELEGATE_CALL") for e in ours["Execute"]) + len(steps))
    for event in inner:
        assert any(r["ts"] <= event["ts"] + 1e-3 and event["ts"] + event["dur"] <= r["ts"] + r["dur"] + 2e-3 for r in runs)


def test_profiles_tile_programs_and_bench_runs(sconce, tmp_path):
    torch.export.save(torch.export.export(Layers(), X), tmp_path / "m.pt2")
    run(sconce, "compile", tmp_path / "m.pt2", "-o", tmp_path / "m.pte")
    table = run_json(sconce, "bench", tmp_path / "m.pte", "--runs", "3", "--etdump", tmp_path / "m.etdp")
    found = inspect(tmp_path / "m.etdp")["Execute"]
    steps = [event for event in found if "#" in event[0]]
    assert len(steps) == len(table["steps"]) > 0
    assert all(len(times) == 3 for _, _, times in found)
    assert ("DELEGATE_CALL", 0) in [event[:2] for event in found]


def test_a_call_that_fails_leaves_no_profile(sconce, tmp_path):
    program = layers()
    (tmp_path / "m.pte").write_bytes(program.buffer)
    save_file({"input.0": torch.zeros(3, 5)}, tmp_path / "x.safetensors")
    run(sconce, "run", tmp_path / "m.pte", "--inputs", tmp_path / "x.safetensors", "--outputs", tmp_path / "o.safetensors",
        "--etdump", tmp_path / "m.etdp", code=3)
    assert not (tmp_path / "m.etdp").exists()
