"""The Python package: compile and load, on torch tensors and numpy arrays."""

import importlib.util
import os
import pathlib
import sys

import numpy
import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sconce():
    """The package as it stands in python/, with the extension of the build tree."""
    built = os.environ.get("SCONCE_CORE_DIR")
    if not built or not list(pathlib.Path(built).glob("_core*")):
        pytest.skip("the extension is not built: configure with -DSCONCE_PYTHON=ON")
    source = ROOT / "python" / "sconce"
    spec = importlib.util.spec_from_file_location(
        "sconce", source / "__init__.py", submodule_search_locations=[str(source), built])
    module = importlib.util.module_from_spec(spec)
    sys.modules["sconce"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 2)).eval()


def test_compiles_a_module_and_answers_as_torch_does(sconce, layers):
    x = torch.randn(3, 6)
    model = sconce.compile(layers, (x,))
    assert model.method_names == ["forward"]
    torch.testing.assert_close(model(x), layers(x).detach())


def test_takes_and_gives_numpy(sconce, layers):
    x = torch.randn(3, 6)
    answer = sconce.compile(layers, (x,))(x.numpy())
    assert isinstance(answer, numpy.ndarray)
    numpy.testing.assert_allclose(answer, layers(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_results_may_be_views_that_outlive_the_model(sconce, layers):
    x, y = torch.randn(3, 6), torch.randn(3, 6)
    for convert in (lambda t: t, lambda t: t.numpy()):
        model = sconce.compile(layers, (x,))
        model.copy_results = False
        first = model(convert(x))
        second = model(convert(y))
        numpy.testing.assert_array_equal(first, second)  # the same memory
        del model
        torch.testing.assert_close(torch.as_tensor(second), layers(y).detach())


def test_a_view_of_a_constant_is_a_copy(sconce):
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.arange(5.0))

        def forward(self, x):
            return x + 1, self.table

    model = sconce.compile(Constant(), (torch.zeros(2),), target="portable")
    model.copy_results = False
    _, table = model(torch.zeros(2))
    table += 1  # not written into the mapped file
    torch.testing.assert_close(model(torch.zeros(2))[1], torch.arange(5.0))


def test_loads_the_file_it_wrote(sconce, layers, tmp_path):
    x = torch.randn(3, 6)
    path = tmp_path / "model.pte"
    sconce.compile(layers, (x,), output=path, target="portable")
    torch.testing.assert_close(sconce.load(path)(x), layers(x).detach())


def test_holds_several_methods(sconce, layers):
    x = torch.randn(3, 6)
    programs = {"forward": torch.export.export(layers, (x,)),
                "double": torch.export.export(torch.nn.Sequential(layers, layers[0].__class__(2, 2)).eval(), (x,))}
    model = sconce.compile(programs)
    assert sorted(model.method_names) == ["double", "forward"]
    torch.testing.assert_close(model(x), layers(x).detach())
    torch.testing.assert_close(model.run("double", x), programs["double"].module()(x).detach())


def test_keeps_state_and_gives_it_back(sconce):
    class Counter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.full((2,), 3.0))

        def forward(self, x):
            self.count.add_(x)
            return self.count * 1

    one = torch.ones(2)
    model = sconce.compile(Counter(), (one,))
    assert [model(one).tolist(), model(one).tolist()] == [[4, 4], [5, 5]]
    model.reset()
    assert model(one).tolist() == [4, 4]


def test_changes_inputs_in_place_as_torch_does(sconce):
    class Clip(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.relu(x, inplace=True)

    x = torch.tensor([-1.0, 2.0])
    model = sconce.compile(Clip(), (x.clone(),))
    assert model(x).tolist() == [0, 2] and x.tolist() == [0, 2]
    fixed = numpy.array([-1.0, 3.0], dtype=numpy.float32)
    fixed.flags.writeable = False
    assert model(fixed).tolist() == [0, 3] and fixed.tolist() == [-1, 3]


def test_weights_grow_no_more_than_is_preferred(sconce, tmp_path):
    torch.manual_seed(0)
    wide = torch.nn.Conv2d(256, 256, 3, padding=1)  # of 7 x 7: somewhat faster by Winograd's method
    large = torch.nn.Conv2d(32, 256, 3, padding=1, stride=1)  # of 28 x 28: much faster
    module = torch.nn.Sequential(large, torch.nn.MaxPool2d(4), wide).eval()
    x = torch.randn(1, 32, 28, 28)
    model_bytes = sum(p.numel() * 4 for p in module.parameters())
    sizes = {}
    for prefer in ("size", "balance", "speed"):
        path = tmp_path / f"{prefer}.pte"
        model = sconce.compile(module, (x,), output=path, prefer=prefer)
        torch.testing.assert_close(model(x), module(x).detach(), rtol=1e-4, atol=1e-5)
        sizes[prefer] = path.stat().st_size
    assert model_bytes < sizes["size"] < model_bytes + 20_000
    assert sizes["balance"] > sizes["size"] + large.weight.numel() * 2
    assert sizes["speed"] > sizes["balance"] + wide.weight.numel() * 2
    with pytest.raises(sconce.Error, match='"quick" is not known; there are size, balance, speed'):
        sconce.compile(module, (x,), prefer="quick")


def test_names_the_input_that_does_not_fit(sconce, layers):
    model = sconce.compile(layers, (torch.randn(3, 6),))
    with pytest.raises(sconce.Error, match="input 0"):
        model(torch.randn(3, 7))
    with pytest.raises(sconce.Error, match="input 0"):
        model(torch.randn(3, 6).double())


def test_refuses_a_broken_file(sconce, tmp_path):
    path = tmp_path / "broken.pte"
    path.write_bytes(b"no program" * 20)
    with pytest.raises(sconce.Error, match="broken.pte"):
        sconce.load(path)


def test_files_of_stock_are_compiled_anew_unless_that_is_not_wanted(sconce):
    folder = ROOT / "src" / "runtime" / "testdata"  # stock wrote these
    anew, as_is = (sconce.load(folder / "linear.pte", as_is=flag) for flag in (False, True))
    assert anew.methods_as_is == {}
    x = torch.linspace(-1, 1, 8).reshape(2, 4)
    numpy.testing.assert_allclose(anew(x), as_is(x), rtol=1e-6, atol=1e-6)
    assert sconce.load(folder / "cond.pte").methods_as_is == {}
    assert "forward" in sconce.load(folder / "item.pte").methods_as_is
