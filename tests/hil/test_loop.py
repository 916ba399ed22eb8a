"""The loop: every fault leads to the stated state, in the stated tick, and the plant always gets the safe action."""

import gc
import json

import numpy as np
import pytest

from yannctl.controllers import Lqr
from yannctl.controllers.base import AbstractController
from yannctl.errors import ModelError
from yannctl.hil import (
    AbstractRig,
    FixedRateLoop,
    LoopSettings,
    LoopState,
    RigError,
    Sample,
    SimulatedRig,
    Source,
    VirtualClock,
    run_loop,
)
from yannctl.hil.tick import AbstractAttendant
from yannctl.models import Pendulum

PERIOD_NS = 50_000_000
RUNNING, DEGRADED, SAFE_HOLD, STOPPED = LoopState.RUNNING, LoopState.DEGRADED, LoopState.SAFE_HOLD, LoopState.STOPPED


class Scripted(AbstractController):
    """u = 0.5, except at the calls listed, where a fault happens."""

    def __init__(self, faults, clock=None):
        self.nx, self.nu, self.faults, self.clock, self.calls, self.resets = 2, 1, faults, clock, 0, 0

    def __call__(self, x, reference=None):
        fault = self.faults.get(self.calls)
        self.calls += 1
        if fault == "raise":
            raise ValueError("planted")
        if fault == "interrupt":
            raise KeyboardInterrupt
        if fault == "nan":
            return np.array([np.nan])
        if fault == "shape":
            return np.zeros(2)
        if isinstance(fault, int):
            self.clock.advance(fault)
        return np.array([0.5])

    def reset(self):
        self.resets += 1


class Recording(AbstractRig):
    """A rig that stands still, notes every byte of business, and fails where told."""

    def __init__(self, samples=None, fail=(), dt=0.05):
        self.x_names, self.u_names, self.x_units, self.u_units = ("a", "b"), ("u",), ("", ""), ("",)
        self.u_min, self.u_max, self.safe_action = np.array([-2.0]), np.array([2.0]), np.array([-1.5])
        self.dt, self.clock = dt, VirtualClock(7)
        self.samples, self.fail, self.log, self.reads = samples or {}, set(fail), [], 0

    def _do(self, name, value=None):
        self.log.append((name, value))
        if name in self.fail:
            raise RigError(f"{name} failed")

    def open(self):
        self._do("open")

    def arm(self):
        self._do("arm")

    def read(self, deadline_ns):
        self._do("read")
        change = self.samples.get(self.reads, {})
        self.reads += 1
        x = np.array(change.get("x", [0.1, 0.2]), float)
        return Sample(x, self.clock.now_ns(), change.get("sequence", self.reads))

    def write(self, u, deadline_ns):
        self._do("write", float(u[0]))
        return np.clip(u, self.u_min, self.u_max)

    def stop(self, reason):
        self._do("stop", reason)

    def close(self):
        self._do("close")


def written(rig):
    return [value for name, value in rig.log if name == "write"]


def fallback():
    return Lqr(np.zeros((1, 2)), u_ref=[0.25])


def test_healthy_run_keeps_the_rate():
    rig, law = Recording(), Scripted({})
    report = run_loop(rig, law, 50)
    assert report.state is STOPPED
    assert report.reason == "ticks done"
    assert report.ticks == law.calls == 50
    assert law.resets == 1
    np.testing.assert_array_equal(report.period_index, np.arange(50))
    np.testing.assert_array_equal(report.states, RUNNING)
    np.testing.assert_array_equal(report.source, Source.CONTROLLER)
    assert not any(report.counts.values())
    assert [name for name, _ in rig.log[:2]] == ["open", "arm"]
    assert written(rig) == [0.5] * 50 + [-1.5]
    assert [name for name, _ in rig.log[-3:]] == ["write", "stop", "close"]


