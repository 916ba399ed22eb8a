"""The firmware: its C against the Python of the host, damaged frames, and the whole image on an emulated processor."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import yannctl
from yannctl import LinearModel, Ocp, condense, export, solve_mpqp
from yannctl.errors import ModelError
from yannctl.export.pil import boards
from yannctl.hil import board_image, processor_loop
from yannctl.hil.device import DeviceGuard, DeviceLimits, DeviceState
from yannctl.hil.framing import FrameDecoder, encode_frame
from yannctl.hil.messages import (
    Arm,
    Command,
    Envelope,
    Heartbeat,
    Measurement,
    MessageCodec,
    MessageError,
    Stop,
)
from yannctl.models import Pendulum

NX, NU, LAW = 2, 1, 0xC0FFEE11
LIMITS = DeviceLimits(np.array([-2.0]), np.array([2.0]), np.array([0.25]), LAW, 50_000)
CODEC = MessageCodec(NX, NU)
GLUE = r"""
#include "guard.h"
#include <string.h>
static link_decoder decoder;
static guard_state guard;
void restart(void) { link_start(&decoder); guard_start(&guard); }
/* Feed bytes; every message is encoded again into out. Returns the bytes written. */
uint32_t echo(const uint8_t *data, uint32_t size, uint8_t *out, uint32_t *counts)
{
    link_message message;
    uint32_t i;
    uint32_t n = 0U;
    for (i = 0U; i < size; ++i) {
        if (link_feed(&decoder, data[i], &message) == 1) {
            n += link_encode(&message, &out[n]);
        }
    }
    counts[0] = decoder.frames; counts[1] = decoder.bad_cobs; counts[2] = decoder.bad_crc; counts[3] = decoder.too_long;
    return n;
}
/* One message for the guard at a time; returns the state, the input goes to u. */
int32_t obey(const uint8_t *data, uint32_t size, uint64_t now_us, uint32_t newest, float *u, uint32_t *obeyed)
{
    link_message message;
    link_message answer;
    uint32_t i;
    for (i = 0U; i < size; ++i) {
        if (link_feed(&decoder, data[i], &message) == 1) {
            (void)guard_receive(&guard, &message, now_us, newest, &answer);
        }
    }
    u[0] = guard_applied(&guard, now_us)[0];
    *obeyed = guard.obeyed;
    return (int32_t)guard.state;
}
"""


@pytest.fixture(scope="module")
def emulated(tool):
    for name, package in boards.TOOLS.items():
        tool(name, package)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("firmware")
    for path in [*board_image.FIRMWARE.glob("*.c"), *board_image.FIRMWARE.glob("*.h")]:
        shutil.copyfile(path, folder / path.name)
    (folder / "settings.h").write_text(board_image.settings_text(LIMITS, NX))
    (folder / "glue.c").write_text(GLUE)
    return folder


@pytest.fixture(scope="module")
def host(sources, tool):
    compiler = tool("gcc", "gcc")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-O1", "-shared", "-fPIC"]
    files = [str(sources / name) for name in ("glue.c", "guard.c", "link.c")]
    subprocess.run([compiler, *flags, "-Werror", *files, "-o", str(sources / "host.so")], check=True)
    return ctypes.CDLL(str(sources / "host.so"))


def c_echo(host, data):
    out, counts = ctypes.create_string_buffer(2 * len(data) + 4096), (ctypes.c_uint32 * 4)()
    size = host.echo(data, len(data), out, counts)
    return out.raw[:size], list(counts)


numbers, words = st.floats(width=32), st.integers(0, 2**32 - 1)
measurements = st.builds(
    lambda a, b, c, s: Measurement(np.array([a, b]), np.array([c]), s), numbers, numbers, numbers, st.integers(0, 65535)
)
commands = st.builds(
    lambda u, *n: Command(np.array([u]), *n), st.floats(-9, 9, width=32), words, words, words, st.integers(0, 255)
)
messages = st.one_of(
    measurements, commands, st.builds(Arm, words, words), st.builds(Stop, st.integers(0, 65535)), st.just(Heartbeat())
)
envelopes = st.builds(
    Envelope, messages, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=90), envelopes), max_size=8))
def test_c_and_python_read_and_write_the_same(host, parts):
    """Any mixture of noise and frames gives the same messages and the same counts on both sides."""
    stream = b"".join(p if isinstance(p, bytes) else encode_frame(CODEC.pack(p)) for p in parts) + b"\0"
    host.restart()
    found, counts = c_echo(host, stream)
    decoder, wanted = FrameDecoder(CODEC.max_size), b""
    for message in decoder.feed(stream):
        try:
            CODEC.unpack(message)
        except MessageError:
            continue
        wanted += encode_frame(message)
    assert found == wanted
    assert counts == [decoder.counts[name] for name in ("frames", "bad_cobs", "bad_crc", "too_long")]


def test_the_guards_agree(host):
    """Random sessions, laws, ages, expiries and inputs: the same state, input and count of obeyed messages."""
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        host.restart()
        guard, now, sequence, obeyed = DeviceGuard(LIMITS), 0, 0, ctypes.c_uint32()
        wanted_obeyed = 0
        for _ in range(60):
            now += int(generator.integers(0, 15_000))
            sequence += int(generator.integers(0, 3))
            law, session = int(generator.choice([LAW, LAW, LAW, 7])), int(generator.choice([1, 1, 1, 2, 0]))
            valid = int(generator.choice([0, 20_000, 50_000, 60_000]))
            u = np.array([generator.choice([-2.0, 0.5, 1.25, 2.0, 2.5])])
            kind = str(generator.choice(["command", "arm", "stop", "heartbeat"], p=[0.65, 0.29, 0.01, 0.05]))
            message = {
                "command": Command(u, int(generator.integers(4, 11)), valid, law),
                "arm": Arm(law, valid), "stop": Stop(), "heartbeat": Heartbeat(),
            }[kind]  # fmt: skip
            envelope = Envelope(message, session, sequence, now)
            before = guard.counts["commands"]
            answer = guard.receive(envelope, now, 10)
            wanted_obeyed += guard.counts["commands"] - before + (answer.accepted if answer is not None else 0)
            frame, value = encode_frame(CODEC.pack(envelope)), ctypes.c_float()
            state = host.obey(frame, len(frame), ctypes.c_uint64(now), 10, ctypes.byref(value), ctypes.byref(obeyed))
            assert value.value == np.float32(guard.applied(now)[0])
            assert state == guard.state
            assert obeyed.value == wanted_obeyed
            seen.add((kind, state))
    assert {("command", 1), ("command", 2), ("arm", 1), ("arm", 0)} <= seen


def test_a_million_damaged_frames(sources, tool):
    compiler = tool("gcc", "gcc")
    flags = ["-std=c99", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    files = [str(sources / name) for name in ("fuzz_link.c", "link.c")]
    subprocess.run([compiler, *flags, *files, "-o", str(sources / "fuzz")], check=True)
    done = subprocess.run([str(sources / "fuzz"), "1000000", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1000000 frames, 0 accepted" in done.stdout


def test_misra_required_rules(sources, tool):
    cppcheck = tool("cppcheck", "cppcheck")
    command = [cppcheck, "--addon=misra", "--std=c99", "-q", "--template={id}"]
    done = subprocess.run(
        [*command, *(str(sources / name) for name in ("guard.c", "link.c"))], capture_output=True, text=True, check=True
    )
    found = {line.removeprefix("misra-c2012-") for line in done.stderr.splitlines() if line.startswith("misra")}
    recorded = set(re.findall(r"^\| (\d+\.\d+) ", (Path(__file__).parents[2] / "docs" / "misra.md").read_text(), re.M))
    assert found
    assert found <= recorded


@pytest.fixture(scope="module")
def pendulum():
    plant = Pendulum()
    ocp = Ocp(
        yannctl.linearise(plant, x=[0.0, 0.0], u=[0.0]), Q=np.diag([1.0, 0.1]), R=[[0.01]], N=4,
        x_min=plant.x_min, x_max=plant.x_max, u_min=plant.u_min, u_max=plant.u_max, soft="l1l2", terminal="lqr",
    )  # fmt: skip
    return plant, solve_mpqp(condense(ocp))


@pytest.mark.parametrize(("cpu", "steps"), [("cortex-m4", 1000), ("cortex-m7", 100), ("cortex-m3", 100)])
def test_closed_loop_in_lock_step(pendulum, tmp_path, emulated, cpu, steps):
    plant, law = pendulum
    code = export.write_c(law, tmp_path, precision="float", search="tree", out_min=plant.u_min, out_max=plant.u_max)
    found = processor_loop.compare_closed_loop(plant, code, [0.35, 0.0], cpu, steps)
    assert found.identical
    assert found.max_x == found.max_u == 0.0
    assert np.abs(found.u).max() > 1.0
    x = found.x[0]
    for wanted, u in zip(found.x[1:21], found.u, strict=False):
        x = plant.step(x, u)
        np.testing.assert_array_equal(x, wanted)


def test_the_watchdog_bites_in_the_boards_own_time(pendulum, tmp_path, emulated):
    plant, law = pendulum
    code = export.write_c(law, tmp_path, precision="float")
    limits = DeviceLimits(plant.u_min, plant.u_max, np.array([-0.5]), code.law_id, 300_000)
    image = board_image.build_firmware(board_image.write_firmware(code, limits, tmp_path / "firmware"))
    with processor_loop.EmulatedBoard(image, 2, 1) as board:
        assert board.arm(code.law_id ^ 1, 1000).accepted == 0  # another law
        board.write(b"\x03\x01\x02\x00noise\x00")
        board.send(Heartbeat())
        assert board.receive().message.status == DeviceState.DISARMED
        board.send(Arm(code.law_id, 300_000))
        armed = board.receive()
        assert armed.message.accepted == 1
        report = board.receive()  # nobody speaks: it comes by itself
        assert report.message.status == DeviceState.SAFE
        np.testing.assert_array_equal(report.message.u_applied, [-0.5])
        assert 300_000 <= report.time_us - armed.time_us <= 330_000
        assert board.arm(code.law_id, 300_000).accepted == 0  # the same session again
        board.send(Measurement(np.zeros(2), np.zeros(1)))
        board.send(Heartbeat())
        assert board.receive().message.status == DeviceState.SAFE  # no law, no command
        board.send(Arm(code.law_id, 300_000), session=2)
        assert board.receive().message.accepted == 1
        board.send(Stop(), session=99)
        assert board.receive().message.state == DeviceState.SAFE


def test_firmware_of_another_controller_is_refused(pendulum, tmp_path):
    plant, law = pendulum
    code = export.write_c(law, tmp_path, precision="float")
    limits = DeviceLimits(plant.u_min, plant.u_max, np.zeros(1), code.law_id ^ 1, 1000)
    with pytest.raises(ModelError, match="another controller"):
        board_image.write_firmware(code, limits, tmp_path / "firmware")
    with pytest.raises(ModelError, match="float"):
        board_image.write_firmware(export.write_c(law, tmp_path), limits, tmp_path / "firmware")


def test_an_integrator_runs_on_the_board(tmp_path, emulated):
    """Any law: commands come back with the law's input, the echo and the law's number."""
    model = LinearModel([[1.0, 1.0], [0.0, 1.0]], [[0.5], [1.0]], dt=0.1)
    ocp = Ocp(model, Q=np.eye(2), R=[[0.1]], N=3, x_min=[-5, -5], x_max=[5, 5], u_min=[-1], u_max=[1], terminal="lqr")
    law = solve_mpqp(condense(ocp))
    code = export.write_c(law, tmp_path, precision="float")
    limits = DeviceLimits(np.array([-1.0]), np.array([1.0]), np.zeros(1), code.law_id, 2**31)
    image = board_image.build_firmware(board_image.write_firmware(code, limits, tmp_path / "firmware"))
    theta = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    with processor_loop.EmulatedBoard(image, 2, 1) as board:
        assert board.arm(code.law_id, 2**31).accepted == 1
        found = [board.control(x.astype(float), np.zeros(1)) for x in theta]
    wanted = np.clip(code.reference.evaluate(theta)[0], -1, 1)
    np.testing.assert_array_equal([command.u for command in found], wanted)
    assert {command.law_id for command in found} == {code.law_id}
