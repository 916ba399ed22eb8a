"""Host and device in two processes over UDP, ZeroMQ and a serial line: the same code, the same safe endings."""

import json
import signal
import subprocess

import numpy as np
import pytest

from yannctl.hil import LoopState, RigError
from yannctl.hil.assembly import make_law, make_rig
from yannctl.hil.configuration import read_configuration
from yannctl.hil.loop import FixedRateLoop
from yannctl.hil.messages import DeviceState
from yannctl.hil.supervisor import take_over

SAFE = int(DeviceState.SAFE)


def test_the_law_balances_the_plant_behind_the_link(linked, rows, host_command):
    config, log, process = linked
    done = subprocess.run(host_command(config), check=False, capture_output=True, text=True, timeout=60)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["reason"] == "ticks done", done.stderr
    assert done.returncode == 0
    assert summary["stop_errors"] == []
    table = rows(log)
    assert table[-1, 2] > 5  # of 40 commands; a busy machine answers some measurements too late
    assert table[-1, 1] == SAFE  # and STOP at the end
    waiting = table[table[:, 1] == DeviceState.DISARMED]
    assert len(waiting)
    assert np.all(waiting[:, 3:5] == [0.1, 0.0])  # the plant stands still until it is armed
    said = [process.stdout.readline() for _ in range(2)]
    assert said == ["armed\n", "safe action [0.0]: the host said stop\n"]


def test_without_a_device_the_host_names_the_address_and_how_to_start_one(tmp_path, law_file, host_command):
    config = tmp_path / "rig.toml"
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("0" * 64)
    ends = 'host = "127.0.0.1:0"\ndevice = "127.0.0.1:9"\nkey_file = "key"\n'
    plant = '[plant]\nname = "Pendulum"\nsafe_action = [0.0]\n'
    config.write_text(f'{plant}[controller]\nfile = "{law_file}"\n[link]\nkind = "udp"\n{ends}')
    done = subprocess.run(host_command(config), check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no device answered at UDP 127.0.0.1:9" in done.stdout
    assert f"yannctl hil device {config}" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_killed_or_stopped_leaves_the_safe_action(linked, unsafe_ticks, how):
    config, log, _ = linked
    assert unsafe_ticks(config, log, how, 10, [0.0], hold=10, period=0.05) == 0


@pytest.mark.usefixtures("patient")
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


@pytest.mark.usefixtures("patient")
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


@pytest.mark.usefixtures("patient")
def test_another_process_takes_over_and_the_device_confirms_its_safe_action(linked, rows, wait_for):
    config, log, _ = linked
    rig = make_rig(read_configuration(config))
    rig.open()
    rig.arm()
    rig.write(np.array([0.5]), 0)
    rig.channel.link.close()  # its process is gone
    assert take_over(make_rig(read_configuration(config)))
    wait_for(lambda: rows(log)[-1, 1] == SAFE)


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
    report = loop.run(5000)
    assert report.state is LoopState.STOPPED
    assert report.ticks < 100
    assert any("confirm the stop" in text for text in report.stop_errors) or "RigError" in report.reason
