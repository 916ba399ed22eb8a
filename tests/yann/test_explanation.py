import json

import numpy as np
import pytest
import torch
from torch import nn

from yannctl.controllers import NetworkController
from yannctl.controllers.composition import Filtered, Limited
from yannctl.errors import ModelError
from yannctl.mpqp import condense
from yannctl.yann import Bounds, encode_actor, explain, extend
from yannctl.yann.explanation import constraint_names

BOUNDS = Bounds([-5.0, -3.0], [5.0, 3.0], [-1.0], [1.0])


def test_saturation_in_words(laws):
    found = explain(laws.saturation(), [0.25])
    assert (found.region, found.inside) == (0, True)
    assert found.u == {"u_0": 0.5}
    assert found.gain == {"u_0": {"theta_0": 2.0}}
    assert found.margin == pytest.approx(0.25 / 3)  # to x = 0.5, in half ranges of 3
    assert found.nearest_facet == 0
    assert "region 0 applies" in str(found)
    assert "its law is u_0 = 2 theta_0 = 0.5;" in str(found)
    assert "the learned part changes nothing" in str(found)


def test_outside_the_nearest_region_is_named(laws):
    found = explain(laws.saturation(), [4.5])
    assert not found.inside
    assert found.region == 1
    assert found.margin == pytest.approx(-0.5)
    assert "no region holds this state; region 1 is nearest" in str(found)
    assert "its law is u_0 = 1;" in str(found)
    assert "the state lies 0.5 half ranges beyond its facet" in str(found)


def test_margin_is_the_distance_to_the_facet(laws):
    law = laws.integrator_law()
    half = (law.theta_max - law.theta_min) / 2
    for x in np.random.default_rng(0).uniform(-1, 1, (20, 2)):
        found = explain(law, x)
        row = law.row_start[found.region] + found.nearest_facet
        beyond = x + law.H[row] * half**2 * (found.margin + 1e-7)
        inside = x + law.H[row] * half**2 * (found.margin - 1e-7)
        assert law.locate(inside) == found.region
        assert law.locate(beyond) != found.region


def test_active_constraints_by_step(laws):
    ocp = laws.integrator(4)
    law = laws.integrator_law(4)
    found = explain(law, [-3.0, 0.0], ocp)
    assert found.u[law.out_names[0]] == pytest.approx(1.0)
    assert f"{ocp.lin.u_names[0]} <= 1 at step 0" in found.active
    assert f"{law.out_names[0]} <= 1" in explain(law, [-3.0, 0.0]).active
    assert explain(law, [0.0, 0.0], ocp).active == ()


@pytest.mark.parametrize("options", [{}, {"soft": "l1l2"}, {"terminal": "set"}, {"x_max": [5.0, np.inf]}], ids=str)
def test_names_follow_the_rows_of_the_program(laws, options):
    ocp = laws.integrator(3, theta_min=[-5.0, -3.0], theta_max=[5.0, 3.0], **options)
    mpqp = condense(ocp)
    names = constraint_names(ocp)
    assert len(names) == mpqp.n_rows
    theta, z = np.array([0.3, 0.2]), np.zeros(mpqp.n_z)
    z[:3] = [0.1, -0.2, 0.4]
    state, path = theta, []
    for u in z[:3]:
        state = ocp.successor(state, [u])
        path.append(state)
    margin = mpqp.b + mpqp.B @ theta - mpqp.A @ z
    for name, left in zip(names, margin, strict=True):
        if "<=" not in name and ">=" not in name:
            continue
        label, sign, value, *_, step = name.split()
        actual = z[int(step)] if label in ocp.lin.u_names else path[int(step) - 1][ocp.lin.x_names.index(label)]
        assert left == pytest.approx((float(value) - actual) * (1 if sign == "<=" else -1), abs=1e-12)


def test_learned_change_is_told(laws):
    law = laws.integrator_law()
    policy = extend(encode_actor(law), BOUNDS, (8,), authority=0.2)
    nn.init.constant_(policy.learned[-1].bias, 0.5)
    found = explain(policy, [0.1, 0.0])
    name = law.out_names[0]
    wanted = 0.2 * 2 * np.tanh(0.5)
    assert found.learned_change[name] == pytest.approx(wanted)
    assert found.u[name] == pytest.approx(found.base[name] + wanted)
    assert found.u[name] == pytest.approx(policy(torch.tensor([0.1, 0.0], dtype=torch.float64)).item())
    assert "the learned part changes" in str(found)
    assert "nothing" not in str(found)


def test_controllers_that_hold_a_law(laws):
    law = laws.integrator_law()

    class Controller:
        def __init__(self, **parts):
            self.__dict__.update(parts)

    for controller in (Controller(law=law), Controller(actor=encode_actor(law)), Controller(policy=encode_actor(law))):
        assert explain(controller, [0.1, 0.0]) == explain(law, [0.1, 0.0])


def test_what_filter_and_limits_change_is_told(laws):
    law = laws.integrator_law()
    name = law.out_names[0]
    policy = extend(encode_actor(law), BOUNDS, (8,), authority=0.2)
    nn.init.constant_(policy.learned[-1].bias, 0.5)
    learned = NetworkController(policy, 2, 1)
    half = Filtered(learned, lambda x, u: u / 2)
    found = explain(half, [0.1, 0.0])
    proposed = found.base[name] + found.learned_change[name]
    assert found.learned_change[name] == pytest.approx(0.4 * np.tanh(0.5))
    assert found.filter_change[name] == pytest.approx(-proposed / 2)
    assert found.u[name] == pytest.approx(half(np.array([0.1, 0.0]))[0])
    assert "the filter changes" in str(found)
    limited = Limited(half, -0.01, 0.01)
    assert explain(limited, [0.1, 0.0]).u[name] == limited(np.array([0.1, 0.0]))[0]
    sent = explain(learned, [0.1, 0.0], applied=[0.25])
    assert sent.u[name] == 0.25
    assert sent.filter_change[name] == pytest.approx(0.25 - proposed)
    assert "filter" not in str(explain(policy, [0.1, 0.0]))
    with pytest.raises(ModelError, match="applied: got shape"):
        explain(policy, [0.1, 0.0], applied=[0.0, 0.0])


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
def test_json(laws, form):
    law = laws.integrator_law()
    found = explain(encode_actor(law, form), [-3.0, 0.0])
    assert json.loads(json.dumps(found.to_json()))["active"] == list(found.active)


def test_mistakes_are_named(laws):
    with pytest.raises(ModelError, match="no explicit law stands behind Linear"):
        explain(nn.Linear(2, 1), [0.0, 0.0])
    with pytest.raises(ModelError, match="explain one state at a time"):
        explain(laws.saturation(), [[0.0]])
