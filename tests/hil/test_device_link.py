"""The device link: sessions, proofs, expiry; a command is obeyed only if every rule holds."""

import itertools
import os
import stat
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yannctl.errors import ModelError
from yannctl.hil.authentication import KEY_BYTES, Seal, read_key
from yannctl.hil.channel import Channel
from yannctl.hil.device import DeviceGuard, device_limits
from yannctl.hil.links import AbstractLink
from yannctl.hil.messages import Acknowledge, Arm, Command, DeviceState, Envelope, Hello, MessageCodec, Stop, Welcome
from yannctl.hil.plant_device import PlantDevice
from yannctl.hil.rig import RigError
from yannctl.models import Pendulum

LAW, KEY, US = 0xC0FFEE, bytes(range(KEY_BYTES)), 1_000_000
LIMITS = device_limits([-2.0], [2.0], [-0.5], LAW, hold_periods=2, dt=0.05)


def guard(**keywords):
    return DeviceGuard(LIMITS, **keywords)


def armed(now=0):
    it = guard()
    answer = it.receive(Envelope(Arm(LAW, 100_000), 5, 1, 0), now, 0)
    assert answer == Acknowledge(Arm.kind, 1, DeviceState.ARMED, LAW)
    return it


def command(u=1.0, sequence=2, session=5, echo=0, valid=100_000, law=LAW):
    return Envelope(Command(np.array([u]), echo, valid, law), session, sequence, 0)


class Wire(AbstractLink):
    """Both ends in memory; what passes is noted and can be played again."""

    def __init__(self, shared):
        self.shared, self.queue, self.other, self.passed = shared, [], None, []

    def open(self):
        pass

    def close(self):
        pass

    def send(self, message):
        self.passed.append(message)
        self.other.queue.append(message)

    def receive(self, deadline_ns):
        taken, self.queue = self.queue, []
        return taken


def pair(key=KEY, shared=True):
    a, b = Wire(shared), Wire(shared)
    a.other, b.other = b, a
    codec = MessageCodec(2, 1)
    return Channel(a, codec, "host", key), Channel(b, codec, "device", key)


def greet(host, device):
    host.hello()
    (hello,) = device.receive(0)
    device.welcome(hello.message)
    (welcome,) = host.receive(0)
    assert isinstance(welcome.message, Welcome)
    assert host.joined(welcome.message)
    assert host.session == device.session != 0