@pytest.mark.parametrize(
    ("fault", "count"), [("raise", "controller_errors"), ("nan", "controller_nan"), ("shape", "controller_nan")]
)
def test_failed_controller_is_replaced_in_the_same_tick(fault, count):
    rig = Recording()
    settings = LoopSettings(recovery_ticks=4)
    report = run_loop(rig, Scripted({3: fault}), 12, fallback=fallback(), settings=settings)
    # Tick 3 fails; three good ticks later the controller has not earned its place yet, on the fourth it has.
    expected = [RUNNING] * 3 + [DEGRADED] * 4 + [RUNNING] * 5
    np.testing.assert_array_equal(report.states, expected)
    assert written(rig)[:12] == [0.5] * 3 + [0.25] * 5 + [0.5] * 4
    assert report.counts[count] == 1
    assert report.counts["fallbacks"] == 5
    np.testing.assert_array_equal(report.source == Source.FALLBACK, [2 < i < 8 for i in range(12)])


def test_without_fallback_the_safe_action_is_sent():
    rig = Recording()
    report = run_loop(rig, Scripted({2: "nan", 5: "raise"}), 8, settings=LoopSettings(recovery_ticks=1))
    assert written(rig)[:8] == [0.5, 0.5, -1.5, 0.5, 0.5, -1.5, 0.5, 0.5]
    assert report.counts["safe_actions"] == 2
    assert report.states[2] == report.states[5] == DEGRADED


def test_failing_fallback_ends_in_the_safe_action():
    rig = Recording()
    report = run_loop(rig, Scripted({1: "nan"}), 3, fallback=Scripted({0: "raise", 1: "nan"}))
    assert written(rig)[:3] == [0.5, -1.5, -1.5]
    assert report.counts["fallback_errors"] == report.counts["fallback_nan"] == 1
    assert report.states[-1] == DEGRADED


@pytest.mark.parametrize("change", [{"x": [np.nan, 0.0]}, {"x": [0.0, np.inf]}, {"sequence": 0}, {"x": [0.0]}])
def test_bad_sample_gets_the_safe_action(change):
    rig = Recording(samples={4: change})
    law = Scripted({})
    report = run_loop(rig, law, 8, fallback=fallback(), settings=LoopSettings(recovery_ticks=1))
    assert written(rig)[4] == -1.5
    assert report.counts["bad_samples"] == 1
    assert report.states[4] == DEGRADED
    assert report.states[-1] == RUNNING
    assert law.calls == 7  # no bad sample reaches the law


def test_too_many_bad_samples_latch_the_safe_hold():
    rig = Recording(samples={i: {"x": [np.nan, 0.0]} for i in range(5, 9)})
    report = run_loop(rig, Scripted({}), 40, settings=LoopSettings(max_bad_samples=3, hold_ticks=6))
    # The fourth bad sample is tick 8; the good ones after it change nothing.
    assert report.states[7] == DEGRADED
    np.testing.assert_array_equal(report.states[8:], SAFE_HOLD)
    assert report.ticks == 8 + 1 + 6
    assert written(rig)[5:] == [-1.5] * (4 + 6 + 1)
    assert report.reason == "stopped after 6 ticks in safe hold: 4 bad measurements in a row"
    assert report.counts["safe_holds"] == 1
    assert report.state is STOPPED


def test_the_cause_of_the_safe_hold_outlives_good_samples():
    samples = {i: {"x": [np.nan, 0.0]} for i in range(5, 10)}
    report = run_loop(Recording(samples=samples), Scripted({}), 40, settings=LoopSettings(hold_ticks=3))
    assert report.reason == "stopped after 3 ticks in safe hold: 4 bad measurements in a row"
    rig = Recording(samples=samples)
    report = run_loop(rig, Scripted({}), 13, settings=LoopSettings(hold_ticks=20))
    assert report.reason == "ticks done in safe hold: 4 bad measurements in a row"
    assert ("stop", report.reason) in rig.log
    assert report.counts["bad_samples"] == 5
    assert report.counts["safe_holds"] == 1
    assert json.loads(report.to_json())["reason"] == report.reason
    rig = Recording(samples=samples)
    loop, read = FixedRateLoop(rig, Scripted({})), rig.read

    def read_and_stop(deadline_ns):
        if rig.reads == 11:
            loop.request_stop("door open")
        return read(deadline_ns)

    rig.read = read_and_stop
    assert loop.run(40).reason == "stop requested: door open in safe hold: 4 bad measurements in a row"


