import casadi as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl.assurance import DiscreteMap, Domain, Errors, Flow, Statement, bound_inclusion, certify, design
from yannctl.assurance.inclusion import with_delay
from yannctl.assurance.invariant_set import invariant_set, successor_rows
from yannctl.errors import EmptySetError, ModelError
from yannctl.tape import ExpressionTape


def double_integrator(dt=0.1):
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p")
    return Flow(ca.Function("rate", [x, u, p], [ca.vertcat(x[1], u + p)]), dt, [1.0, 1.0])


DOMAIN = Domain([-1, -1], [1, 1], [-1], [1], [-0.1], [0.1])


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.sampled_from(["pendulum-upright", "robot-corridor"]))
def test_every_successor_lies_in_the_inclusion(designs, seed, name):
    """Support functions: no direction in which the plant reaches further than the models."""
    chosen, certificate = designs(name)
    step, d, inclusion = ExpressionTape.from_function(chosen.step), chosen.domain, certificate.inclusion
    rng = np.random.default_rng(seed)
    x, u = rng.uniform(d.x_min, d.x_max, (300, 2)), rng.uniform(d.u_min, d.u_max, (300, 1))
    p = rng.uniform(d.p_min, d.p_max, (300, d.p_min.size))
    p[::2] = np.where(rng.random(p[::2].shape) < 0.5, d.p_min, d.p_max)
    after = step.evaluate(x, u, p)
    directions = rng.normal(size=(50, 2))
    in_x, in_u, right = successor_rows(inclusion, directions, np.zeros(50))
    reach = (
        (in_x @ x.T + in_u @ u.T - right[:, None]).reshape(len(inclusion), 50, 300)[inclusion.periods == 1].max(axis=0)
    )
    assert (directions @ after.T <= reach + 1e-12).all()
    assert inclusion.residual_share(x, u, after).max() <= 1.0


def test_linear_plant_has_one_model_and_the_disturbance_is_exact():
    inclusion = bound_inclusion(double_integrator(), DOMAIN)
    assert len(inclusion) == 1
    np.testing.assert_allclose(inclusion.A[0], [[1, 0.1], [0, 1]], atol=1e-9)
    np.testing.assert_allclose(inclusion.terms["parameters"][0], [0.0005, 0.01], rtol=1e-6)


def test_every_error_enters_by_name():
    errors = Errors(sensor=[0.01, 0.02], simulation=[1e-6, 1e-6])
    inclusion = bound_inclusion(double_integrator(), DOMAIN, errors)
    assert set(inclusion.terms) == {"nonlinearity", "parameters", "rounding", "simulation", "sensor"}
    np.testing.assert_allclose(inclusion.terms["sensor"][0], [0.01 + 0.002 + 0.01, 0.04], rtol=1e-6)
    assert (inclusion.w >= sum(inclusion.terms.values())).all()
    plain = bound_inclusion(double_integrator(), DOMAIN)
    assert invariant_set(inclusion, DOMAIN).share < invariant_set(plain, DOMAIN).share


def test_a_delay_adds_the_input_on_its_way():
    inclusion = with_delay(bound_inclusion(double_integrator(), DOMAIN))
    assert inclusion.nx == 3
    found = invariant_set(inclusion, DOMAIN)
    assert 0.3 < found.share < invariant_set(bound_inclusion(double_integrator(), DOMAIN), DOMAIN).share


def test_the_set_of_the_double_integrator_is_the_known_one():
    """Without disturbance and with the input held, v >= 0 must brake before the border: x <= 1 - v (v - dt) / 2 ."""
    domain = Domain([-1, -1], [1, 1], [-1], [1], [0.0], [0.0])
    found = invariant_set(bound_inclusion(double_integrator(), domain), domain, contraction=0.9999)
    for v in (0.2, 0.5, 0.8):
        # Braking by u = -1: the reached maximum at the samples, by exact summation.
        k = np.arange(0, int(v / 0.1) + 1)
        overshoot = np.max(v * 0.1 * k - 0.5 * (0.1 * k) ** 2)
        inside = found.H @ np.array([1 - overshoot - 2e-3, v]) <= found.h
        outside = found.H @ np.array([1 - overshoot + 1e-6, v]) <= found.h
        assert inside.all()
        assert not outside.all()


def chain(nx, nu):
    """Unstable states, the last ones moved by the inputs, the others by their neighbours."""
    x, u, p = ca.SX.sym("x", nx), ca.SX.sym("u", nu), ca.SX.sym("p", 1)
    moved = ca.vertcat(0.2 * x[nu:], 0.5 * u)
    return DiscreteMap(ca.Function("step", [x, u, p], [x + 0.2 * p * x + moved[-nx:] + 0.01 * x**2]))


@pytest.mark.slow
def test_many_states_and_inputs_are_certified():
    """Corners where many rows nearly meet: Qhull alone fails on them."""
    domain = Domain([-1] * 4, [1] * 4, [-1] * 3, [1] * 3, [0.10], [0.12])
    inclusion = bound_inclusion(chain(4, 3), domain, Errors(simulation=1e-9), 1, max_corners=2)
    names, inputs = ("a", "b", "c", "d"), ("u", "v", "w")
    said = Statement("chain", names, ("1",) * 4, inputs, ("1",) * 3, ("g",), 1.0)
    certificate = certify(said, domain, inclusion, 0.9)
    assert certificate.share > 0.7
    assert certificate.check().ok


def test_a_set_with_too_many_facets_says_what_to_change():
    domain = Domain([-1] * 3, [1] * 3, [-1], [1], [0.10], [0.12])
    inclusion = bound_inclusion(chain(3, 1), domain, Errors(simulation=1e-9), 1, max_corners=2)
    with pytest.raises(ModelError, match=r"facets after .* a smaller contraction, fewer models"):
        invariant_set(inclusion, domain, 0.95, max_rows=10)


def test_too_weak_an_input_gives_an_empty_set():
    domain = Domain([-1, -1], [1, 1], [-0.05], [0.05], [-0.1], [0.1])
    with pytest.raises(EmptySetError, match="no robust control invariant set"):
        invariant_set(bound_inclusion(double_integrator(), domain), domain)


def test_a_sensor_that_eats_the_box_is_named():
    inclusion = bound_inclusion(double_integrator(), DOMAIN, Errors(sensor=[2.0, 0.1]))
    with pytest.raises(EmptySetError, match="sensor"):
        invariant_set(inclusion, DOMAIN)


def test_bad_domains_and_names_are_refused():
    with pytest.raises(ModelError, match="u_min"):
        Domain([0], [1], [1], [0])
    with pytest.raises(ModelError, match="no design"):
        design("spaceship")
