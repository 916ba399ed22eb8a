import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.yann import encode_actor
from yannctl.yann.lattice import LatticeLaws


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_loops_give_the_bits_of_the_module(law, laws, dtype):
    actor = encode_actor(law, "lattice", dtype)
    points = torch.as_tensor(laws.spread(law, 20_001, 0)).to(dtype)
    wanted = actor(points).numpy()
    for threads in (1, 3):
        got = actor.compiled(threads)(points.numpy())
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)


def test_compiled_any_shape_and_length(laws):
    law = laws.integrator_law(2, 2)
    actor = encode_actor(law, "lattice")
    compiled = actor.compiled(2)
    for shape in [(), (1,), (0,), (2, 3), (2, 0, 3), (257,), (8192,), (9001,)]:
        x = np.random.default_rng(0).uniform(-2, 2, (*shape, 2))
        assert np.array_equal(compiled(x), actor(torch.as_tensor(x)).numpy())
    assert np.array_equal(compiled([1, 0]), actor(torch.tensor([1.0, 0.0], dtype=torch.float64)).numpy())
    with pytest.raises(ModelError, match=r"x: got shape \(3,\), expected \(\.\.\., 2\)"):
        compiled(np.zeros(3))
    with pytest.raises(ModelError, match="threads: got 0"):
        actor.compiled(0)


def test_compiled_says_nan_where_the_state_is_not_finite(laws):
    compiled = encode_actor(laws.saturation(), "lattice").compiled(1)
    got = compiled(np.array([[0.25], [np.nan], [np.inf], [-np.inf], [3.0]]))[:, 0]
    assert np.array_equal(got, [0.5, np.nan, np.nan, np.nan, 1.0], equal_nan=True)


def test_compiled_is_a_copy_of_the_present_weights(laws):
    actor = encode_actor(laws.saturation(), "lattice")
    before = actor.compiled(1)
    with torch.no_grad():
        actor.outputs[0].g.add_(1.0)
    x = np.linspace(-3, 3, 50)[:, None]
    assert np.allclose(actor.compiled(1)(x), before(x) + 1.0)
    assert np.array_equal(actor.compiled(1)(x), actor(torch.as_tensor(x)).numpy())


def test_loaded_terms_are_followed(laws):
    actor, other = (encode_actor(laws.saturation(gain), "lattice") for gain in (2.0, 3.0))
    state = other.state_dict()
    state["law.0.terms"] = other.outputs[0].terms.flip(0)
    actor.load_state_dict(state)
    assert actor.outputs[0].members == [sorted(set(row)) for row in state["law.0.terms"].tolist()]
    x = np.linspace(-3, 3, 50)[:, None]
    assert np.array_equal(actor.compiled(1)(x), other(torch.as_tensor(x)).numpy())


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
def test_whole_graphs_without_breaks(laws, form):
    law = laws.integrator_law(2, 2)
    actor = encode_actor(law, form)
    points = torch.as_tensor(laws.spread(law, 3000, 1))
    traced = torch.compile(actor, backend="eager", fullgraph=True)
    assert torch.equal(traced(points), actor(points))
    torch.compiler.reset()


def test_lattice_is_unrolled_under_a_compiler(laws, monkeypatch):
    actor = encode_actor(laws.integrator_law(2, 2), "lattice")
    points = torch.as_tensor(laws.spread(laws.integrator_law(2, 2), 3000, 1))
    calls = []
    unrolled = LatticeLaws._unrolled
    monkeypatch.setattr(LatticeLaws, "_unrolled", lambda self, theta: calls.append(1) or unrolled(self, theta))
    program = torch.export.export(actor, (points,)).module()
    assert len(calls) == 2  # one an output
    assert torch.equal(program(points), actor(points))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
def test_torchscript_keeps_the_bits(laws, form, tmp_path):
    law = laws.integrator_law(2, 2)
    actor = encode_actor(law, form)
    points = torch.as_tensor(laws.spread(law, 3000, 1))
    script = torch.jit.trace(actor, (points[:7],))
    script.save(tmp_path / "actor.pt")
    again = torch.jit.load(tmp_path / "actor.pt")
    assert torch.equal(again(points), actor(points))
    assert torch.equal(again(points[:1]), actor(points[:1]))


@pytest.mark.slow  # starts a C++ compiler
@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
@pytest.mark.filterwarnings("ignore")
def test_inductor_keeps_the_values(laws, form):
    law = laws.integrator_law(2, 2)
    actor = encode_actor(law, form)
    points = torch.as_tensor(laws.spread(law, 3000, 1))
    assert (torch.compile(actor)(points) - actor(points)).abs().max() <= actor.tolerance()
    torch.compiler.reset()