def test_a_frozen_sensor_is_noticed():
    rig = Recording(samples={i: {"sequence": 3} for i in range(3, 100)})
    report = run_loop(rig, Scripted({}), 60)
    assert report.states[-1] == SAFE_HOLD
    assert report.counts["bad_samples"] >= 4


def test_late_result_is_thrown_away_and_periods_are_skipped():
    rig = Recording()
    slow = Scripted({2: 3 * PERIOD_NS + 1_000_000}, rig.clock)
    report = run_loop(rig, slow, 8, fallback=fallback(), settings=LoopSettings(recovery_ticks=2))
    assert written(rig)[2] == 0.25
    assert report.counts["controller_late"] == 1
    assert report.states[2] == DEGRADED
    # Tick 3 was due at period 3, it starts 1 ms into period 5: two periods are skipped, and no burst follows.
    np.testing.assert_array_equal(report.period_index, [0, 1, 2, 5, 6, 7, 8, 9])
    assert report.counts["skipped_periods"] == 2
    assert report.counts["overruns"] == 1
    assert report.lateness_ns[3] == 2 * PERIOD_NS + 1_000_000
    np.testing.assert_array_equal(report.lateness_ns[4:], 0)
    assert report.compute_ns[2] == 3 * PERIOD_NS + 1_000_000


