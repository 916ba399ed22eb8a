"""Messages and frames: every one comes back whole, and nothing damaged is ever taken for one."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yannctl.errors import ModelError
from yannctl.hil.framing import FrameDecoder, encode_frame
from yannctl.hil.messages import (
    Acknowledge,
    Arm,
    Command,
    Envelope,
    Heartbeat,
    Hello,
    Measurement,
    MessageCodec,
    MessageError,
    Stop,
    Welcome,
)

CODEC = MessageCodec(2, 1)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
REAL = st.floats(width=32, allow_nan=False, allow_infinity=False)
MESSAGES = st.one_of(
    st.builds(lambda a, b, c, s: Measurement(np.array([a, b]), np.array([c]), s), REAL, REAL, REAL, st.integers(0, 2)),
    st.builds(lambda u, e, v, i, m: Command(np.array([u]), e, v, i, m), REAL, U32, U32, U32, st.integers(0, 2)),
    st.builds(Arm, U32, U32),
    st.builds(Stop, st.integers(0, 65535)),
    st.just(Heartbeat()),
    st.builds(Acknowledge, st.integers(0, 9), st.integers(0, 1), st.integers(0, 2), U32),
    st.builds(Hello, U64),
    st.builds(Welcome, U64, U64),
)
ENVELOPES = st.builds(Envelope, MESSAGES, U32, U32, U64)


def same(a, b):
    if (a.session, a.sequence, a.time_us, type(a.message)) != (b.session, b.sequence, b.time_us, type(b.message)):
        return False
    left, right = vars(a.message), vars(b.message)
    return all(np.array_equal(left[name], right[name], equal_nan=True) for name in left)


@given(ENVELOPES)
def test_a_message_comes_back(envelope):
    data = CODEC.pack(envelope)
    assert len(data) <= CODEC.max_size
    assert same(CODEC.unpack(data), envelope)


def test_the_layout_is_the_documented_one():
    data = CODEC.pack(Envelope(Command(np.array([1.5]), 7, 50_000, 0xDEADBEEF, 1), 0x01020304, 9, 0x0A0B))
    assert data[:20] == bytes.fromhex("a5010200 04030201 09000000 0b0a000000000000".replace(" ", ""))
    assert data[20:] == bytes.fromhex("07000000 0000c03f 50c30000 efbeadde 01".replace(" ", ""))


@given(ENVELOPES, st.data())
def test_a_message_cut_short_or_long_is_refused(envelope, data):
    packed = CODEC.pack(envelope)
    short = packed[: data.draw(st.integers(0, len(packed) - 1))]
    for damaged in (short, packed + b"\0"):
        with pytest.raises(MessageError):
            CODEC.unpack(damaged)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_refused(value):
    packed = CODEC.pack(Envelope(Command(np.array([value]), 0, 1, 2), 1, 1, 1))
    with pytest.raises(MessageError, match="not finite"):
        CODEC.unpack(packed)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(MessageError, match="cannot pack"):
        CODEC.pack(Envelope(Stop(), 2**32, 0, 0))
    with pytest.raises(MessageError, match="cannot pack"):
        CODEC.pack(Envelope(Command(np.zeros(2), 0, 1, 2), 1, 1, 1))
    with pytest.raises(ModelError, match="1 to 64"):
        MessageCodec(0, 1)


def test_the_check_is_the_standard_one():
    assert zlib.crc32(b"123456789") == 0xCBF43926


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=5), st.data())
def test_frames_come_back_however_the_stream_is_cut(messages, data):
    stream = b"".join(encode_frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder, found = FrameDecoder(60), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:end])
    assert found == messages
    assert decoder.counts == ({"frames": len(messages)} if messages else {})


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=40), st.integers(0, 10_000), st.integers(0, 7))
def test_one_flipped_bit_is_never_accepted(message, place, bit):
    frame = bytearray(encode_frame(message))
    frame[place % len(frame)] ^= 1 << bit
    decoder = FrameDecoder(40)
    assert message not in decoder.feed(bytes(frame) + b"\0")


def test_a_frame_without_end_is_bounded_and_dropped():
    decoder = FrameDecoder(40)
    for _ in range(1000):
        assert decoder.feed(b"\x01" * 100) == []
    assert len(decoder._buffer) < 50
    assert decoder.feed(b"\0" + encode_frame(b"next")) == [b"next"]
    assert decoder.counts == {"too_long": 1, "frames": 1}


def test_random_bytes_are_dropped():
    noise = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
    decoder = FrameDecoder(CODEC.max_size)
    accepted = 0
    for message in decoder.feed(noise):
        try:
            CODEC.unpack(message)
        except MessageError:
            continue
        accepted += 1
    assert accepted == 0
    assert sum(decoder.counts.values()) > 500
