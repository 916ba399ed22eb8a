import gymnasium
import numpy as np
import pytest

from yannctl.assurance import Filtered, PolytopicSet, guard


class Constant:
    """Always the same proposal."""

    nx, nu = 2, 1

    def __init__(self, value):
        self.value = value
        self.told = []

    def __call__(self, x, reference=None):
        return np.full((*np.shape(x)[:-1], 1), self.value)

    def applied(self, u):
        self.told.append(np.array(u))

    def reset(self):
        self.told.clear()


@pytest.mark.parametrize("value", [5.0, np.nan])
def test_a_controller_behind_its_certificate_stays_inside(designs, value):
    certificate = designs("pendulum-upright")[1]
    inner = Constant(value)
    controller = Filtered(inner, certificate)
    x = np.array([[0.05, 0.1], [0.0, 0.0]])
    u = controller(x)
    np.testing.assert_array_equal(inner.told[-1], u)
    assert controller.last.changed.all()
    assert not controller.last.outside.any()
    low, high = PolytopicSet(certificate).interval(x).T
    assert ((u[:, 0] >= low) & (u[:, 0] <= high)).all()
    controller.reset()
    assert controller.last is None


def test_the_reactors_guard_keeps_the_environment_from_tripping():
    safe = guard("reactor-limit")
    ends = {}
    for name, chosen in (("free", None), ("guarded", safe)):
        env = gymnasium.make("yannctl/CSTR-v0", filter=chosen)
        env.reset(seed=0, options={"x": np.array([0.7, 345.0])})
        for _ in range(40):
            _, _, terminated, truncated, info = env.step(np.array([320.0]))
            if terminated or truncated:
                break
        ends[name] = terminated
        assert chosen is None or info["u_applied"][0] <= 320.0
    assert ends == {"free": True, "guarded": False}
