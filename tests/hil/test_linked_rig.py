"""Host and device in two processes over UDP, ZeroMQ and a serial line: the same code, the same safe endings."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from yannctl.hil import LoopState, RigError
from yannctl.hil.assembly import make_law, make_rig
from yannctl.hil.configuration import read_configuration
from yannctl.hil.loop import FixedRateLoop
from yannctl.hil.messages import DeviceState

HOLD = 25  # as in conftest
SAFE = int(DeviceState.SAFE)


def host(config, *words):
    code = "from yannctl.cli.app import main; main()"
    return [sys.executable, "-c", code, "hil", *words, str(config), "--json"]


def ticks_until_safe(table):
    """Periods from the last obeyed command to the safe action."""
    last = np.argmax(table[:, 2] == table[-1, 2])
    safe = np.flatnonzero((table[:, 1] == SAFE) & (np.arange(len(table)) >= last))
    assert len(safe), "never safe"
    assert np.all(table[safe[0] :, -1] == 0.0)
    return safe[0] - last


def test_the_law_balances_the_plant_behind_the_link(linked, rows):
    config, log, _ = linked
    done = subprocess.run(host(config, "run"), check=False, capture_output=True, text=True, timeout=60)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["reason"] == "ticks done", done.stderr
    assert done.returncode == 0
    assert summary["stop_errors"] == []
    table = rows(log)
    assert table[-1, 2] > 30  # commands were obeyed
    assert table[-1, 1] == SAFE  # and STOP at the end


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_killed_or_stopped_leaves_the_safe_action(linked, how, rows, wait_for):
    config, log, _ = linked
    process = subprocess.Popen(host(config, "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(rows(log)) and rows(log)[-1, 2] > 20)
        os.kill(process.pid, how)
        wait_for(lambda: rows(log)[-1, 1] == SAFE)
        assert ticks_until_safe(rows(log)) <= HOLD + 1
    finally:
        process.kill()
        process.wait()


def test_a_device_that_dies_stops_the_loop(linked):
    config, _log, process = linked
    configuration = read_configuration(config)
    controller, fallback = make_law(configuration)
    loop = FixedRateLoop(make_rig(configuration), controller, fallback=fallback)

    class Killing(type(controller)):
        """Ends the device at its 20th call."""

        def __init__(self):
            super().__init__(controller.law)
            self.calls = 0

        def __call__(self, x, reference=None):
            self.calls += 1
            if self.calls == 20:
                process.kill()
                process.wait()
            return super().__call__(x, reference)

    loop.controller = Killing()
    report = loop.run(1000)
    assert report.state is LoopState.STOPPED
    assert report.ticks < 100
    assert any("confirm the stop" in text for text in report.stop_errors) or "RigError" in report.reason


def test_another_controller_is_not_armed(linked):
    config, _, _ = linked
    rig = make_rig(read_configuration(config))
    rig.law_id ^= 1
    rig.open()
    try:
        with pytest.raises(RigError, match="runs controller"):
            rig.arm()
    finally:
        rig.close()


def test_a_second_run_gets_a_new_session(linked):
    config, _, _ = linked
    sessions = []
    for _ in range(2):
        with make_rig(read_configuration(config)) as rig:
            rig.arm()
            sample = rig.read(rig.clock.now_ns() + 10**9)
            rig.write(np.array([0.5]), 0)
            sessions.append(rig.channel.session)
            assert np.all(np.isfinite(sample.x))
    assert sessions[0] != sessions[1]
