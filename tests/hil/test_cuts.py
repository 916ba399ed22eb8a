"""A thousand cuts at random phase, and a million frames that nobody sent: the plant never notices."""

import contextlib
import threading

import numpy as np
import pytest

from yannctl.hil.channel import Channel
from yannctl.hil.chaos_links import free_port, null_modem
from yannctl.hil.device import DeviceGuard, device_limits
from yannctl.hil.framing import encode_frame
from yannctl.hil.linked import Features, LinkedRig
from yannctl.hil.links import AbstractLink, SerialLink, UdpLink
from yannctl.hil.messages import Command, DeviceState, Envelope, Measurement, MessageCodec, Stop
from yannctl.hil.plant_device import PlantDevice
from yannctl.hil.rig import RigError
from yannctl.models import Pendulum

LAW, HOLD, PERIOD, KEY = 0xBEEF, 4, 0.01, bytes(range(32))


class Stopped(Exception):
    """Ends a device."""


@contextlib.contextmanager
def device_and_rigs(kind):
    """A device in a thread, and a maker of host ends; every period of the device is noted."""
    plant, codec = Pendulum(), MessageCodec(2, 1)
    ticks, over, ready = [], threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        if kind == "serial":
            port, device_port = stack.enter_context(null_modem())
            link = SerialLink(device_port, 115_200, codec.max_size)
            make = lambda: Channel(SerialLink(port, 115_200, codec.max_size), codec, "host")  # noqa: E731
        else:
            own, other = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
            link = UdpLink(own, None)
            make = lambda: Channel(UdpLink(other, own), codec, "host", KEY)  # noqa: E731
        channel = Channel(link, codec, "device", None if kind == "serial" else KEY)
        guard = DeviceGuard(device_limits([-2.0], [2.0], [0.0], LAW, HOLD, PERIOD))

        def note(tick):
            ticks.append((tick.commands, tick.state, float(tick.u[0])))
            if over.is_set():
                raise Stopped

        def run():
            with contextlib.suppress(Stopped):
                PlantDevice(plant, [0.1, 0.0], channel, guard, PERIOD, note).run(ready=ready.set)

        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        features = Features.of(plant, [0.0], PERIOD)
        try:
            yield lambda: LinkedRig(make(), features, LAW, HOLD), ticks, guard
        finally:
            over.set()
            thread.join()


def cut(rig, commands, generator):
    """Arm, send some commands, and fall silent in the middle of a period."""
    rig.open()
    try:
        rig.arm()
        with contextlib.suppress(RigError):  # a busy host may be too late, which is a cut as well
            for _ in range(commands):
                rig.read(rig.clock.now_ns() + 10**8)
                rig.write(np.array([1.0]), 0)
        rig.clock.sleep_until_ns(rig.clock.now_ns() + int(generator.integers(10**7)))
    finally:
        rig.close()


def run_cuts(kind, number, wait_for):
    generator = np.random.default_rng(number)
    with device_and_rigs(kind) as (make, ticks, guard):
        for _ in range(number):
            start = len(ticks)
            cut(make(), int(generator.integers(1, 5)), generator)
            wait_for(lambda start=start: len(ticks) > start and guard.state is not DeviceState.ARMED)
            seen = len(ticks)
            wait_for(lambda seen=seen: len(ticks) > seen + 1)
            table = np.array(ticks[start:])
            obeyed = np.flatnonzero(np.diff(table[:, 0]) > 0) + 1
            last = obeyed[-1] if len(obeyed) else np.argmax(table[:, 1] == DeviceState.ARMED)
            safe = np.flatnonzero((table[:, 1] == DeviceState.SAFE) & (np.arange(len(table)) >= last))
            assert safe[0] - last <= HOLD + 1
            assert np.all(table[safe, 2] == 0.0)
        assert guard.counts["commands"] > number / 2


@pytest.mark.parametrize("kind", ["udp", "serial"])
def test_every_cut_ends_in_the_safe_action(kind, wait_for):
    run_cuts(kind, 12, wait_for)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["udp", "serial"])
