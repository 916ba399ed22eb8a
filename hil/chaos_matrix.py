"""`yannctl hil chaos`: every fault on every kind of link, each against a device in a process of its own."""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import tty
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.controllers import AbstractController
from yannctl.errors import ModelError
from yannctl.models import Pendulum
from yannctl.types import Float

from .assembly import make_law, make_rig
from .chaos import FAULTS, LASTING, FaultyLink, Schedule
from .configuration import Configuration, read_configuration
from .linked import LinkedRig
from .loop import FixedRateLoop
from .messages import DeviceState
from .report import LoopState

LINKS = ("udp", "zmq", "serial", "can")
HOST_FAULTS = ("nan", "kill", "suspend")
IMPOSSIBLE = {("zmq", "corrupt"), ("zmq", "truncate")}  # TCP and CURVE let nothing damaged through
PERIOD, HOLD, TICKS, START = 0.02, 5, 80, 30
_CODE = "from yannctl.cli.app import main; main()"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        link: kind of link.
        fault: what went wrong.
        spoilt: messages touched.
        obeyed: commands the device obeyed.
        ticks_to_safe: periods from the last obeyed command to the safe action.
        ending: how the host's loop ended.
        passed: whether every rule held.
        why: the rule that did not.
    """

    link: str
    fault: str
    spoilt: int
    obeyed: int
    ticks_to_safe: int
    ending: str
    passed: bool
    why: str


class _Noting(AbstractController):
    """A controller that may turn to NaN."""

    def __init__(self, law: AbstractController, nan_from: int | None) -> None:
        self.nx, self.nu, self._law, self._nan_from, self._calls = law.nx, law.nu, law, nan_from, 0

    def __call__(self, x: Any, reference: Any = None) -> Float[np.ndarray, "*batch nu"]:
        self._calls += 1
        u = self._law(x, reference)
        return u if self._nan_from is None or self._calls < self._nan_from else np.full_like(u, np.nan)

    def reset(self) -> None:
        self._calls = 0


def run_matrix(links: tuple[str, ...], faults: tuple[str, ...], seed: int, report: Any = None) -> list[Case]:
    """Run every fault on every link.

    Args:
        links: of `LINKS`.
        faults: of `FAULTS` and `HOST_FAULTS`.
        seed: of the schedules.
        report: called with each case, or None.

    Returns:
        One case a pair, those of `IMPOSSIBLE` left out.

    Raises:
        ModelError: an unknown word.
    """
    for name, words, known in (("link", links, LINKS), ("fault", faults, FAULTS + HOST_FAULTS)):
        wrong = sorted(set(words) - set(known))
        if wrong:
            raise ModelError(name, f"does not know {wrong[0]!r}", remedy=f"choose from {', '.join(known)}")
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as folder:
        law = Path(folder) / "law.safetensors"
        _save_law(law)
        for link in links:
            for number, fault in enumerate(faults):
                if (link, fault) in IMPOSSIBLE:
                    continue
                place = Path(folder) / f"{link}-{fault}"
                place.mkdir()
                cases.append(_run_case(link, fault, seed + number, law, place))
                if report is not None:
                    report(cases[-1])
    return cases


def _save_law(path: Path) -> None:
    """A small law that holds the pendulum upright."""
    from yannctl import Ocp, condense, linearise, solve_mpqp

    plant = Pendulum()
    bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
    ocp = Ocp(linearise(plant), Q=np.diag([1, 0.1]), R=[[0.001]], N=3, soft="l1l2", **bounds)
    solve_mpqp(condense(ocp)).save(path)


def _run_case(link: str, fault: str, seed: int, law: Path, folder: Path) -> Case:
    with contextlib.ExitStack() as stack:
        section = link_section(link, folder, stack)
        config, log = folder / "rig.toml", folder / "device.csv"
        config.write_text(
            f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.05, 0.0]\ndt = {PERIOD}\n[controller]\n'
            f'file = "{law}"\nhold_periods = {HOLD}\n[loop]\nseconds = {TICKS * PERIOD}\n{section}'
            "[supervisor]\nenabled = false\n"  # the device's own watchdog is what is tried
        )
        stack.enter_context(_device(config, log))
        if fault in {"kill", "suspend"}:
            ending, spoilt, sent = _foreign_host(config, log, fault), 1, None
        else:
            ending, spoilt, sent = _own_host(read_configuration(config), fault, seed)
        _wait_for_end(log)
        return _judge(link, fault, spoilt, ending, sent, _rows(log))


def _own_host(configuration: Configuration, fault: str, seed: int) -> tuple[str, int, set[float]]:
    """The loop in this process over a link that misbehaves; how it ended, messages spoilt, inputs sent."""
    rig = make_rig(configuration)
    if not isinstance(rig, LinkedRig):
        raise ModelError("link", "is simulated")
    faulty = FaultyLink(rig.channel.link, Schedule(fault if fault in FAULTS else "none", START, seed=seed))
    rig.channel.link = faulty
    law, fallback = make_law(configuration)
    controller = _Noting(law, START if fault == "nan" else None)
    report = FixedRateLoop(rig, controller, fallback=fallback).run(TICKS)
    if report.state is not LoopState.STOPPED:
        return "not stopped", 0, set()
    sent = {float(np.float32(u)) for u in report.u_applied[:, 0]}
    spoilt = faulty.outward.spoilt + faulty.inward.spoilt
    return report.reason, spoilt + (report.counts["controller_nan"] if fault == "nan" else 0), sent


def _foreign_host(config: Path, log: Path, fault: str) -> str:
    """`yannctl hil run` in a process that is killed or stopped in the middle."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, "hil", "run", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(lambda: len(rows := _rows(log)) > 0 and rows[-1, 2] >= START)
        process.send_signal(signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
        _wait_for_end(log)
    finally:
        process.kill()
        process.wait()
    return "killed" if fault == "kill" else "suspended"


def _judge(link: str, fault: str, spoilt: int, ending: str, sent: set[float] | None, rows: np.ndarray) -> Case:
    """Hold the device's log against the rules."""
    u, state, obeyed = rows[:, -1], rows[:, 1], int(rows[-1, 2])
    last = int(np.argmax(rows[:, 2] == obeyed))
    safe = np.flatnonzero((state == DeviceState.SAFE) & (np.arange(len(rows)) >= last))
    ticks = int(safe[0] - last) if len(safe) else -1
    rules = {
        "no message was spoilt": spoilt > 0,
        "the device never obeyed": obeyed > 0,
        "the input left its limits": bool(np.all(np.abs(u) <= 2)),
        "the device did not end in its safe action": ticks >= 0 and bool(np.all(u[safe] == 0)),
        "the safe action came too late": ticks <= HOLD + 1,
        "an input was applied that was never sent": sent is None or {float(np.float32(v)) for v in u} <= sent | {0.0},
        "the loop went on over a dead link": fault not in LASTING or ending != "ticks done",
    }
    why = next((rule for rule, holds in rules.items() if not holds), "")
    return Case(link, fault, spoilt, obeyed, ticks, ending, not why, why)


def link_section(link: str, folder: Path, stack: contextlib.ExitStack) -> str:
    """Write the [link] table of a link on this machine, with keys and ports of its own.

    Args:
        link: of `LINKS`.
        folder: of the configuration; keys are put there.
        stack: keeps what the link needs open.

    Returns:
        TOML text.
    """
    if link in {"serial", "can"}:
        port, device_port = stack.enter_context(null_modem())
        if link == "serial":
            return f'[link]\nkind = "serial"\nport = "{port}"\ndevice_port = "{device_port}"\n'
        ends = f'channel = "{port}"\ndevice_channel = "{device_port}"\n'  # two serial adapters, joined by the cable
        return f'[link]\nkind = "can"\ninterface = "slcan"\n{ends}options = {{ sleep_after_open = 0 }}\n'
    if link == "udp":
        private_file(folder / "key", os.urandom(32).hex().encode())
        ends = f'host = "127.0.0.1:{free_port()}"\ndevice = "127.0.0.1:{free_port()}"\n'
        return f'[link]\nkind = "udp"\n{ends}key_file = "key"\n'
    import zmq

    lines = ["[link]", 'kind = "zmq"', f'endpoint = "tcp://127.0.0.1:{free_port()}"']
    for end in ("host", "device"):
        public, secret = zmq.curve_keypair()
        private_file(folder / f"{end}_secret", secret)
        lines += [f'{end}_public = "{public.decode()}"', f'{end}_secret_file = "{end}_secret"']
    return "\n".join(lines) + "\n"


def private_file(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read.

    Args:
        path: the file; it must not exist.
        data: its bytes.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def free_port() -> int:
    """Find a port of the loopback interface that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def null_modem() -> Iterator[tuple[str, str]]:
    """Join two pseudo-terminals by a thread: a serial cable, for trying the serial link without a board.

    Yields:
        Names of the two ends.
    """
    ends = [pty.openpty(), pty.openpty()]
    for master, slave in ends:
        tty.setraw(master)
        tty.setraw(slave)
    stop = threading.Event()
    masters = [ends[0][0], ends[1][0]]

    def carry() -> None:
        while not stop.is_set():
            for source in select.select(masters, [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.write(masters[1 - masters.index(source)], os.read(source, 4096))

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        stop.set()
        thread.join()
        for pair in ends:
            for handle in pair:
                os.close(handle)


@contextlib.contextmanager
def _device(config: Path, log: Path) -> Iterator[None]:
    """`yannctl hil device` until the block ends."""
    command = [sys.executable, "-c", _CODE, "hil", "device", str(config), "--log", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if process.stdout is None or b"device ready" not in process.stdout.readline():
            raise ModelError("device", "did not start")
        yield
    finally:
        process.kill()
        process.communicate()


def _rows(log: Path) -> np.ndarray:
    lines = log.read_text().split("\n")[1:-1] if log.exists() else []
    return np.array([[float(word) for word in line.split(",")] for line in lines]).reshape(len(lines), 6)


def _wait(condition: Any, seconds: float = 30.0) -> None:
    """Wait for another process; what is still missing at the end shows in the verdict."""
    pause = threading.Event()
    for _ in range(round(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)


def _wait_for_end(log: Path) -> None:
    _wait(lambda: len(rows := _rows(log)) > 0 and rows[-1, 1] == DeviceState.SAFE, 10.0)


def as_rows(cases: list[Case]) -> list[dict[str, Any]]:
    """Give the cases as plain data.

    Args:
        cases: of `run_matrix`.

    Returns:
        One dictionary a case.
    """
    return [asdict(case) for case in cases]
