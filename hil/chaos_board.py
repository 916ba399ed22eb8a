"""Faults on the line to the firmware on an emulated processor: measurements go in, the law's commands must come out.

The board's own output is read beneath the faults, so the verdict is about what it really did, in its own time.
`python -m yannctl.hil.chaos_board LAW-ID HOLD-US PERIOD` is the host that is killed or suspended.
"""

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yannctl.export import CExport, write_c
from yannctl.export.pil import Image
from yannctl.models import Pendulum
from yannctl.pwa import PwaLaw

from .board_image import build_firmware, write_firmware
from .chaos import FAULTS, Schedule, Spoiler
from .chaos_clock import WallClock
from .chaos_hosts import CLOCK_JUMP, ENDINGS, PROCESS_FAULTS, SIGNALS
from .device import DeviceLimits, DeviceState
from .framing import encode_frame
from .messages import Arm, Command, Envelope, Measurement, MessageCodec
from .processor_loop import EmulatedBoard
from .rig import RigError

SAFE = -0.5  # not zero, so that it cannot be mistaken
SILENCE_SECONDS = 30.0  # a busy computer may let the emulator wait; what counts is the time the board measures
X0 = (0.05, 0.0)


@dataclass(frozen=True)
class Board:
    """The firmware with a law.

    Args:
        export: its C.
        image: its image.
        hold_us: time a measurement may be old [us].
        folder: where it was built.
    """

    export: CExport
    image: Image
    hold_us: int
    folder: Path


@dataclass
class BoardRun:
    """What a board did.

    Args:
        spoilt: frames touched.
        ending: how the host ended.
        commands: its commands with their headers.
        reports: its measurements of its own accord, with their headers.
        sent: states by the number of their measurement, as float32.
    """

    spoilt: int
    ending: str
    commands: list[Envelope]
    reports: list[Envelope]
    sent: dict[int, np.ndarray]


def make_board(law: Path, folder: Path, hold_us: int) -> Board:
    """Build the firmware.

    Args:
        law: law file.
        folder: where to build.
        hold_us: time a measurement may be old [us].

    Returns:
        The board.

    Raises:
        NotInstalledError: compiler or emulator is missing.
    """
    plant = Pendulum()
    export = write_c(PwaLaw.load(law), folder / "c", precision="float")
    limits = DeviceLimits(plant.u_min, plant.u_max, np.array([SAFE]), export.law_id, hold_us)
    return Board(export, build_firmware(write_firmware(export, limits, folder / "firmware")), hold_us, folder)


def run_board(made: Board, fault: str, seed: int, ticks: int, start: int, period: float) -> BoardRun:
    """Drive a fresh board through a fault and listen until it holds its safe action.

    Args:
        made: the firmware.
        fault: of `FAULTS` and `HOST_FAULTS`.
        seed: of the schedule.
        ticks: measurements to send.
        start: measurement from which on the fault acts.
        period: time between them [s].

    Returns:
        What it did.
    """
    with EmulatedBoard(made.image, 2, 1) as board:
        run = BoardRun(0, "silence", [], [], {})
        if fault in PROCESS_FAULTS:
            _foreign(board, made, run, fault, start, period)
        else:
            _own(board, made, run, fault, seed, ticks, start, period)
        _listen(board, run, time.monotonic() + SILENCE_SECONDS, until_safe=True)
    return run


def _own(
    board: EmulatedBoard, made: Board, run: BoardRun, fault: str, seed: int, ticks: int, start: int, period: float
) -> None:
    """The plant in this process, its measurements through a line that misbehaves."""
    plant, x, u = Pendulum(), np.array(X0), np.zeros(1)
    if board.arm(made.export.law_id, made.hold_us).accepted != 1:
        raise RigError("the board refused to be armed")
    schedule = Schedule(fault if fault in FAULTS else "none", start, seed=seed)
    line, due = Spoiler(schedule, board.write), time.monotonic()
    for tick in range(ticks):
        seen = x if fault != "nan" or tick < start else np.full(2, np.nan)
        sequence = tick + 10  # the arming took some
        run.sent[sequence] = np.asarray(seen, np.float32)
        message = Measurement(seen, u, int(DeviceState.ARMED))
        line.pass_on(encode_frame(board.codec.pack(Envelope(message, board.session, sequence, 0))))
        due += period
        _listen(board, run, due)
        u = run.commands[-1].message.u if run.commands and isinstance(run.commands[-1].message, Command) else u
        x = np.asarray(plant.step(x, u), float)
    run.spoilt = line.spoilt + (ticks - start if fault == "nan" else 0)


