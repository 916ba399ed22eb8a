import casadi as ca
import numpy as np
import pytest

from yannctl.assurance import Design, Domain, Flow, Statement
from yannctl.assurance.diagnosis import certify_or_explain, diagnose
from yannctl.errors import EmptySetError


def unstable(dt=0.5, disturbance=0.9, box=1.0, sensor=0.05):
    """x' = x + u + p with |u| <= 1: what is certified needs (box + disturbance) to fit the input and the period."""
    x, u, p = ca.SX.sym("x"), ca.SX.sym("u"), ca.SX.sym("p")
    rate = ca.Function("rate", [x, u, p], [x + u + p])
    return Design(
        Statement("unstable", ("x",), ("1",), ("u",), ("1",), ("p",), dt),
        Domain([-box], [box], [-1.0], [1.0], [-disturbance], [disturbance]),
        lambda k: [Flow(rate, k * dt, np.array([1.0]), order=6, substeps=4)],
        rate,
        contraction=0.99,
        sensor=np.array([sensor]),
    )


def test_each_cause_is_named_with_its_share():
    found = {remedy.what: remedy.share for remedy in diagnose(unstable(), lambda share: unstable(dt=0.5 * share))}
    assert set(found) == {"box", "parameters", "sensor error", "sample time"}
    # At rest the input can cancel |p| <= 1 - what one period and the sensor add; a smaller disturbance is the remedy.
    assert 0.3 < found["parameters"] < 1.0


def test_the_error_says_what_to_change():
    with pytest.raises(EmptySetError, match=r"parameters: at most \d+ %"):
        certify_or_explain(unstable())


def test_a_design_with_a_set_is_simply_certified():
    certificate = certify_or_explain(unstable(dt=0.1, disturbance=0.2, box=0.5, sensor=0.002))
    assert certificate.check().ok
