"""A device in a process of its own, for the tests of every link."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import yannctl
from yannctl.hil.chaos_links import link_section
from yannctl.hil.messages import DeviceState
from yannctl.models import Pendulum

SAFE = int(DeviceState.SAFE)
# A busy machine must not fail a test: a loop may miss many measurements, a device hold a command for five seconds.
PERIOD, HOLD, PATIENCE = 0.05, 100, "max_age = 1000\n"


@pytest.fixture(scope="session")
def law_file(tmp_path_factory):
    plant = Pendulum()
    bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
    ocp = yannctl.Ocp(yannctl.linearise(plant), Q=np.diag([1, 0.1]), R=[[0.001]], N=3, soft="l1l2", **bounds)
    path = tmp_path_factory.mktemp("law") / "law.safetensors"
    yannctl.solve_mpqp(yannctl.condense(ocp)).save(path)
    return path


def common(law, period=PERIOD, seconds=2.0, hold=HOLD):
    return (
        f'[plant]\nname = "pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\ndt = {period}\n'
        f'[controller]\nfile = "{law}"\nhold_periods = {hold}\n[loop]\nseconds = {seconds}\n{PATIENCE}'
        "[supervisor]\nenabled = false\n"  # a process less to start: test_supervisor has it
    )


def yannctl_command(*words):
    return [sys.executable, "-c", "from yannctl.cli.app import main; main()", *map(str, words)]


@contextlib.contextmanager
def device_process(config: Path, log: Path):
    """`yannctl hil device` in another process."""
    command = yannctl_command("hil", "device", config, "--log", log)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert "device ready" in line, line + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def rows():
    """Reads a device log: time_ns, state, commands, x0, x1, u."""

    def read(log):
        lines = log.read_text().split("\n")[1:-1]  # the last piece may be half a row
        if not lines:
            return np.zeros((0, 6))
        return np.array([[float(word) for word in line.split(",")] for line in lines])

    return read


@pytest.fixture(scope="session")
def running_device():
    """Runs a device in another process: a context manager of its configuration and its log."""
    return device_process


@pytest.fixture(scope="session")
def command_line():
    """Command line of `yannctl` with words."""
    return yannctl_command


@pytest.fixture(scope="session")
def host_command():
    """Command line of a host: function of the configuration."""
    return lambda config: yannctl_command("hil", "run", config, "--json")


@pytest.fixture
def unsafe_ticks(rows, wait_for, host_command):
    """Runs a host whose commands live `hold` periods, ends it by a signal, and counts the unsafe ticks that follow.

    These are the device's ticks without the safe action that began, by the device's own clock, when the last command
    had expired, so that a busy machine changes nothing. A host that a busy machine has ended is started again.
    """

    def measure(config, log, how, commands, safe_action, hold, period):
        hasty = config.with_name("hasty.toml")
        hasty.write_text(re.sub("hold_periods = [0-9]+", f"hold_periods = {hold}", config.read_text()))
        start = rows(log)[-1, 2] if len(rows(log)) else 0

        def obeyed():
            return len(rows(log)) and rows(log)[-1, 2] > start + commands

        for _ in range(5):
            process = subprocess.Popen(host_command(hasty), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for(lambda process=process: process.poll() is not None or obeyed())
            if process.poll() is None:
                break
        assert process.poll() is None, "no host lived long enough"
        try:
            os.kill(process.pid, how)
            wait_for(lambda: rows(log)[-1, 1] == SAFE)
        finally:
            process.kill()
            process.wait()
        table = rows(log)
        last = np.argmax(table[:, 2] == table[-1, 2])
        safe = np.flatnonzero((table[:, 1] == SAFE) & (np.arange(len(table)) >= last))[0]
        assert np.all(table[safe:, -len(safe_action) :] == safe_action)
        began = table[last : safe - 1, 0] - table[last, 0]  # a tick begins after the row of the one before
        return np.count_nonzero(began >= hold * period * 1e9)

    return measure


@pytest.fixture
def wait_for():
    """Waits for something another process does; the limit only keeps a broken test from hanging."""

    def wait(condition, seconds=120.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    return wait


@pytest.fixture
def patient(monkeypatch):
    """Has a rig in this process wait a minute for answers, in place of two seconds."""
    monkeypatch.setattr("yannctl.hil.linked.HANDSHAKE_SECONDS", 60.0)


@pytest.fixture(scope="module", params=["udp", pytest.param("zmq", marks=pytest.mark.slow), "serial", "can"])
def linked(request, tmp_path_factory, law_file):
    """(configuration file, device log, device process) with one device running behind each kind of link."""
    folder = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        config, log = folder / "rig.toml", folder / "device.csv"
        config.write_text(common(law_file) + link_section(request.param, folder, stack))
        process = stack.enter_context(device_process(config, log))
        yield config, log, process
