"""The second process: a loop that dies or is suspended is noticed, the stop goes over the wire, and it is latched."""

import os
import pty
import signal
import subprocess

import numpy as np
import pytest

from yannctl.controllers import Lqr
from yannctl.hil.blend import Blended
from yannctl.hil.chaos_links import free_port
from yannctl.hil.configuration import read_configuration
from yannctl.hil.live_view import LiveView
from yannctl.hil.operator_port import OperatorPort
from yannctl.hil.rendezvous import latch, rendezvous, unlatch
from yannctl.hil.report import LoopState, Source
from yannctl.hil.rig import RigError
from yannctl.hil.status_board import BoardWriter, StatusBoard
from yannctl.hil.tick import LoopTick


@pytest.fixture
def config(tmp_path, law_file):
    """A UDP link whose commands live for ten seconds: until then only a STOP on the wire brings the safe action."""
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("2" * 64)
    path = tmp_path / "rig.toml"
    path.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\ndt = 0.1\n'
        f'[controller]\nfile = "{law_file}"\nhold_periods = 100\n'
        f'[link]\nkind = "udp"\nhost = "127.0.0.1:{free_port()}"\ndevice = "127.0.0.1:{free_port()}"\n'
        'key_file = "key"\n[loop]\nseconds = 60\nmax_age = 1000\n[supervisor]\nsilence_periods = 20\n'
    )
    return path


