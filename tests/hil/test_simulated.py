"""The simulated rig keeps the contract of a real one."""

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.hil import MonotonicClock, RigError, SimulatedRig, VirtualClock
from yannctl.hil.clock import AcceleratedClock
from yannctl.models import Pendulum

X0 = np.array([0.3, 0.0])
PERIOD_NS = 50_000_000


@pytest.fixture
def plant():
    return Pendulum()


def test_features_are_known_before_opening(plant):
    rig = SimulatedRig(plant, X0)
    assert rig.x_names == tuple(plant.x_names)
    assert rig.u_units == tuple(plant.u_units)
    assert rig.dt == plant.dt
    with pytest.raises(RigError, match="not open"):
        rig.read(0)
    with pytest.raises(RigError, match="not armed"):
        rig.write(np.zeros(1), 0)
    with pytest.raises(RigError, match="not open"):
        rig.arm()


def test_write_returns_what_is_applied(plant):
    with SimulatedRig(plant, X0, safe_action=[0.7]) as rig:
        rig.open()
        rig.arm()
        assert rig.write(np.array([5.0]), 0) == 2.0
        assert rig.write(np.array([-1.25]), 0) == -1.25
        assert rig.write(np.array([np.nan]), 0) == 0.7


def test_time_moves_the_plant(plant):
    clock = VirtualClock()
    with SimulatedRig(plant, X0, clock=clock) as rig:
        rig.arm()
        rig.write(np.array([1.0]), 0)
        np.testing.assert_array_equal(rig.read(0).x, X0)
        clock.advance(3 * PERIOD_NS)
        wanted = X0
        for _ in range(3):
            wanted = plant.step(wanted, np.array([1.0]))
        np.testing.assert_array_equal(rig.read(0).x, wanted)
        assert rig.read(0).sequence > 1


def test_lost_measurements_repeat_the_sequence_number(plant):
    clock = VirtualClock()
    with SimulatedRig(plant, X0, drop=0.5, seed=1, clock=clock) as rig:
        numbers = []
        for _ in range(200):
            numbers.append(rig.read(0).sequence)
            clock.advance(PERIOD_NS)
    repeated = np.mean(np.diff(numbers) == 0)
    assert 0.35 < repeated < 0.65
    assert numbers[0] == 1


def test_noise_has_the_stated_size(plant):
    with SimulatedRig(plant, X0, noise=[0.1, 0.0], seed=2) as rig:
        x = np.array([rig.read(0).x for _ in range(2000)])
    assert x[:, 0].std() == pytest.approx(0.1, rel=0.1)
    np.testing.assert_array_equal(x[:, 1], 0.0)


def test_stop_holds_the_safe_action_and_latches(plant):
    rig = SimulatedRig(plant, X0, safe_action=[-0.4])

    def fail_inside():
        with rig:
            rig.arm()
            rig.write(np.array([1.0]), 0)
            raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert rig.held_input == -0.4
    assert "planted" in rig.stop_reason
    rig.stop("again")
    rig.close()
    assert "planted" in rig.stop_reason
    rig.open()
    with pytest.raises(RigError, match="planted"):
        rig.arm()


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("x0", {"x0": [0.0]}),
        ("noise", {"noise": -1.0}),
        ("drop", {"drop": 2.0}),
        ("safe_action", {"safe_action": [9.0]}),
        ("safe_action", {"safe_action": [np.nan]}),
    ],
)
def test_mistakes_name_their_field(plant, field, settings):
    with pytest.raises(ModelError, match=field):
        SimulatedRig(plant, **{"x0": X0, **settings})


def test_clocks_do_not_run_backwards():
    clock = VirtualClock(5)
    clock.sleep_until_ns(3)
    assert clock.now_ns() == 5
    real = MonotonicClock()
    goal = real.now_ns() + 300_000
    real.sleep_until_ns(goal)
    assert real.now_ns() >= goal


def test_an_accelerated_clock_runs_faster_and_never_wakes_early(monkeypatch):
    now = [10**9]
    monkeypatch.setattr(MonotonicClock, "now_ns", lambda _self: now[0])
    monkeypatch.setattr(
        MonotonicClock, "sleep_until_ns", lambda _self, instant: now.__setitem__(0, max(now[0], instant))
    )
    clock = AcceleratedClock(7.0)
    start = clock.now_ns()
    now[0] += 1000
    assert clock.now_ns() == start + 7000
    for step in range(1, 500):
        goal = start + 7000 + 10**6 * step + step
        clock.sleep_until_ns(goal)
        assert goal <= clock.now_ns() < goal + 20
    clock.sleep_until_ns(start)  # passed: at once
    assert clock.now_ns() >= goal
    with pytest.raises(ModelError, match="speed"):
        AcceleratedClock(0.0)
