"""A device in a process of its own, for the tests of every link."""

import contextlib
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

import numpy as np
import pytest

import yannctl
from yannctl.models import Pendulum

PERIOD, HOLD = 0.02, 25  # half a second: a busy machine must not fail a test


@pytest.fixture(scope="session")
def law_file(tmp_path_factory):
    plant = Pendulum()
    bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
    ocp = yannctl.Ocp(yannctl.linearise(plant), Q=np.diag([1, 0.1]), R=[[0.001]], N=3, soft="l1l2", **bounds)
    path = tmp_path_factory.mktemp("law") / "law.safetensors"
    yannctl.solve_mpqp(yannctl.condense(ocp)).save(path)
    return path


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def common(law, period=PERIOD, seconds=1.5, hold=HOLD):
    return (
        f'[plant]\nname = "pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\ndt = {period}\n'
        f'[controller]\nfile = "{law}"\nhold_periods = {hold}\n[loop]\nseconds = {seconds}\n'
    )


def udp_section(folder):
    key = folder / "key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    ends = f'host = "127.0.0.1:{free_port()}"\ndevice = "127.0.0.1:{free_port()}"\n'
    return f'[link]\nkind = "udp"\n{ends}key_file = "key"\n'


def zmq_section(folder):
    import zmq

    keys = {}
    for end in ("host", "device"):
        public, secret = zmq.curve_keypair()
        path = folder / f"{end}_secret"
        path.write_bytes(secret)
        path.chmod(0o600)
        keys[end] = public.decode()
    return (
        f'[link]\nkind = "zmq"\nendpoint = "tcp://127.0.0.1:{free_port()}"\nhost_public = "{keys["host"]}"\n'
        f'device_public = "{keys["device"]}"\nhost_secret_file = "host_secret"\ndevice_secret_file = "device_secret"\n'
    )


@contextlib.contextmanager
def null_modem():
    """Two pseudo-terminals joined by a thread: a serial cable."""
    ends = [pty.openpty(), pty.openpty()]
    for master, slave in ends:
        tty.setraw(master)
        tty.setraw(slave)
    stop = threading.Event()

    def carry():
        masters = [ends[0][0], ends[1][0]]
        while not stop.is_set():
            for source in select.select(masters, [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.write(masters[1 - masters.index(source)], os.read(source, 4096))

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        stop.set()
        thread.join()
        for pair in ends:
            for handle in pair:
                os.close(handle)


@contextlib.contextmanager
def device_process(config: Path, log: Path):
    """`yannctl hil device` in another process."""
    code = "from yannctl.cli.app import main; main()"
    command = [sys.executable, "-c", code, "hil", "device", str(config), "--log", str(log)]
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
        return np.array([[float(word) for word in line.split(",")] for line in lines]).reshape(-1, 6)

    return read


@pytest.fixture
def wait_for():
    """Waits for something another process does; the limit only keeps a broken test from hanging."""

    def wait(condition, seconds=30.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    return wait


SECTIONS = {"udp": udp_section, "zmq": zmq_section}


@pytest.fixture(params=["udp", "zmq", "serial"])
def linked(request, tmp_path, law_file):
    """(configuration file, device log, device process) with the device running behind each kind of link."""
    with contextlib.ExitStack() as stack:
        if request.param == "serial":
            port, device_port = stack.enter_context(null_modem())
            section = f'[link]\nkind = "serial"\nport = "{port}"\ndevice_port = "{device_port}"\n'
        else:
            section = SECTIONS[request.param](tmp_path)
        config, log = tmp_path / "rig.toml", tmp_path / "device.csv"
        config.write_text(common(law_file) + section)
        process = stack.enter_context(device_process(config, log))
        yield config, log, process