@pytest.mark.parametrize("how", [signal.SIGSTOP, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_loop_that_falls_silent_is_stopped_on_the_wire_and_latched(
    config, tmp_path, running_device, command_line, rows, wait_for, how
):
    log = tmp_path / "device.csv"
    with running_device(config, log) as device:
        host = subprocess.Popen(command_line("hil", "run", config), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: len(rows(log)) and rows(log)[-1, 2] > 10)
        os.kill(host.pid, how)
        wait_for(lambda: rows(log)[-1, 1] == 2)
        assert np.all(rows(log)[-1, -1:] == 0.0)
        said = host.communicate(timeout=60)[1].decode()  # its supervisor holds the same pipe until it has ended
        device.terminate()
        assert device.stdout.read().splitlines()[-1] == "safe action [0.0]: the host said stop"
    assert host.returncode == -signal.SIGKILL  # a suspended loop never wakes up again
    assert "the supervisor stopped the plant" in said
    assert "NOT confirmed" not in said
    refused = subprocess.run(command_line("hil", "run", config), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "latched" in refused.stderr
    assert unlatch(rendezvous(config)).startswith(f"the loop (process {host.pid})")
    assert unlatch(rendezvous(config)) == ""


def tick(**change):
    whole = {
        "time_ns": 5, "period_index": 0, "source": Source.CONTROLLER, "state": LoopState.RUNNING, "lateness_ns": 2000,
        "io_ns": 0, "compute_ns": 0, "law_id": 9, "fresh": True, "authority": 0.5, "x": np.array([0.5, 0.0]),
        "u": np.array([1.0]), "applied": np.array([1.0]), "proposed": np.array([0.25]),
    }  # fmt: skip
    return LoopTick(**{**whole, **change})


@pytest.fixture
def board():
    made = StatusBoard(f"yannctl-test-{os.getpid()}", 2, 1, create=True)
    yield made
    made.close()


def test_the_board_shows_the_last_tick_to_another_process(board):
    writer = BoardWriter(board, 0.1, np.array([-1.0, -np.inf]), np.array([1.0, np.inf]))
    writer.ticked(tick())
    writer.ticked(tick(period_index=3, fresh=False, source=Source.SAFE_ACTION))
    other = StatusBoard(f"yannctl-test-{os.getpid()}", 2, 1)
    found = other.read()
    assert (found.beat, found.stale, found.bad_samples, found.overruns, found.safe_actions) == (2, 1, 1, 1, 1)
    assert (found.margin, found.difference, found.law_id, found.state) == (0.5, 0.75, 9, LoopState.RUNNING)
    writer.ended()
    assert other.state is LoopState.STOPPED
    other.close()


def test_a_loop_without_its_supervisor_stops(board):
    writer = BoardWriter(board, 0.1, np.full(2, -1.0), np.ones(2), supervised=True, patience=0.5)
    for _ in range(20):
        board.supervise()
        assert writer.boundary() == ""
    assert [writer.boundary() for _ in range(7)][-2:] == ["the supervisor is gone"] * 2


def test_one_process_drives_a_rig(tmp_path):
    from yannctl.hil.rendezvous import driving

    names = rendezvous(tmp_path / "rig.toml")
    with driving(names), pytest.raises(RigError, match="another process"), driving(names):
        pass
    latch(names, "why")
    with pytest.raises(RigError, match="latched: why"), driving(names):
        pass
    assert unlatch(names) == "why"


def run_in_terminal(command, keys, wait_for, until):
    """Run a command on a pseudo-terminal, press a key when the screen shows one of its words; screen and exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    os.set_blocking(master, False)
    screen = bytearray()

    def shown(text):
        try:
            screen.extend(os.read(master, 65536))
        except BlockingIOError:
            pass
        except OSError:  # the other end is closed
            return True
        return any(word in screen for word in text)

    for text, key in zip(until, keys, strict=True):
        wait_for(lambda text=text: shown(text), 60.0)
        os.write(master, key)
    wait_for(lambda: shown([b"\0\0"]) or process.poll() is not None, 60.0)
    process.wait(30)
    shown([])
    os.close(master)
    return bytes(screen).decode(errors="replace"), process.returncode


def test_the_live_view_shows_the_loop_and_its_keys_change_it(tmp_path, law_file, command_line, wait_for):
    """The space bar stops the plant: on a pseudo-terminal, over a simulated rig in real time."""
    config = tmp_path / "rig.toml"
    config.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\n[controller]\nfile = "{law_file}"\n'
        '[link]\nkind = "simulated"\nclock = "realtime"\n[loop]\nseconds = 60\n'
    )
    screen, code = run_in_terminal(
        command_line("hil", "run", config, "--live"), [b" "], wait_for, [(b"RUNNING", b"DEGRADED")]
    )
    assert code == 1
    for word in ("Pendulum over simulated", "margin", "link age", "theta", "STOPPED", "by the operator's key"):
        assert word in screen, screen[-3000:]


def test_each_key_sends_its_command(board, config):
    view = LiveView(config, read_configuration(config))
    blend = Blended(Lqr(np.zeros((1, 2))), Lqr(np.zeros((1, 2))), [-1.0], [1.0], 0.5)
    view.key("+", board.read())  # no loop runs: nothing happens
    BoardWriter(board, 0.1, np.full(2, -1.0), np.ones(2)).ticked(tick(authority=0.5))
    operator, status = OperatorPort(view.names.port, blend), board.read()
    for key, authority in (("+", 0.6), ("-", 0.4), ("0", 0.0), ("x", 0.0), ("=", 0.6)):
        view.key(key, status)
        assert operator.boundary() == ""
        assert blend.authority == authority
    for key in (" ", "q"):
        view.key(key, status)
        assert operator.boundary() == "by the operator's key"
    operator.close()


def test_without_a_terminal_there_is_no_live_view(tmp_path, law_file, command_line):
    config = tmp_path / "rig.toml"
    config.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\n[controller]\nfile = "{law_file}"\n'
        '[link]\nkind = "simulated"\n[loop]\nseconds = 1\n'
    )
    words = command_line("hil", "run", config, "--live")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert "20 ticks, ticks done" in done.stdout
    assert "space or q" not in done.stdout
    watched = subprocess.run(
        command_line("hil", "watch", config), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert watched.returncode == 2
    assert "no loop runs" in watched.stderr
