import copy

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw
from yannctl.yann import encode_actor, parts


def numpy_of(module, points):
    with torch.no_grad():
        return module(torch.as_tensor(points)).numpy()


def test_gather_is_bitwise_the_law(law, laws):
    points = laws.spread(law, 20_000, 0)
    wanted = law(points)
    inside = np.isfinite(wanted).all(axis=1)
    assert inside.sum() > 1000
    assert np.array_equal(numpy_of(encode_actor(law), points[inside]), wanted[inside])


def test_gather_goes_on_with_the_nearest_region_outside(law):
    rng = np.random.default_rng(1)
    half = (law.theta_max - law.theta_min) / 2
    points = rng.uniform(law.theta_min - half, law.theta_max + half, (5000, law.ntheta))
    assert np.isnan(law(points)).any()
    assert np.array_equal(numpy_of(encode_actor(law), points), law.extrapolate(points))


def test_float32_stays_within_eight_rounding_errors(law, laws):
    actor = encode_actor(law, dtype=torch.float32)
    points = laws.spread(law, 5000, 2).astype(np.float32)
    wanted = law(points.astype(float))
    inside = np.isfinite(wanted).all(axis=1)
    region = law.locate(points[inside].astype(float))
    size = np.einsum("boi,bi->bo", np.abs(law.F[region]), np.abs(points[inside])) + np.abs(law.g[region])
    got = numpy_of(actor, points[inside])
    assert got.dtype == np.float32
    assert np.abs(got - wanted[inside]).max() <= 8 * np.finfo(np.float32).eps * size.max()


def test_gradient_is_the_gain_of_the_region(law):
    actor = encode_actor(law)
    for region in range(0, law.n_regions, 3):
        centre = torch.as_tensor(law.vertices(region).mean(axis=0))
        jacobian = torch.autograd.functional.jacobian(actor, centre)
        assert np.array_equal(jacobian.numpy(), law.F[law.locate(centre.numpy())])


def test_gradient_by_finite_differences(laws):
    law = laws.integrator_law()
    actor = encode_actor(law)
    centres = np.array([law.vertices(i).mean(axis=0) for i in range(law.n_regions)])
    x = torch.as_tensor(centres).requires_grad_()
    (gradient,) = torch.autograd.grad(actor(x).sum(), x)
    step = 1e-7
    for column in range(law.ntheta):
        shift = step * np.eye(law.ntheta)[column]
        slope = (law.extrapolate(centres + shift) - law.extrapolate(centres - shift)) / (2 * step)
        inside = law.locate(centres + shift) == law.locate(centres - shift)
        assert inside.sum() > law.n_regions // 2
        assert np.allclose(slope[inside, 0], gradient.numpy()[inside, column], atol=1e-6)


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
def test_any_batch_shape(laws, form):
    law = laws.integrator_law(2, 2)
    actor = encode_actor(law, form)
    for shape in [(), (1,), (4,), (0,), (2, 3), (2, 0, 3)]:
        assert actor(torch.zeros(*shape, 2, dtype=torch.float64)).shape == (*shape, 2)
    with pytest.raises(ModelError, match=r"x: got shape \(3,\), expected \(\.\.\., 2\)"):
        actor(torch.zeros(3))


def test_parts_of_a_batch_give_the_same(law, monkeypatch):
    actor = encode_actor(law)
    points = torch.as_tensor(np.random.default_rng(4).uniform(law.theta_min, law.theta_max, (500, law.ntheta)))
    whole = actor(points)
    monkeypatch.setattr(parts, "CHUNK_ELEMENTS", 1)
    assert torch.equal(actor(points), whole)


def test_state_dict_holds_the_law_and_restores_it(laws):
    law = laws.saturation(2.0)
    actor = encode_actor(law)
    assert set(actor.state_dict()) == {"law.row_start", "law.H", "law.k", "law.F", "law.g"}
    other = encode_actor(laws.saturation(3.0))
    other.load_state_dict(actor.state_dict())
    points = np.linspace(-3, 3, 601)[:, None]
    assert np.array_equal(numpy_of(other, points), law(points))


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
def test_state_dict_names_start_with_law(laws, form):
    assert all(name.startswith("law.") for name in encode_actor(laws.saturation(), form).state_dict())


def test_copies_share_the_law(laws):
    actor = encode_actor(laws.saturation())
    twin = copy.deepcopy(actor)
    assert twin.source.law is actor.source.law
    assert twin.law.F is not actor.law.F


def test_export_gives_the_same_values(laws):
    law = laws.integrator_law()
    actor = encode_actor(law)
    points = torch.as_tensor(np.random.default_rng(5).uniform(law.theta_min, law.theta_max, (64, 2)))
    batch = torch.export.Dim("batch", min=2, max=1_000_000)
    program = torch.export.export(actor, (points,), dynamic_shapes=({0: batch},)).module()
    more = torch.as_tensor(np.random.default_rng(6).uniform(law.theta_min, law.theta_max, (1000, 2)))
    assert torch.equal(program(more), actor(more))


def test_weights_are_counted(laws):
    law = laws.integrator_law()
    q, p, n, m = len(law.k), law.n_regions, 2, 1
    assert encode_actor(law).n_weights == q * (n + 1) + p * m * (n + 1)
    published = q * (n + 1) + p * (q + 1) + p**2 + 2 * m * p * (p + n + 1) + 2 * m**2 * p
    assert encode_actor(law, "five_layer").n_weights == published
    assert encode_actor(law, "lattice").n_weights < encode_actor(law).n_weights


def test_region_without_rows_holds_everything():
    law = PwaLaw(
        row_start=np.array([0, 0]),
        H=np.zeros((0, 1)),
        k=np.zeros(0),
        F=np.array([[[2.0]]]),
        g=np.array([[1.0]]),
        theta_min=np.array([-1.0]),
        theta_max=np.array([1.0]),
    )
    points = np.linspace(-1, 1, 11)[:, None]
    assert np.array_equal(numpy_of(encode_actor(law), points), 2 * points + 1)


def test_what_is_no_law_is_refused(laws):
    with pytest.raises(ModelError, match=r"law: expected a PwaLaw, got Ocp; .*solve_mpqp"):
        encode_actor(laws.integrator())


def test_mistakes_are_named(laws):
    with pytest.raises(ModelError, match=r"form: got 'tree'"):
        encode_actor(laws.saturation(), "tree")
    empty = PwaLaw(
        row_start=np.zeros(1, dtype=np.int64),
        H=np.zeros((0, 1)),
        k=np.zeros(0),
        F=np.zeros((0, 1, 1)),
        g=np.zeros((0, 1)),
        theta_min=np.array([-1.0]),
        theta_max=np.array([1.0]),
        status="infeasible",
        message="no parameter is feasible",
    )
    for form in ("gather", "five_layer", "lattice"):
        with pytest.raises(ModelError, match="has no region"):
            encode_actor(empty, form)