class TestGuard:
    def test_safe_action_until_armed(self):
        it = guard()
        assert it.receive(command(), 0, 0) is None
        np.testing.assert_array_equal(it.applied(0), [-0.5])
        assert it.counts == {"not_armed": 1}

    def test_a_command_is_held_until_it_expires_and_then_never_again(self):
        it = armed()
        it.receive(command(1.5), 1000, 0)
        np.testing.assert_array_equal(it.applied(100_999), [1.5])
        np.testing.assert_array_equal(it.applied(101_000), [-0.5])
        assert it.state is DeviceState.SAFE
        it.receive(command(1.0, sequence=3), 101_001, 0)
        np.testing.assert_array_equal(it.applied(101_002), [-0.5])

    def test_a_late_command_does_not_revive_an_expired_session(self):
        it = armed()
        it.receive(command(1.0), 100_000, 0)  # the first look at the clock after arming
        assert it.state is DeviceState.SAFE

    @pytest.mark.parametrize(
        ("envelope", "cause"),
        [
            (command(session=6), "other_session"),
            (command(sequence=1), "replayed"),
            (command(law=1), "other_law"),
            (command(u=np.nan), "not_finite"),
            (command(u=2.001), "out_of_range"),
            (command(u=-2.001), "out_of_range"),
            (command(valid=0), "bad_expiry"),
            (command(valid=100_001), "bad_expiry"),
            (command(echo=6), "stale"),
            (command(echo=11), "stale"),
        ],
    )
    def test_one_broken_rule_is_enough(self, envelope, cause):
        it = armed()
        assert it.receive(envelope, 10, newest=10 if cause == "stale" else 0) is None
        assert it.counts == {cause: 1}
        np.testing.assert_array_equal(it.applied(11), [-0.5])

    def test_stop_is_obeyed_from_anyone_and_latched(self):
        it = armed()
        it.receive(command(1.0), 1, 0)
        assert it.receive(Envelope(Stop(), 999, 0, 0), 2, 0) == Acknowledge(Stop.kind, 1, DeviceState.SAFE, LAW)
        it.receive(command(1.0, sequence=9), 3, 0)
        np.testing.assert_array_equal(it.applied(4), [-0.5])

    def test_arming_again_needs_a_new_session(self):
        it = armed()
        it.receive(Envelope(Stop(), 0, 0, 0), 1, 0)
        assert not it.receive(Envelope(Arm(LAW, 100_000), 5, 9, 0), 2, 0).accepted
        assert it.receive(Envelope(Arm(LAW, 100_000), 6, 1, 0), 3, 0).accepted

    @pytest.mark.parametrize("arm", [Arm(1, 100_000), Arm(LAW, 0), Arm(LAW, 100_001)])
    def test_another_law_or_a_longer_hold_is_not_armed(self, arm):
        it = guard()
        assert not it.receive(Envelope(arm, 5, 1, 0), 0, 0).accepted
        assert it.state is DeviceState.DISARMED

    def test_not_ready_is_not_armed(self):
        assert not guard(ready=lambda: False).receive(Envelope(Arm(LAW, 100_000), 5, 1, 0), 0, 0).accepted

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(
            st.tuples(st.sampled_from(["command", "arm", "stop", "wait"]), st.integers(0, 60_000), st.floats(-5, 5)),
            max_size=30,
        )
    )
    def test_whatever_happens_the_input_is_allowed_and_no_older_than_its_expiry(self, events):
        it, now, sent, arrived = guard(), 0, itertools.count(1), None
        for kind, delay, u in events:
            now += delay
            number = next(sent)
            if kind == "command":
                before = it.counts["commands"]
                it.receive(command(u, number, session=it._session or 0), now, 0)
                arrived = now if it.counts["commands"] > before else arrived
            elif kind == "arm":
                it.receive(Envelope(Arm(LAW, 100_000), number, number, 0), now, 0)
            elif kind == "stop":
                it.receive(Envelope(Stop(), 0, 0, 0), now, 0)
            applied = it.applied(now)
            assert -2 <= applied[0] <= 2
            if applied[0] != -0.5:
                assert arrived is not None
                assert now < arrived + 100_000


