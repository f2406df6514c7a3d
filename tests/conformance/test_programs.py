"""The programs of programs.py on the three routes of routes.py."""

import copy
import warnings

import pytest

import routes
from routes import compare
from programs import PROGRAMS, Program

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bench():
    try:
        made = routes.Bench()
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    yield made
    made.close()


def export(made: Program) -> routes.Exported:
    modules = {name: method.module.eval() for name, method in made.methods.items()}
    if not made.gradients:
        for module in modules.values():
            module.requires_grad_(False)  # stock cannot lower state fed by trainable weights
    eager = copy.deepcopy(modules)  # together: what they share stays shared; state of the export stays
    methods = {name: torch.export.export(modules[name], method.example,
                                         dynamic_shapes=method.dynamic_shapes, strict=True)
               for name, method in made.methods.items()}
    calls = [routes.call_of(eager[name], tuple(args), name) for name, *args in made.calls]
    return routes.Exported(methods, calls, made.constants, made.shared_state)


def gradients(program: torch.export.ExportedProgram, case: routes.Exported) -> torch.export.ExportedProgram:
    """Stock's export of the forward and the backward pass. Its results are the model's, the gradients
    and then the parameters themselves; torch's own run of that graph is the answer."""
    from torch.export.experimental import _export_forward_backward

    joint = _export_forward_backward(program)
    call, signature = case.calls[0], joint.graph_signature
    values = [joint.state_dict[spec.target] for spec in signature.input_specs if spec.target is not None]
    results = torch.fx.Interpreter(joint.graph_module).run(*values, *call.args)
    call.expected = (*results, *(joint.state_dict[name] for name in signature.parameters))
    return joint


def stocks_file(made: Program, case: routes.Exported) -> routes.StocksFile:
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge
    from executorch.exir.passes import MemoryPlanningPass

    methods = dict(case.methods)
    if made.gradients:
        methods["forward"] = gradients(methods["forward"], case)
    plan = dict(made.plan)
    if made.shared_state:
        plan["share_mutable_buffers"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edge = to_edge(methods, constant_methods=made.constants or None,
                       compile_config=EdgeCompileConfig(_check_ir_validity=False))
        lowered = edge.to_executorch(ExecutorchBackendConfig(
            memory_planning_pass=MemoryPlanningPass(**plan), external_constants=made.external,
            emit_mutable_buffer_names=made.shared_state))
    return routes.StocksFile(lowered.buffer, [bytes(blob) for blob in lowered._tensor_data.values()])


def test_names_weights_that_are_missing_or_of_another_shape(bench):
    program = PROGRAMS["linear_external"]()
    case = export(program)
    made = stocks_file(program, case)
    pte, other = bench.work / "linear.pte", compare.ROOT / "src/formats/ptd/testdata/linear.ptd"
    pte.write_bytes(made.program)
    with pytest.raises(compare.Wrong, match='external data "weight": 0 bytes found, want 60'):
        bench.on_ours(pte, case)
    with pytest.raises(compare.Wrong, match=r'"weight" is f32\[2, 3\], method forward wants f32\[3, 5\]'):
        bench.on_ours(pte, case, [other])
    with pytest.raises(compare.Wrong, match='"(weight|bias)" is in the program or another file too'):
        bench.on_ours(pte, case, [other, other])


def run_with_weights_apart(bench: routes.Bench, case: routes.Exported, route: str) -> None:
    """Our file of one method, and our .ptd beside it, on either runtime."""
    source, pte, ptd = (bench.work / name for name in ("apart.pt2", "apart.pte", "apart.ptd"))
    torch.export.save(case.methods["forward"], source)
    on_stock = route == "ours_on_stock"
    command = ("compile", source, "-o", pte, "--weights-file", ptd, "--target", "portable" if on_stock else "cpu")
    written = []
    for _ in range(2):
        compare.run_cli(bench.sconce, *command)
        written.append((pte.read_bytes(), ptd.read_bytes()))
    assert written[0] == written[1], "the same program gives the same bytes"
    if not on_stock:
        bench.on_ours(pte, case, [ptd])
        with pytest.raises(compare.Wrong, match="neither in the file nor beside it"):
            bench.on_ours(pte, case)
        return
    files = [bench.files(call, number) for number, call in enumerate(case.calls)]
    bench.oracle.ask({"do": "run", "pte": str(pte), "data": str(ptd), "calls": [
        {"inputs": made["leaves"], "from": str(made["inputs"]), "to": str(made["got"])} for made in files]})
    for made in files:
        bench.judge(made)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("route", routes.ROUTES)
def test_answers_as_torch_does(route, name, bench, request):
    torch.manual_seed(0)
    made = PROGRAMS[name]()
    if route != "stock_on_ours" and made.ours_cannot:
        pytest.skip(made.ours_cannot)
    if route == "stock_on_ours" and made.ours_cannot_run:
        request.applymarker(pytest.mark.xfail(reason=made.ours_cannot_run, strict=True))
    case = export(made)
    if made.external and route != "stock_on_ours":
        run_with_weights_apart(bench, case, route)
        return
    bench.run(route, case, lambda: stocks_file(made, case))