def test_a_thousand_cuts_end_in_the_safe_action(kind, wait_for):
    run_cuts(kind, 1000, wait_for)


class Wire(AbstractLink):
    """A link that gives what it is fed."""

    def __init__(self, shared):
        self.shared, self.queue = shared, []

    def open(self):
        pass

    def close(self):
        pass

    def send(self, message):
        pass

    def receive(self, deadline_ns):
        taken, self.queue = self.queue, []
        return taken


def forged(generator, codec, genuine, session):
    """One message of an attacker who has heard everything and knows all but the key."""
    kind = int(generator.integers(5))
    if kind == 0:
        return generator.bytes(int(generator.integers(1, 90)))
    if kind == 1:  # replayed
        return genuine[int(generator.integers(len(genuine)))]
    if kind == 2:  # damaged
        spoilt = bytearray(genuine[int(generator.integers(len(genuine)))])
        spoilt[int(generator.integers(len(spoilt)))] ^= 1 << int(generator.integers(8))
        return bytes(spoilt)
    u, number = generator.uniform(-3, 3, 1), int(generator.integers(1, 2**32))
    command = codec.pack(Envelope(Command(u, number % 7, 1000, LAW), session, number, number))
    if kind == 3:  # made up, with a made-up tag
        return command + generator.bytes(16)
    return command  # made up, without one


def run_fuzz(number):
    """Numbers of forged messages accepted, and changes of the input."""
    generator, codec = np.random.default_rng(0), MessageCodec(2, 1)
    host, device = Channel(Wire(True), codec, "host", KEY), Channel(Wire(True), codec, "device", KEY)
    guard = DeviceGuard(device_limits([-2.0], [2.0], [0.0], LAW, HOLD, PERIOD))
    sent = []
    host.link.send = sent.append
    device.link.send = host.link.queue.append
    host.hello()
    device.link.queue = sent[-1:]
    device.welcome(device.receive(0)[0].message)
    host.joined(host.receive(0)[0].message)
    for u in np.linspace(-1, 1, 50):
        host.send(Command(np.array([u]), 0, 1000, LAW), 1)
    genuine = sent[1:]
    device.link.queue = list(genuine)
    assert len(device.receive(0)) == 50
    accepted = 0
    for _ in range(number // 100):
        device.link.queue = [forged(generator, codec, genuine, device.session) for _ in range(100)]
        got = [e for e in device.receive(0) if not isinstance(e.message, Stop)]
        accepted += len(got)
        for envelope in got:
            guard.receive(envelope, 0, 0)
    return accepted, guard.counts["commands"]


def test_nothing_forged_is_accepted():
    assert run_fuzz(20_000) == (0, 0)


@pytest.mark.slow
def test_a_million_forged_messages_change_nothing():
    assert run_fuzz(1_000_000) == (0, 0)


def serial_fuzz(number):
    """Damaged, spliced and random frames on a line: what gets through the check and the layout."""
    from yannctl.hil.framing import FrameDecoder
    from yannctl.hil.messages import MessageError

    generator, codec = np.random.default_rng(1), MessageCodec(2, 1)
    messages = [
        codec.pack(Envelope(Measurement(generator.standard_normal(2), generator.standard_normal(1), 1), 7, k, k))
        for k in range(50)
    ]
    genuine, decoder, accepted = set(messages), FrameDecoder(codec.max_size), 0
    for _ in range(number):
        frame = bytearray(encode_frame(messages[int(generator.integers(50))]))
        for _ in range(int(generator.integers(1, 6))):
            frame[int(generator.integers(len(frame)))] = int(generator.integers(256))
        for message in decoder.feed(bytes(frame) + b"\0"):
            with contextlib.suppress(MessageError):
                codec.unpack(message)
                accepted += message not in genuine  # a byte may have been replaced by itself
    return accepted


def test_no_damaged_frame_is_taken_for_a_message():
    assert serial_fuzz(20_000) == 0


@pytest.mark.slow
def test_of_a_million_damaged_frames_none_is_taken_for_a_message():
    assert serial_fuzz(1_000_000) == 0
