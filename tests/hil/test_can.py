"""Messages as signals on a CAN bus: what is lost, doubled, mixed or damaged never becomes a message."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import cantools
import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.hil import RigError
from yannctl.hil.can_link import CanLink
from yannctl.hil.can_messages import RECORD, CanCodec, FrameCollector, write_dbc
from yannctl.hil.messages import (
    Acknowledge,
    Arm,
    Command,
    Envelope,
    Heartbeat,
    Hello,
    Measurement,
    MessageError,
    Stop,
    Welcome,
)
from yannctl.models import Pendulum

NAMES = (("theta", "omega"), ("torque",), ("rad", "rad/s"), ("N m",))
CODEC = CanCodec(*NAMES)
EXAMPLES = Path(__file__).parents[2] / "examples" / "bridge"
MESSAGES = [
    Stop(3),
    Hello(2**63 + 5),
    Welcome(1 << 40, 77),
    Arm(0xDEADBEEF, 50_000),
    Acknowledge(5, 1, 2, 0xFFFFFFFF),
    Heartbeat(),
    Command(np.array([1.25]), 7, 40_000, 0xBEEF1234, 3),
    Measurement(np.array([1.5, np.nan]), np.array([0.5]), 0x102),
]


def envelope(message, sequence=300):
    bare = isinstance(message, Stop | Hello | Welcome)
    return Envelope(message, 0, 0, 0) if bare else Envelope(message, 0x12345678, sequence, 12_300)


def frames(message, sequence=300):
    data = CODEC.pack(envelope(message, sequence))
    return [data[place : place + RECORD.size] for place in range(0, len(data), RECORD.size)]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_packed_comes_back(message):
    found = CODEC.unpack(CODEC.pack(envelope(message)))
    assert (found.session, found.sequence, found.time_us) == tuple(vars(envelope(message)).values())[1:]
    for name, value in vars(message).items():
        np.testing.assert_array_equal(vars(found.message)[name], value)


def test_another_can_tool_reads_the_signals(tmp_path):
    write_dbc(CODEC, tmp_path / "plant.dbc")
    database = cantools.database.load_file(tmp_path / "plant.dbc")
    values = {}
    for record in frames(MESSAGES[6]):
        number, data = RECORD.unpack(record)
        values |= database.decode_message(number, data)
    assert values["u_torque"] == 1.25
    assert (values["echo"], values["valid_for"], values["sequence"]) == (7, pytest.approx(40.0), 300)
    assert values["law_id_low"] + (values["law_id_high"] << 16) == 0xBEEF1234


def test_a_renumbered_file_is_taken_and_a_changed_signal_refused(tmp_path):
    path = tmp_path / "plant.dbc"
    write_dbc(CODEC, path)
    path.write_text(path.read_text().replace("BO_ 256 STOP", "BO_ 17 STOP"))
    codec = CanCodec(*NAMES, path)
    assert RECORD.unpack(codec.pack(envelope(Stop(1))))[0] == 17
    for before, after in (("u_torque : 8|32", "u_torque : 8|16"), ("HELLO_LOW", "GREETING")):
        path.write_text(path.read_text().replace(before, after))
        with pytest.raises(ModelError, match=r"link\.dbc"):
            CanCodec(*NAMES, path)


def test_the_example_fits_its_plant():
    plant = Pendulum()
    names = (tuple(plant.x_names), tuple(plant.u_names), tuple(plant.x_units), tuple(plant.u_units))
    assert CanCodec(*names, EXAMPLES / "pendulum.dbc").places == CanCodec(*names).places


def test_a_frame_that_is_lost_takes_its_message_with_it():
    collector, got = FrameCollector(CODEC), []
    commands = [frames(Command(np.array([float(k)]), k, 1000, 5), k) for k in range(1, 6)]
    stream = [frame for k, group in enumerate(commands) for frame in (group[:2] + group[3:] if k == 2 else group)]
    for frame in [*stream, stream[-1], RECORD.pack(0x7FF, bytes(8)), b"short"]:
        got += collector.feed(frame)
    assert [CODEC.unpack(message).sequence for message in got] == [1, 2, 4, 5]
    assert collector.counts["foreign"] == 2


def test_frames_of_two_messages_never_pass_for_one():
    first, second = (frames(Command(np.array([u]), 7, 1000, 5), 300 + n) for u, n in ((0.5, 0), (-0.5, 256)))
    with pytest.raises(MessageError, match="CRC"):
        CODEC.unpack(b"".join([*first[:3], second[3], *first[4:]]))
    with pytest.raises(MessageError, match="in order"):
        CODEC.unpack(b"".join(first[::-1]))


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(MessageError, match="cannot pack"):
        CODEC.pack(Envelope(Command(np.array([1.0]), 2**33, 1000, 5), 1, 1, 0))
    with pytest.raises(MessageError, match="cannot pack"):
        CODEC.pack(Envelope(Command(np.array([1.0, 2.0]), 1, 1000, 5), 1, 1, 0))
    with pytest.raises(ModelError, match="ASCII"):
        CanCodec(("θ",), ("u",), ("rad",), ("N",))
    with pytest.raises(ModelError, match="bit/s"):
        CanLink("slcan", "x", CODEC, bitrate=1)
    with pytest.raises(RigError, match="cannot open"):
        CanLink("slcan", "/dev/not_there", CODEC).open()


def test_reading_the_bus_asks_no_wall_clock(monkeypatch):
    """python-can's own `recv` does, and waits for as long as that clock is put back."""

    def asked():
        raise AssertionError("the wall clock was read")

    link = CanLink("virtual", "wall clock", CODEC)
    link.open()
    monkeypatch.setattr("can.bus.time", asked)
    try:
        assert link.receive(time.monotonic_ns() + 10**6) == []
    finally:
        monkeypatch.undo()
        link.close()


