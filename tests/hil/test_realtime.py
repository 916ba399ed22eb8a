"""What is asked of the system is given back, and the figures of a measurement are right."""

import os
import subprocess
import sys

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.hil.realtime import Jitter, RealTime, measure_jitter, real_time


def test_everything_is_given_back_even_after_an_error():
    before = os.sched_getscheduler(0), os.sched_getaffinity(0)
    core = min(before[1])
    seen = []

    def fail():
        with real_time(RealTime(priority=10, cores=(core,))) as refused:
            seen.append((os.sched_getaffinity(0), os.sched_getscheduler(0), list(refused)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    ((cores, scheduler, refused),) = seen
    assert cores == {core}
    assert (scheduler == os.SCHED_FIFO) != any("SCHED_FIFO" in line for line in refused)
    assert (os.sched_getscheduler(0), os.sched_getaffinity(0)) == before


def test_a_refusal_is_told_and_harmless(monkeypatch):
    def refuse(*_):
        raise PermissionError

    kept = os.sched_setscheduler
    monkeypatch.setattr(os, "sched_setscheduler", lambda *a: refuse() if a[1] == os.SCHED_FIFO else kept(*a))
    with real_time(RealTime(priority=10)) as refused:
        assert len(refused) == 1
        assert "SCHED_FIFO" in refused[0]


@pytest.mark.parametrize("wrong", [{"priority": 99}, {"priority": -1}, {"cores": (4096,)}])
def test_what_does_not_exist_is_refused(wrong):
    with pytest.raises(ModelError):
        RealTime(**wrong)


def test_every_period_is_measured():
    jitter = measure_jitter(200.0, 0.1)
    assert jitter.lateness_ns.shape == (20,)
    assert np.all(jitter.lateness_ns >= 0)
    assert jitter.refused == ()
    with pytest.raises(ModelError):
        measure_jitter(0.0, 1.0)


def test_percentiles_and_the_safe_rate():
    lateness = np.full(10_000, 40_000)
    lateness[:11] = 900_000  # 1.1 in 1000 is 0.9 ms late: 100 Hz keeps a tenth of its period
    jitter = Jitter(lateness, 1000.0, ())
    assert jitter.percentiles() == {"p50": 40.0, "p99": 40.0, "p99.9": 900.0, "max": 900.0}
    assert jitter.safe_rate() == 100
    assert Jitter(np.full(1000, 40_000), 1000.0, ()).safe_rate() == 1000
    assert Jitter(np.full(1000, 50_000_000), 1000.0, ()).safe_rate() == 0


def test_memory_can_be_locked_in_a_small_process():
    code = (
        "from yannctl.hil.realtime import RealTime, real_time\n"
        "with real_time(RealTime(lock_memory=True)) as refused:\n"
        "    locked = int(next(l for l in open('/proc/self/status') if l.startswith('VmLck')).split()[1])\n"
        "    print(locked > 0 or bool(refused))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
