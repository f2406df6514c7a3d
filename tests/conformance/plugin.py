"""pytest plugin: ExecuTorch's backend test suite through our compiler and our runtime.

    PYTHONPATH=tests/conformance python -m pytest -p plugin -c /dev/null -p no:cacheprovider \
        SITE_PACKAGES/executorch/backends/test/suite/operators -m flow_ours_on_ours

(`run.py` does this.) It takes the place of three names of the suite before its tests read them:
`all_flows`, so that every case is collected once for each route of routes.py; `run_test`, because
the suite's own skips whatever stock's kernel library lacks and accepts errors of 0.1; `wrap_test`,
because the suite itself skips NaN, infinity and in-place models. Ours keeps the first two steps of run_test (the model
must run eagerly, then torch exports it with the suite's own export stage) and then takes the route.

Every case seeds torch from its name and --conformance-seed, so all routes of a case see the same
weights and inputs, and one export serves them all.
"""

import copy
import hashlib
import importlib
import json
import pathlib
import time

import pytest
import torch
from executorch.backends.test.harness import Tester
from executorch.backends.test.harness.stages import (
    Export, StageType, ToEdgeTransformAndLower, ToExecutorch)
from executorch.backends.test.suite import flow as suite_flow
from executorch.backends.test.suite.reporting import TestCaseSummary, TestResult

import routes
from routes import compare

runner = importlib.import_module("executorch.backends.test.suite.runner")


def all_flows() -> dict[str, suite_flow.TestFlow]:
    return {name: suite_flow.TestFlow(name, backend="sconce", tester_factory=Tester, is_delegated=False)
            for name in routes.ALL_ROUTES}


stocks_flows = suite_flow.all_flows()


def remember_patterns() -> None:
    """Stock's quantizer exports the same dozen patterns anew for every model, which is half of its
    time: here each is exported once a process."""
    utils = importlib.import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer_utils")
    export_pattern, made = utils._get_aten_graph_module_for_pattern, {}

    def remembered(pattern, example_inputs, is_cuda=False, **kwargs):
        function = pattern.forward
        chosen = tuple(cell.cell_contents for cell in function.__closure__ or ())
        key = (function.__code__, chosen, tuple(tuple(t.shape) for t in example_inputs), is_cuda,
               tuple(sorted(kwargs.items())))
        if key not in made:
            made[key] = export_pattern(pattern, example_inputs, is_cuda, **kwargs)
        return copy.deepcopy(made[key])

    utils._get_aten_graph_module_for_pattern = remembered


class State:
    """What lives from test to test."""

    def __init__(self) -> None:
        self.bench: routes.Bench | None = None
        # By subtest, of the case that runs: its other flows come right after.
        self.exported: dict[int, routes.Exported | routes.NotOurs] = {}
        # By subtest and stock's flow: the routes that begin with the same file share it.
        self.lowered: dict[tuple[int, str], routes.StocksFile | routes.NotOurs] = {}
        self.records: list[dict] = []
        self.case = ""


state = State()


def export(model: torch.nn.Module, inputs, dynamic_shapes) -> routes.Exported:
    model.eval()
    try:
        call = routes.call_of(model, tuple(inputs))
    except Exception as error:
        raise routes.NotOurs(f"torch cannot run it: {routes.first_line(error)}") from error
    stage = Export(dynamic_shapes=dynamic_shapes)
    try:
        stage.run(model, tuple(inputs))
    except Exception as error:
        raise routes.NotOurs(f"torch cannot export it: {routes.first_line(error)}") from error
    return routes.Exported({"forward": stage.artifact}, [call])


def changed_inputs(lowered) -> list[int]:
    """The inputs that a lowered program changes in place, which it gives as its first results."""
    signature = lowered.exported_program().graph_signature
    return [signature.user_inputs.index(name) for name in signature.user_inputs_to_mutate.values()]


def stocks_file(program: torch.export.ExportedProgram) -> routes.StocksFile:
    """As the suite's portable flow makes it. Arguments that the model changes become results."""
    lower, finish = ToEdgeTransformAndLower(), ToExecutorch()
    try:
        lower.run(program)
        finish.run(lower.artifact)
    except Exception as error:
        raise routes.NotOurs(f"stock cannot lower it: {routes.first_line(error)}") from error
    return routes.StocksFile(finish.artifact.buffer, changed=changed_inputs(lower.artifact))


def stocks_xnnpack_file(flow: str, model, inputs, dynamic_shapes) -> routes.StocksFile:
    """As the suite's flow of that name makes it."""
    made = stocks_flows[flow]
    try:
        tester = made.tester_factory(model, tuple(inputs))
        if made.quantize:
            tester.quantize(made.quantize_stage_factory())
        tester.export(tester._get_default_stage(StageType.EXPORT, dynamic_shapes=dynamic_shapes))
        exported = tester.stages[StageType.EXPORT].artifact
        tester.to_edge_transform_and_lower()
        tester.to_executorch()
        changed = changed_inputs(tester.stages[StageType.TO_EDGE_TRANSFORM_AND_LOWER].artifact)
        return routes.StocksFile(tester.get_artifact().buffer, changed=changed, exported=exported)
    except Exception as error:
        raise routes.NotOurs(f"stock cannot lower it: {routes.first_line(error)}") from error