class TestChannel:
    @pytest.mark.parametrize(("key", "shared"), [(KEY, True), (None, False)])
    def test_a_session_carries_messages_both_ways(self, key, shared):
        host, device = pair(key, shared)
        greet(host, device)
        host.send(Arm(LAW, 7), 1)
        (arm,) = device.receive(0)
        assert arm.message == Arm(LAW, 7)
        device.send(Acknowledge(Arm.kind, 1, 1, LAW), 1)
        (answer,) = host.receive(0)
        assert answer.message.accepted == 1

    def test_a_shared_medium_needs_a_key(self):
        with pytest.raises(ModelError, match="key file"):
            pair(None, True)

    def test_nothing_before_the_session(self):
        host, device = pair()
        host.send(Arm(LAW, 7), 1)
        assert device.receive(0) == []
        assert sum(device.counts.values()) == 1

    def test_replayed_reordered_and_reflected_messages_are_dropped(self):
        host, device = pair()
        greet(host, device)
        for number in range(3):
            host.send(Arm(LAW, number), 1)
        first, second, third = host.link.passed[-3:]
        device.link.queue = [second, first, second, third, third]
        assert [e.message.valid_for_us for e in device.receive(0)] == [1, 2]
        assert device.counts["replayed"] == 3
        host.link.queue = [third]
        assert host.receive(0) == []
        assert host.counts == {"forged": 1}

    def test_messages_of_an_earlier_session_prove_nothing(self):
        host, device = pair()
        greet(host, device)
        host.send(Arm(LAW, 7), 1)
        device.receive(0)
        old = list(host.link.passed)
        greet(host, device)
        device.link.queue = old[-1:]
        assert device.receive(0) == []
        assert device.counts["forged"] == 1

    def test_another_key_another_device_and_every_flipped_bit_are_refused(self):
        host, device = pair()
        greet(host, device)
        host.send(Arm(LAW, 7), 1)
        device.link.queue.clear()
        sealed = host.link.passed[-1]
        flipped = [
            sealed[:i] + bytes([sealed[i] ^ (1 << bit)]) + sealed[i + 1 :]
            for i in range(len(sealed))
            for bit in range(8)
        ]
        device.link.queue = flipped
        # A flip may turn the kind into STOP with a wrong length, never into a proved message.
        assert [e for e in device.receive(0) if not isinstance(e.message, Stop)] == []
        stranger = Seal(KEY, b"host:other")
        device.link.queue = [stranger.close(sealed[:-16])]
        assert device.receive(0) == []

    def test_stop_needs_no_proof(self):
        host, device = pair()
        greet(host, device)
        device.link.queue = [host.codec.pack(Envelope(Stop(3), 0, 0, 0))]
        (stop,) = device.receive(0)
        assert stop.message == Stop(3)

    def test_a_welcome_for_another_hello_is_ignored(self):
        host, device = pair()
        host.hello()
        (hello,) = device.receive(0)
        device.welcome(Hello(hello.message.nonce ^ 1))
        (welcome,) = host.receive(0)
        assert not host.joined(welcome.message)
        assert host.session == 0


class TestKeyFile:
    def write(self, tmp_path, text, mode=0o600):
        path = tmp_path / "key"
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_a_private_file_of_64_digits_is_read(self, tmp_path):
        assert read_key(self.write(tmp_path, KEY.hex() + "\n")) == KEY

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
    def test_a_file_that_others_can_read_is_refused(self, tmp_path, mode):
        path = self.write(tmp_path, KEY.hex(), mode)
        with pytest.raises(ModelError, match="chmod 600"):
            read_key(path)

    @pytest.mark.parametrize("text", ["", "00", "zz" * 32, KEY.hex() + "00"])
    def test_anything_else_is_refused(self, tmp_path, text):
        with pytest.raises(ModelError, match="64 hexadecimal"):
            read_key(self.write(tmp_path, text))

    def test_a_link_is_refused(self, tmp_path):
        self.write(tmp_path, KEY.hex())
        (tmp_path / "link").symlink_to(tmp_path / "key")
        with pytest.raises(OSError, match="link"):
            read_key(tmp_path / "link")
        assert stat.S_IMODE(os.stat(tmp_path / "key").st_mode) == 0o600


class Failing(Wire):
    """A link that breaks for good after some calls."""

    def __init__(self, good):
        super().__init__(shared=False)
        self.other, self.good = self, good

    def receive(self, deadline_ns):
        self.good -= 1
        if self.good < 0:
            raise RigError("the adapter is gone")
        return []

    def send(self, message):
        if self.good < 0:
            raise RigError("the adapter is gone")


def test_a_link_that_fails_ends_the_session_and_not_the_watchdog():
    plant, ticks = Pendulum(), []
    it, link = armed(time.monotonic_ns() // 1000), Failing(3)
    channel = Channel(link, MessageCodec(2, 1), "device")
    channel.session = 5
    PlantDevice(plant, [0.1, 0.0], channel, it, 0.01, ticks.append).run(seconds=0.3)
    assert [tick.state for tick in ticks][-1] == DeviceState.SAFE
    assert it.cause == "expired"
    assert it.counts["link_errors"] > 5
    assert np.all(ticks[-1].u == -0.5)
