"""What each fault does to messages, and that the short matrix holds."""

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.hil.chaos import FAULTS, FaultyLink, Schedule, Spoiler
from yannctl.hil.chaos_matrix import Case, _judge, run_matrix
from yannctl.hil.links import AbstractLink
from yannctl.hil.messages import DeviceState
from yannctl.hil.rig import RigError

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
    return np.array([[0, state, commands, 0, 0, u] for state, commands, u in lines], float)


ARMED, SAFE = int(DeviceState.ARMED), int(DeviceState.SAFE)
GOOD = rows((ARMED, 1, 0.5), (ARMED, 2, 0.25), (ARMED, 2, 0.25), (SAFE, 2, 0.0))


@pytest.mark.parametrize(
    ("table", "sent", "why"),
    [
        (GOOD, {0.5, 0.25}, ""),
        (GOOD, {0.5}, "an input was applied that was never sent"),
        (rows((ARMED, 1, 2.5), (SAFE, 1, 0.0)), {2.5}, "the input left its limits"),
        (rows((ARMED, 1, 0.5), (ARMED, 1, 0.5)), {0.5}, "the device did not end in its safe action"),
        (rows((ARMED, 1, 0.5), (SAFE, 1, 0.5)), {0.5}, "the device did not end in its safe action"),
        (rows(*[(ARMED, 1, 0.5)] * 7, (SAFE, 1, 0.0)), {0.5}, "the safe action came too late"),
        (rows((SAFE, 0, 0.0)), set(), "the device never obeyed"),
    ],
)
def test_the_verdict_sees_each_broken_rule(table, sent, why):
    assert _judge("udp", "drop", 1, "ticks done", sent, table).why == why


def test_an_unknown_word_is_refused():
    with pytest.raises(ModelError, match="carrier_pigeon"):
        run_matrix(("carrier_pigeon",), ("drop",), 0)


def test_a_link_that_is_cut_for_good_ends_in_the_safe_action():
    (case,) = run_matrix(("udp",), ("half_open",), 3)
    assert isinstance(case, Case)
    assert case.passed, case