def can_fuzz(number):
    """Damaged frames on the bus: messages that get through and are none of the genuine ones."""
    generator, collector, accepted = np.random.default_rng(2), FrameCollector(CODEC), 0
    genuine = [frames(Command(generator.standard_normal(1), k, 1000, 5), k) for k in range(1, 51)]
    known = {b"".join(group) for group in genuine}
    for _ in range(number // 5):
        group = [bytearray(frame) for frame in genuine[int(generator.integers(50))]]
        for _ in range(int(generator.integers(1, 4))):
            group[int(generator.integers(5))][4 + int(generator.integers(8))] = int(generator.integers(256))
        for message in (message for frame in group for message in collector.feed(bytes(frame))):
            with contextlib.suppress(MessageError):
                CODEC.unpack(message)
                accepted += message not in known
    return accepted


def test_no_damaged_frame_is_taken():
    assert can_fuzz(10_000) == 0


@pytest.mark.slow
def test_of_a_million_damaged_frames_none_is_taken():
    assert can_fuzz(1_000_000) == 0


@pytest.mark.slow
def test_multicast_joins_two_processes():
    """python-can's bus of datagrams, between this process and another one."""
    link = {"interface": "udp_multicast", "channel": "239.74.163.77"}
    make = f"CanLink({link['interface']!r}, {link['channel']!r}, CanCodec(*{NAMES!r}))"
    code = (
        "import time\nfrom yannctl.hil.can_link import CanLink\nfrom yannctl.hil.can_messages import CanCodec\n"
        f"link = {make}\nlink.open()\nprint('ready', flush=True)\n"
        "(message,) = link.receive(time.monotonic_ns() + 10**10)\nanswer = link.codec.unpack(message)\n"
        "from yannctl.hil.messages import Envelope, Heartbeat\n"
        "link.send(link.codec.pack(Envelope(Heartbeat(), answer.session, answer.sequence + 1, 0)))\nlink.close()\n"
    )
    own = CanLink(**link, codec=CODEC)
    own.open()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        own.send(CODEC.pack(envelope(MESSAGES[6])))
        got = []
        while len(got) < 2 and other.poll() is None:  # multicast also brings back what this process sent
            got += own.receive(time.monotonic_ns() + 10**9)
    own.close()
    answer = CODEC.unpack(got[-1])
    assert (answer.message, answer.session, answer.sequence) == (Heartbeat(), 0x12345678, 301)