def test_a_little_late_skips_nothing():
    rig = Recording()
    report = run_loop(rig, Scripted({1: PERIOD_NS // 2}, rig.clock), 6)
    assert not any(report.counts.values())
    np.testing.assert_array_equal(report.period_index, np.arange(6))


def test_repeated_overruns_degrade():
    rig = Recording()
    write = rig.write

    def slow_write(u, deadline_ns):
        if 4 <= rig.reads <= 6:
            rig.clock.advance(2 * PERIOD_NS)
        return write(u, deadline_ns)

    rig.write = slow_write
    report = run_loop(
        rig, Scripted({}), 12, fallback=fallback(), settings=LoopSettings(max_overruns=1, recovery_ticks=3)
    )
    assert report.counts["overruns"] == 3
    # Late writes in ticks 3 to 5 delay ticks 4 to 6: the first is counted, the second in a row degrades.
    np.testing.assert_array_equal(report.states[:6], [RUNNING] * 5 + [DEGRADED])
    assert report.states[-1] == RUNNING


@pytest.mark.parametrize(("compute", "late"), [(0.25, 0), (0.35, 1)])
def test_the_time_of_the_read_counts_for_the_controller(compute, late):
    rig = Recording()
    read = rig.read

    def slow_read(deadline_ns):
        if rig.reads == 2:
            rig.clock.advance(PERIOD_NS // 2)
        return read(deadline_ns)

    rig.read = slow_read
    report = run_loop(rig, Scripted({2: int(compute * PERIOD_NS)}, rig.clock), 6, fallback=fallback())
    # The answer is due 0.8 periods after the tick: half a period is gone when the controller begins.
    assert report.counts["controller_late"] == late
    assert written(rig)[2] == (0.25 if late else 0.5)
    assert report.counts["skipped_periods"] == 0


@pytest.mark.parametrize("broken", ["open", "arm", "read"])
def test_a_broken_rig_stops_for_good(broken):
    rig = Recording(fail=[broken])
    loop = FixedRateLoop(rig, Scripted({}))
    report = loop.run(5)
    assert report.state is loop.state is STOPPED
    assert f"{broken} failed" in report.reason
    assert ("close", None) in rig.log
    assert any(name == "stop" for name, _ in rig.log)
    if broken == "read":
        assert written(rig) == [-1.5]
    with pytest.raises(ModelError, match="STOPPED"):
        loop.run(1)


@pytest.mark.parametrize("broken", [("write",), ("stop",), ("write", "stop"), ("write", "stop", "close")])
def test_stopping_tries_every_action(broken):
    rig = Recording(fail=broken)
    report = run_loop(rig, Scripted({}), 3)
    assert [name for name, _ in rig.log[-3:]] == ["write", "stop", "close"]
    assert written(rig)[-1] == -1.5
    assert report.counts["stop_errors"] == len(broken)
    assert all(any(name in text for text in report.stop_errors) for name in broken)
    assert report.state is STOPPED


def test_operator_interrupt_and_stop_request():
    rig = Recording()
    report = run_loop(rig, Scripted({4: "interrupt"}), 50)
    assert report.ticks == 4
    assert "interrupted" in report.reason
    assert written(rig)[-1] == -1.5
    rig = Recording()
    loop = FixedRateLoop(rig, Scripted({}))
    loop.request_stop("door open")
    assert "door open" in loop.run(50).reason
    assert written(rig) == [-1.5]


def test_the_collector_is_frozen_and_restored():
    seen = []

    class Watching(Scripted):
        def __call__(self, x, reference=None):
            seen.append(gc.isenabled())
            return super().__call__(x)

    assert gc.isenabled()
    run_loop(Recording(), Watching({1: "raise", 2: "interrupt"}), 5)
    assert seen == [False] * 3
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_safe_action_and_sizes_are_checked():
    with pytest.raises(ModelError, match="safe_action"):
        FixedRateLoop(Recording(), Scripted({}), safe_action=[3.0])
    with pytest.raises(ModelError, match="fallback"):
        FixedRateLoop(Recording(), Scripted({}), fallback=Lqr(np.zeros((1, 3))))
    with pytest.raises(ModelError, match="period"):
        FixedRateLoop(Recording(), Scripted({}), period=0.0)
    with pytest.raises(ModelError, match="compute_share"):
        LoopSettings(compute_share=0.0)


def test_lockstep_equals_a_rollout_and_repeats():
    plant, x0 = Pendulum(), np.array([0.2, -0.1])
    law = Lqr([[10.0, 2.5]], u_min=[-2.0], u_max=[2.0])
    report = run_loop(SimulatedRig(plant, x0), law, 60)
    wanted = plant.rollout(law, x0[None], 60)
    np.testing.assert_array_equal(report.x, wanted.x[0, :60])
    np.testing.assert_array_equal(report.u_applied, wanted.u[0])
    noisy = [run_loop(SimulatedRig(plant, x0, seed=1, noise=0.01, drop=0.1), law, 60) for _ in range(2)]
    np.testing.assert_array_equal(noisy[0].u_applied, noisy[1].u_applied)
    assert noisy[0].counts == noisy[1].counts
    assert noisy[0].counts["bad_samples"] > 0


def test_report_is_strict_json(tmp_path):
    rig = Recording(samples={1: {"x": [np.nan, 0.0]}})
    report = run_loop(rig, Scripted({}), 4)
    content = json.loads(report.to_json(tmp_path / "r.json", trajectory=True))
    assert json.loads((tmp_path / "r.json").read_text()) == content
    assert content["state"] == "STOPPED"
    assert content["trajectory"]["x"][1] == [None, 0.0]
    assert content["counts"]["bad_samples"] == 1
    assert content["lateness_us"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}


class Attending(AbstractAttendant):
    """Notes what it is told, and fails where told."""

    def __init__(self, fail_at=None, reason_at=None):
        self.fail_at, self.reason_at, self.ticks = fail_at, reason_at, []

    def boundary(self):
        return "enough" if len(self.ticks) == self.reason_at else ""

    def ticked(self, tick):
        self.ticks.append(tick)
        if len(self.ticks) == self.fail_at:
            raise OSError("planted")

    def ended(self):
        raise OSError("planted")


def test_an_attendant_may_stop_the_loop_and_never_keeps_the_stop_from_the_plant():
    for attending, ticks, reason in ((Attending(fail_at=4), 4, "OSError"), (Attending(reason_at=6), 6, "enough")):
        rig = Recording()
        report = FixedRateLoop(rig, Scripted({}), attendants=(attending,)).run(50)
        assert report.state is STOPPED
        assert len(attending.ticks) == ticks
        assert reason in report.reason
        assert written(rig)[-1] == -1.5  # the safe action
        assert rig.log[-2][0] == "stop"


def test_attendants_see_a_measurement_of_another_shape_as_none():
    attending = Attending()
    rig = Recording({3: {"x": [0.1, 0.2, 0.3]}})
    FixedRateLoop(rig, Scripted({}), attendants=(attending,)).run(6)
    assert [bool(np.isnan(tick.x).all()) for tick in attending.ticks] == [False, False, False, True, False, False]
    assert [tick.fresh for tick in attending.ticks] == [True, True, True, False, True, True]
