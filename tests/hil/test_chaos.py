"""What each fault does to messages, and that the short matrix holds."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.hil.chaos import FAULTS, FaultyLink, Schedule, Spoiler
from yannctl.hil.chaos_clock import JUMP_SECONDS, WallClock
from yannctl.hil.chaos_ends import TcpProxy
from yannctl.hil.chaos_matrix import HOST_FAULTS, LINKS, run_matrix
from yannctl.hil.chaos_verdict import START, Case, judge
from yannctl.hil.links import AbstractLink
from yannctl.hil.messages import DeviceState
from yannctl.hil.rig import RigError
from yannctl.models import Pendulum

MESSAGES = [bytes([number]) * 20 for number in range(200)]


def passed(fault, start=50):
    out = []
    spoiler = Spoiler(Schedule(fault, start), out.append)
    for message in MESSAGES:
        spoiler.pass_on(message)
    return out, spoiler


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_happens_before_the_start_and_something_after(fault):
    out, spoiler = passed(fault)
    assert out[:50] == MESSAGES[:50]
    assert out[50:] != MESSAGES[50:]
    assert spoiler.spoilt > 20


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in {"delay", "reorder"}])
def test_the_same_seed_spoils_the_same_way(fault):
    assert passed(fault)[0] == passed(fault)[0]


def test_lasting_faults_touch_every_message():
    assert passed("half_open")[0] == MESSAGES[:50]
    assert passed("freeze")[0] == MESSAGES[:50] + [MESSAGES[49]] * 150


class Loopback(AbstractLink):
    """Gives back what was sent."""

    shared = False

    def __init__(self):
        self.queue = []

    def open(self):
        pass

    def close(self):
        pass

    def send(self, message):
        self.queue.append(message)

    def receive(self, deadline_ns):
        taken, self.queue = self.queue, []
        return taken


def test_a_faulty_link_spoils_both_directions():
    link = FaultyLink(Loopback(), Schedule("drop", 50, share=0.5))
    arrived = []
    for message in MESSAGES:
        link.send(message)
        arrived += link.receive(0)
    assert set(arrived) < set(MESSAGES)
    assert link.outward.spoilt > 50
    assert link.inward.spoilt > 20
    cut = FaultyLink(Loopback(), Schedule("disconnect", 0))
    cut.send(b"x")
    with pytest.raises(RigError, match="cut"):
        cut.receive(0)


def rows(*lines):
    return np.array([[k * 5e7, *line[:2], 0, 0, line[2]] for k, line in enumerate(lines)], float)


def late(table):
    """The same ticks, each late and the next ones in time: more of them end before the last command expires."""
    table[:, 0] *= 0.8
    return table


ARMED, SAFE = int(DeviceState.ARMED), int(DeviceState.SAFE)
IDLE = (int(DeviceState.DISARMED), 0, 0.0)
GOOD = rows(IDLE, (ARMED, 1, 0.5), (ARMED, 2, 0.25), (ARMED, 2, 0.25), (SAFE, 2, 0.0))


def test_a_clock_that_jumps_must_not_matter():
    assert not judge("udp", "clock_jump", START, "killed", {(0.5,), (0.25,)}, GOOD, Pendulum()).why
    for spoilt, ending in ((START - 1, "killed"), (START, "ended by itself")):
        case = judge("udp", "clock_jump", spoilt, ending, {(0.5,), (0.25,)}, GOOD, Pendulum())
        assert case.why == "the wall clock mattered"


@pytest.mark.parametrize(
    ("table", "sent", "why"),
    [
        (GOOD, {(0.5,), (0.25,)}, ""),
        (GOOD, {(0.5,)}, "an input was applied that was never sent"),
        (rows(IDLE, (ARMED, 1, 2.5), (SAFE, 1, 0.0)), {(2.5,)}, "the input left its limits"),
        (rows(IDLE, (ARMED, 1, 0.5), (ARMED, 1, 0.5)), {(0.5,)}, "the device did not end in its safe action"),
        (rows(IDLE, (ARMED, 1, 0.5), (SAFE, 1, 0.5)), {(0.5,)}, "the device did not end in its safe action"),
        (rows(IDLE, *[(ARMED, 1, 0.5)] * 10, (SAFE, 1, 0.0)), {(0.5,)}, "the safe action came too late"),
        (rows((SAFE, 0, 0.0)), set(), "the device never obeyed"),
        (late(rows(IDLE, *[(ARMED, 1, 0.5)] * 10, (SAFE, 1, 0.0))), {(0.5,)}, ""),  # ticks that a busy device bunched
    ],
)
def test_the_verdict_sees_each_broken_rule(table, sent, why):
    assert judge("udp", "drop", 1, "ticks done", sent, table, Pendulum()).why == why


def test_an_unknown_word_is_refused():
    with pytest.raises(ModelError, match="carrier_pigeon"):
        run_matrix(("carrier_pigeon",), ("drop",), 0)


def test_every_fault_of_a_simulated_rig_is_survived():
    cases = run_matrix(("simulated",), (*FAULTS, "nan"), 3)
    assert [case.fault for case in cases] == [*FAULTS, "nan"]
    assert all(case.passed for case in cases), cases


@pytest.mark.slow
@pytest.mark.parametrize("link", LINKS[1:])
def test_every_fault_on_every_link_is_survived(link):
    cases = run_matrix((link,), (*FAULTS, *HOST_FAULTS), 7)
    assert len(cases) >= 11 or cases[0].ending == "not installed"
    assert all(case.passed for case in cases), [case for case in cases if not case.passed]


def test_a_wall_clock_jumps_for_one_process_and_the_monotonic_one_does_not(tmp_path):
    clock = WallClock(tmp_path)
    code = (
        "import time, datetime\n"
        "for _ in range(2):\n"
        "    print([time.time(), datetime.datetime.now().timestamp(), time.monotonic()], flush=True)\n"
        "    input()\n"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(
        words, env=clock.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        before, before_too, start = json.loads(process.stdout.readline())
        clock.begin()
        process.stdin.write("\n\n")
        process.stdin.flush()
        after, after_too, end = json.loads(process.stdout.readline())
    assert clock.readings >= 4
    assert abs(before_too - before) < 1e6
    assert abs(after_too - after) > JUMP_SECONDS  # forwards and backwards in turn
    assert 0 <= end - start < 1e6
    clock.close()


def test_a_proxy_spoils_bytes_only_when_told(wait_for):
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = TcpProxy(server.getsockname()[1], Schedule("corrupt", share=1.0))
        try:
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.settimeout(30)
                other = server.accept()[0]
                other.settimeout(30)
                client.sendall(b"clean")
                assert other.recv(100) == b"clean"
                proxy.begin()
                client.sendall(b"dirty")
                assert other.recv(100) != b"dirty"
                other.sendall(b"back")
                assert client.recv(100) != b"back"
                other.close()
                assert client.recv(100) == b""
        finally:
            proxy.close()
    assert proxy.spoiler.spoilt == 2


def test_a_link_that_is_cut_for_good_ends_in_the_safe_action():
    (case,) = run_matrix(("udp",), ("half_open",), 3)
    assert isinstance(case, Case)
    assert case.passed, case