def _foreign(board: EmulatedBoard, made: Board, run: BoardRun, fault: str, start: int, period: float) -> None:
    """A host in another process: killed, stopped, or with a wall clock that jumps until it is killed."""
    clock = WallClock(made.folder) if fault == CLOCK_JUMP else None
    words = [str(made.export.law_id), str(made.hold_us), str(period)]
    command = [sys.executable, "-m", "yannctl.hil.chaos_board", *words]
    host = subprocess.Popen(command, stdout=board.line, env=None if clock is None else clock.environment)
    run.spoilt = 1
    try:
        _listen_to(board, run, start, period)
        if clock is not None:
            clock.begin()
            _listen_to(board, run, 2 * start, period)
            run.spoilt = len(run.commands) - start if clock.readings and len(run.commands) >= 2 * start else 0
        host.send_signal(SIGNALS.get(fault, signal.SIGKILL))
        _listen(board, run, time.monotonic() + SILENCE_SECONDS, until_safe=True)
    finally:
        host.kill()
        host.wait()
    run.ending = ENDINGS.get(fault, ENDINGS["kill"])
    run.sent = {sequence: np.asarray(X0, np.float32) for sequence in range(10, 100_000)}


def _listen_to(board: EmulatedBoard, run: BoardRun, commands: int, period: float) -> None:
    """Listen until the board has given so many commands in all."""
    end = time.monotonic() + 60
    while len(run.commands) < commands and time.monotonic() < end:
        _listen(board, run, time.monotonic() + period)


def _listen(board: EmulatedBoard, run: BoardRun, until: float, until_safe: bool = False) -> None:
    """Note what the board says until an instant, or until it says that it holds its safe action."""
    while (wait := until - time.monotonic()) > 0:
        for envelope in board.poll(wait):
            if isinstance(envelope.message, Command):
                run.commands.append(envelope)
            elif isinstance(envelope.message, Measurement):
                run.reports.append(envelope)
        if until_safe and any(_is_safe(report) for report in run.reports):
            return


def _is_safe(report: Envelope) -> bool:
    return isinstance(report.message, Measurement) and report.message.status & 0xFF == DeviceState.SAFE


def judge_board(made: Board, run: BoardRun, hold: int, period: float) -> tuple[int, str]:
    """Hold what a board did against the rules.

    Args:
        made: the firmware.
        run: what it did.
        hold: periods a measurement may be old.
        period: time between two [s].

    Returns:
        Periods from the last command to the safe action in the board's own time, and the rule that did not hold.
    """
    u = np.array([e.message.u[0] for e in run.commands if isinstance(e.message, Command)])
    echo = [e.message.echo for e in run.commands if isinstance(e.message, Command)]
    safe = next((report for report in run.reports if _is_safe(report)), None)
    ticks = -1
    if safe is not None and run.commands:
        ticks = int(np.ceil((safe.time_us - run.commands[-1].time_us) / (period * 1e6)))
    known = [number for number in echo if number in run.sent]
    x = np.array([run.sent[number] for number in known], np.float32).reshape(len(known), 2)
    finite = np.isfinite(x).all(axis=1)
    wanted = np.clip(made.export.reference.evaluate(x[finite])[0][:, 0], np.float32(-2), np.float32(2))
    rules = {
        "no message was spoilt": run.spoilt > 0,
        "the board never commanded": len(u) > 0,
        "the input left its limits": bool(np.all(np.abs(u) <= 2)),
        "it answered what was never sent": len(known) == len(echo),
        "it answered a measurement twice": echo == sorted(set(echo)),
        "its input is not its law's": len(known) == len(u)
        and bool(np.array_equal(u[finite].astype(np.float32), wanted)),
        "it did not end in its safe action": safe is not None
        and isinstance(safe.message, Measurement)
        and bool(safe.message.u_applied[0] == np.float32(SAFE)),
        "the safe action came too late": ticks <= hold + 1,
    }
    return ticks, next((rule for rule, holds in rules.items() if not holds), "")


def main(words: list[str]) -> None:
    """Be a host: arm the board on standard output and send measurements for ever.

    Args:
        words: law id, hold [us], period [s].
    """
    law_id, hold_us, period = int(words[0]), int(words[1]), float(words[2])
    codec, due, sequence = MessageCodec(2, 1), time.monotonic(), 9
    os.write(1, encode_frame(codec.pack(Envelope(Arm(law_id, hold_us), 1, 1, 0))))
    while True:
        due, sequence = due + period, sequence + 1
        message = Measurement(np.array(X0), np.zeros(1), int(DeviceState.ARMED))
        os.write(1, encode_frame(codec.pack(Envelope(message, 1, sequence, 0))))
        select.select([], [], [], max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1:])
