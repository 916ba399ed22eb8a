"""Hosts in a process of their own, for faults that are put on a whole process: kill, suspend, a mad wall clock."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .chaos_clock import WallClock
from .chaos_links import CODE, DeviceLog
from .flight_log import FlightRecord, read_log

SIGNALS = {"kill": signal.SIGKILL, "suspend": signal.SIGSTOP}
ENDINGS = {"kill": "killed", "suspend": "suspended"}
CLOCK_JUMP, BY_ITSELF = "clock_jump", "ended by itself"
PROCESS_FAULTS = (*SIGNALS, CLOCK_JUMP)


@contextlib.contextmanager
def host_process(config: Path, clock: WallClock | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `yannctl hil run` until the block ends.

    Args:
        config: configuration.
        clock: its wall clock; None for the computer's.

    Yields:
        Its process.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "hil", "run", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=None if clock is None else clock.environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def end_host(config: Path, log: DeviceLog, fault: str, start: int) -> str:
    """Run a host and kill or stop it in the middle.

    Args:
        config: configuration.
        log: the device's.
        fault: "kill" or "suspend".
        start: commands before that.

    Returns:
        How it ended.
    """
    with host_process(config) as process:
        _wait_for_commands(log, start)
        process.send_signal(SIGNALS[fault])
        log.wait_for_safety()
    return ENDINGS[fault]


def confuse_host(config: Path, log: DeviceLog, clocks: tuple[WallClock, WallClock], start: int) -> tuple[str, int]:
    """Run a host while the wall clocks of both ends jump, then kill it.

    Args:
        config: configuration.
        log: the device's.
        clocks: of host and device.
        start: commands before the clocks jump, and again afterwards.

    Returns:
        How it ended (`BY_ITSELF` where it did not live to be killed), and commands obeyed since the clocks jump.
    """
    host, device = clocks
    with host_process(config, host) as process:
        _wait_for_commands(log, start)
        host.begin()
        device.begin()
        before = _commands(log)
        _wait_for_commands(log, start)
        after = _commands(log)
        ending = ENDINGS["kill"] if process.poll() is None else BY_ITSELF
        process.kill()
        log.wait_for_safety()
    device.begin(0)
    return ending, after - before if host.readings and device.readings else 0


def lockstep_logs(law: Path, folder: Path, x0: list[float], ticks: int, period: float) -> tuple[FlightRecord, ...]:
    """Run the same simulated loop twice, once with a wall clock that jumps all the time.

    Args:
        law: law file.
        folder: for configuration and logs.
        x0: first state.
        ticks: how many.
        period: time between two [s].

    Returns:
        Both logs.
    """
    logs = []
    for name in ("calm", "mad"):
        config = folder / f"{name}.toml"
        config.write_text(
            f'[plant]\nname = "Pendulum"\nsafe_action = [0.5]\nx0 = {x0}\n[controller]\nfile = "{law}"\n'
            f'[link]\nkind = "simulated"\n[loop]\nseconds = {ticks * period}\n[record]\nfile = "{name}.mcap"\n'
        )
        clock = WallClock(folder, f"{name}_clock")
        if name == "mad":
            clock.begin()
        with host_process(config, clock) as process:
            process.wait()
        logs.append(read_log(folder / f"{name}.mcap"))
    return tuple(logs)


def same_numbers(one: FlightRecord, other: FlightRecord) -> bool:
    """Say whether two logs of virtual time agree in every bit.

    Args:
        one: a log.
        other: a log.
    """
    pairs = [(one.x, other.x), (one.u, other.u), (one.u_applied, other.u_applied)]
    pairs += [(one.scalars[name], other.scalars[name]) for name in one.scalars]
    return len(one.x) > 0 and all(np.array_equal(a, b) for a, b in pairs)


def _wait_for_commands(log: DeviceLog, number: int) -> None:
    """Wait until the device has obeyed so many more commands."""
    log.wait_for(lambda rows: True)
    before = _commands(log)
    log.wait_for(lambda rows: bool(rows[-1, 2] >= before + number), 60.0)


def _commands(log: DeviceLog) -> int:
    """Commands obeyed so far."""
    rows = log.rows()
    return int(rows[-1, 2]) if len(rows) else 0