def run_test(model, inputs, flow, test_name, test_base_name, subtest_index, params,
             dynamic_shapes=None, generate_random_test_inputs=True, artifact_dir=None):
    """The suite's entry, for our flows. Its cases give inputs or ask for random ones of the same
    shapes; what they give is run in both cases."""
    start = time.monotonic()
    result, error = TestResult.SUCCESS, None
    if subtest_index not in state.exported:
        try:
            state.exported[subtest_index] = export(model, inputs, dynamic_shapes)
        except routes.NotOurs as reason:
            state.exported[subtest_index] = reason
    case, worst = state.exported[subtest_index], None
    state.bench.as_it_stands = None
    try:
        if isinstance(case, routes.NotOurs):
            raise case
        stocks_flow = routes.OUR_INT8_ROUTES.get(flow.name, flow.name)

        def lower() -> routes.StocksFile:
            key = (subtest_index, stocks_flow)
            if key not in state.lowered:
                try:
                    if stocks_flow in routes.XNNPACK_ROUTES:
                        made = stocks_xnnpack_file(stocks_flow, model, inputs, dynamic_shapes)
                    else:
                        made = stocks_file(case.methods["forward"])
                except routes.NotOurs as reason:
                    made = reason
                state.lowered[key] = made
            if isinstance(state.lowered[key], routes.NotOurs):
                raise state.lowered[key]
            return state.lowered[key]

        worst = state.bench.run(flow.name, case, lower)
    except routes.NotOurs as reason:
        result, error = TestResult.SKIPPED, reason
    except compare.Wrong as wrong:
        result, error = TestResult.OUTPUT_MISMATCH_FAIL, wrong
    except Exception as problem:
        result, error = TestResult.PTE_RUN_FAIL, problem
    state.records.append({
        "case": state.case, "subtest": subtest_index, "flow": flow.name,
        "result": "pass" if error is None else "skip" if result == TestResult.SKIPPED else "fail",
        "reason": "" if error is None else f"{error}" or type(error).__name__,
        "as_it_stands": state.bench.as_it_stands, "error": worst, "seconds": round(time.monotonic() - start, 3),
    })
    return TestCaseSummary(
        backend=flow.backend, base_name=test_base_name, subtest_index=subtest_index, flow=flow.name,
        name=test_name, params=params, result=result, error=error, tensor_error_statistics=[])


def wrap_test(function, test_type):
    """Cases that the suite marks with unittest.skip run as well: NaN and infinity, in-place models."""
    if getattr(function, "__unittest_skip__", False):
        function = function.__wrapped__
    return wrap_as_the_suite(function, test_type)


remember_patterns()
suite_flow.all_flows = all_flows
runner.run_test = run_test
operators = importlib.import_module("executorch.backends.test.suite.operators")
wrap_as_the_suite, operators.wrap_test = operators.wrap_test, wrap_test


# pytest's side.


def pytest_addoption(parser):
    group = parser.getgroup("conformance")
    group.addoption("--conformance-report", type=pathlib.Path, help="where the records go, as JSON")
    group.addoption("--conformance-shard", default="0/1", metavar="I/N",
                    help="take every N-th case, beginning with the I-th")
    group.addoption("--conformance-seed", type=int, default=0)


def case_of(item) -> str:
    return f"{pathlib.Path(item.path).stem}::{item.originalname}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    index, count = map(int, config.getoption("--conformance-shard").split("/"))
    cases = {case: i for i, case in enumerate(dict.fromkeys(map(case_of, items)))}
    mine = [item for item in items if cases[case_of(item)] % count == index]
    order = {name: i for i, name in enumerate(routes.ALL_ROUTES)}
    mine.sort(key=lambda item: (cases[case_of(item)], order[item.callspec.params["test_runner"].name]))
    config.hook.pytest_deselected(items=[item for item in items if item not in set(mine)])
    items[:] = mine


def pytest_configure(config):
    # The suite asks for pytest-timeout, whose place the bench's own limits take.
    config.addinivalue_line("markers", "timeout(seconds): seconds a case may take")


def pytest_sessionstart(session: pytest.Session):
    state.bench = routes.Bench()


def pytest_runtest_setup(item):
    if state.case != case_of(item):
        state.case, state.exported, state.lowered = case_of(item), {}, {}
    seed = int.from_bytes(hashlib.sha256(state.case.encode()).digest()[:4], "little")
    torch.manual_seed(seed + item.config.getoption("--conformance-seed"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    flow = item.callspec.params["test_runner"].name
    if report.passed or any(r["case"] == state.case and r["flow"] == flow for r in state.records):
        return
    # It ended before run_test: the suite's own code raised, or skips the case by other means.
    state.records.append({
        "case": state.case, "subtest": 0, "flow": flow, "result": "skip" if report.skipped else "fail",
        "reason": f"outside run_test: {routes.first_line(call.excinfo.value)}", "error": None,
        "seconds": round(call.duration, 3),
    })


def pytest_sessionfinish(session: pytest.Session):
    if state.bench:
        state.bench.close()
    report = session.config.getoption("--conformance-report")
    if report:
        report.write_text(json.dumps(state.records, indent=1) + "\n")
