"""`yannctl hil chaos`: every fault on every kind of link, each against a device in a process of its own."""

import contextlib
import logging
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.controllers import AbstractController
from yannctl.errors import ModelError, NotInstalledError
from yannctl.models import DifferentialDrive, Pendulum
from yannctl.plant import AbstractPlant
from yannctl.types import Float

from .assembly import make_law, make_rig
from .can_link import CanLink
from .chaos import FAULTS, LASTING, FaultyLink, Schedule
from .chaos_board import judge_board, make_board, run_board
from .chaos_clock import WallClock
from .chaos_ends import FaultyReader, FaultyRig, FaultyVariable, FaultyWriter, TcpProxy
from .chaos_hosts import BY_ITSELF, CLOCK_JUMP, PROCESS_FAULTS, confuse_host, end_host, lockstep_logs, same_numbers
from .chaos_links import DeviceLog, link_section, running_device
from .chaos_verdict import HOLD, PERIOD, START, Case, inputs_of, judge, not_installed
from .configuration import Configuration, OpcuaLinkSection, ZmqLinkSection, read_configuration
from .linked import LinkedRig
from .loop import INTERRUPTED, FixedRateLoop, LoopSettings
from .opcua import OpcuaRig
from .report import LoopReport, LoopState
from .rig import AbstractRig
from .ros2 import Ros2Rig
from .simulated import SimulatedRig

LINKS = ("simulated", "udp", "zmq", "serial", "can", "opcua", "ros2", "board")
HOST_FAULTS = ("nan", *PROCESS_FAULTS)
# Plant and loop of the simulated rig are one process. A Twist has no check of its own: UDP drops what is damaged.
IMPOSSIBLE = {("simulated", "kill"), ("simulated", "suspend"), ("ros2", "corrupt"), ("ros2", "truncate")}
BENEATH = {  # faults put on TCP beneath the encryption
    "zmq": ("corrupt", "truncate"),
    "opcua": ("corrupt", "truncate", "disconnect", "half_open"),
}
TICKS, ATTEMPTS = 60, 3
PATIENT = LoopSettings(max_bad_samples=5)
CAN_FRAMES = 6  # of a measurement; a fault counts frames there


@dataclass
class _Fault:
    """What goes wrong, and what was touched.

    Args:
        name: of the fault.
        seed: of the schedule.
        begin: what to call at the controller's `START`-th call.
        spoilers: count what was touched.
    """

    name: str
    seed: int
    begin: Callable[[], None] = lambda: None
    spoilers: list[Any] = field(default_factory=list)

    @property
    def schedule(self) -> Schedule:
        """Its schedule for an end that carries one message a period."""
        return Schedule(self.name if self.name in FAULTS else "none", START, seed=self.seed)

    @property
    def spoilt(self) -> int:
        """Messages touched."""
        return sum(spoiler.spoilt for spoiler in self.spoilers)


class _Noting(AbstractController):
    """A controller that begins the fault at its `START`-th call, and may turn to NaN then."""

    def __init__(self, law: AbstractController, fault: _Fault) -> None:
        self.nx, self.nu, self._law, self._fault, self._calls = law.nx, law.nu, law, fault, 0

    def __call__(self, x: Any, reference: Any = None) -> Float[np.ndarray, "*batch nu"]:
        self._calls += 1
        u = self._law(x, reference)
        if self._calls == START:
            self._fault.begin()
        return np.full_like(u, np.nan) if self._fault.name == "nan" and self._calls >= START else u

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
        for link in links:
            place = Path(folder) / link
            place.mkdir()
            chosen = tuple(fault for fault in faults if (link, fault) not in IMPOSSIBLE)
            for case in _run_link(link, chosen, seed, place):
                cases.append(case)
                if report is not None:
                    report(case)
    return cases


def _run_link(link: str, faults: tuple[str, ...], seed: int, folder: Path) -> Iterator[Case]:
    """All faults on one link, with one device."""
    law = folder / "law.safetensors"
    plant = DifferentialDrive(bend=0.0) if link == "ros2" else Pendulum()
    _save_law(law, plant)
    if link == "board":
        yield from _board_cases(faults, seed, law, folder)
    elif link == "simulated":
        for number, fault in enumerate(faults):
            yield _jumping_lockstep(law, folder) if fault == CLOCK_JUMP else _simulated_case(fault, seed + number, law)
    else:
        yield from _linked_cases(link, faults, seed, plant, folder)


def _save_law(path: Path, plant: AbstractPlant) -> None:
    """A small law that holds the pendulum upright, or the robot on its line."""
    from yannctl import Ocp, condense, linearise, solve_mpqp

    bounds = {"u_min": plant.u_min, "u_max": plant.u_max}
    if isinstance(plant, Pendulum):
        bounds |= {"x_min": plant.x_min, "x_max": plant.x_max}
        ocp = Ocp(linearise(plant), Q=np.diag([1, 0.1]), R=[[0.001]], N=3, soft="l1l2", **bounds)
        solve_mpqp(condense(ocp)).save(path)
        return
    lin = linearise(plant, x=[0, 0, 0.15, 0, 0], u=[0.15, 0])
    Q, R = np.diag([400.0, 2, 20, 1e-3, 1e-2]), np.diag([1e-3, 0.05])
    ocp = Ocp(lin, Q=Q, R=R, N=2, terminal=None, **bounds)
    theta = {"theta_min": [-0.1, -1.2, -0.22, -2.75, -0.1], "theta_max": [0.1, 1.2, 0.22, 2.75, 0.1]}
    solve_mpqp(condense(ocp, **theta)).save(path)


def _board_cases(faults: tuple[str, ...], seed: int, law: Path, folder: Path) -> Iterator[Case]:
    try:
        board = make_board(law, folder, round(HOLD * PERIOD * 1e6))
    except NotInstalledError as error:
        yield not_installed("board", "all", error)
        return
    for number, fault in enumerate(faults):
        run = run_board(board, fault, seed + number, TICKS, START, PERIOD)
        ticks, why = judge_board(board, run, HOLD, PERIOD)
        yield Case("board", fault, run.spoilt, len(run.commands), ticks, run.ending, not why, why)


def _simulated_case(fault: str, seed: int, law: Path) -> Case:
    """The loop over readings that are spoilt, in lockstep."""
    from yannctl import PwaLaw
    from yannctl.controllers import ExplicitMpc

    what, controller = _Fault(fault, seed), ExplicitMpc(PwaLaw.load(law))
    rig = FaultyRig(SimulatedRig(Pendulum(), [0.05, 0.0], safe_action=[0.5]), what.schedule)
    what.spoilers.append(rig.spoiler)
    report = FixedRateLoop(rig, _Noting(controller, what), fallback=controller).run(TICKS)
    _pass_on_interruption(report)
    spoilt, held = what.spoilt + report.counts["controller_nan"], np.array(rig.held)
    last = np.flatnonzero(report.source != 2)[-1] if np.any(report.source != 2) else -1
    ticks = 1 if last + 1 < report.ticks or fault == "disconnect" else 0  # the next tick has it, or stopping does
    rules = {
        "no message was spoilt": spoilt > 0,
        "the input left its limits": bool(np.all(np.abs(held) <= 2)),
        "the plant was not left in the safe action": bool(np.all(held[-1] == 0.5)),
        "an input was asked for that is none": bool(np.all(np.isfinite(report.u))),
        "the loop went on over a dead link": fault not in LASTING or report.reason != "ticks done",
    }
    why = next((rule for rule, holds in rules.items() if not holds), "")
    return Case("simulated", fault, spoilt, report.ticks, ticks, report.reason, not why, why)


def _jumping_lockstep(law: Path, folder: Path) -> Case:
    """Two runs in virtual time, one with a wall clock that jumps at every reading: they must agree in every bit."""
    try:
        calm, mad = lockstep_logs(law, folder, [0.05, 0.0], TICKS, PERIOD)
    except NotInstalledError as error:
        return not_installed("simulated", CLOCK_JUMP, error)
    why = "" if same_numbers(calm, mad) and len(mad.x) == TICKS else "the wall clock mattered"
    return Case("simulated", CLOCK_JUMP, len(mad.x), len(mad.x), 1, "ticks done", not why, why)


def _wall_clocks(folder: Path) -> tuple[WallClock, WallClock]:
    """Wall clocks of host and device."""
    return WallClock(folder, "host_clock"), WallClock(folder, "device_clock")


def _linked_cases(link: str, faults: tuple[str, ...], seed: int, plant: AbstractPlant, folder: Path) -> Iterator[Case]:
    """A host against one device in another process, which keeps running from case to case."""
    config, log = folder / "rig.toml", folder / "device.csv"
    x0 = [0.05, *[0.0] * (plant.nx - 1)]
    parameters = "" if isinstance(plant, Pendulum) else "parameters = { bend = 0.0 }\n"
    with contextlib.ExitStack() as stack:
        config.write_text(
            f'[plant]\nname = "{type(plant).__name__}"\nsafe_action = {[0.0] * plant.nu}\nx0 = {x0}\ndt = {PERIOD}\n'
            f'{parameters}[controller]\nfile = "law.safetensors"\nhold_periods = {HOLD}\n'
            f"[loop]\nseconds = {TICKS * PERIOD}\n{link_section(link, folder, stack)}"
            "[supervisor]\nenabled = false\n"  # the device's own watchdog is what is tried
        )
        clocks = None
        if CLOCK_JUMP in faults:
            try:
                clocks = _wall_clocks(folder)
            except NotInstalledError as error:
                yield not_installed(link, CLOCK_JUMP, error)
                faults = tuple(fault for fault in faults if fault != CLOCK_JUMP)
        device = stack.enter_context(running_device(config, log, None if clocks is None else clocks[1].environment))
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # its complaints are what is wanted here
        for number, fault in enumerate(faults):
            for _ in range(ATTEMPTS):
                case = _linked_case(link, fault, seed + number, plant, config, log, clocks)
                if device.poll() is not None:
                    yield replace(case, passed=False, why=f"the device is gone: {_last_words(device)}")
                    return
                if case.spoilt and case.obeyed and case.ending != BY_ITSELF:
                    break  # otherwise a busy computer has ended the run before the fault began
            yield case


def _linked_case(
    link: str,
    fault: str,
    seed: int,
    plant: AbstractPlant,
    config: Path,
    log: Path,
    clocks: tuple[WallClock, WallClock] | None,
) -> Case:
    heard, what = DeviceLog(log), _Fault(fault, seed)
    if clocks is not None and fault == CLOCK_JUMP:
        (ending, spoilt), sent = confuse_host(config, heard, clocks, START), None
    elif fault in PROCESS_FAULTS:
        ending, spoilt, sent = end_host(config, heard, fault, START), 1, None
    else:
        ending, spoilt, sent = _own_host(read_configuration(config), what)
    heard.wait_for_safety()
    rows = heard.rows()
    if not len(rows):
        return Case(link, fault, spoilt, 0, -1, ending, False, "the device says nothing")
    return judge(link, fault, spoilt, ending, sent, rows, plant)


def _last_words(device: "subprocess.Popen[bytes]") -> str:
    """Last line a device that is gone has written."""
    device.kill()
    lines = device.communicate()[1].decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "without a word"


def _own_host(configuration: Configuration, fault: _Fault) -> tuple[str, int, set[tuple[float, ...]]]:
    """The loop in this process over a link that misbehaves; how it ended, messages spoilt, inputs sent."""
    with contextlib.ExitStack() as stack:
        rig = _faulty_rig(configuration, fault, stack)
        law, fallback = make_law(configuration)
        report = FixedRateLoop(rig, _Noting(law, fault), fallback=fallback, settings=PATIENT).run(TICKS)
    _pass_on_interruption(report)
    if report.state is not LoopState.STOPPED:
        return "not stopped", 0, set()
    spoilt = fault.spoilt + (report.counts["controller_nan"] if fault.name == "nan" else 0)
    return report.reason, spoilt, inputs_of(report)


def _pass_on_interruption(report: LoopReport) -> None:
    """Let Ctrl-C end the whole table: the loop has made an orderly stop of it."""
    if report.reason.startswith(INTERRUPTED):
        raise KeyboardInterrupt


def _faulty_rig(configuration: Configuration, fault: _Fault, stack: contextlib.ExitStack) -> AbstractRig:
    """The host's end with the fault in its place."""
    link = configuration.link
    if isinstance(link, ZmqLinkSection | OpcuaLinkSection) and fault.name in BENEATH[link.kind]:
        start, _, port = link.endpoint.removesuffix("/yannctl").rpartition(":")
        proxy = TcpProxy(int(port), fault.schedule)
        stack.callback(proxy.close)
        fault.begin = proxy.begin
        fault.spoilers.append(proxy.spoiler)
        moved = link.model_copy(update={"endpoint": link.endpoint.replace(f"{start}:{port}", f"{start}:{proxy.port}")})
        return make_rig(configuration.model_copy(update={"link": moved}))
    rig, schedule = make_rig(configuration), fault.schedule
    if isinstance(rig, LinkedRig):
        if isinstance(rig.channel.link, CanLink):
            schedule = replace(schedule, start=START * CAN_FRAMES)
        faulty = FaultyLink(rig.channel.link, schedule)
        rig.channel.link = faulty
        fault.spoilers += [faulty.outward, faulty.inward]
    elif isinstance(rig, Ros2Rig):

        def ends(writer: Any, reader: Any) -> tuple[FaultyWriter, FaultyReader]:
            found = FaultyWriter(writer, schedule), FaultyReader(reader, replace(schedule, seed=schedule.seed + 1))
            fault.spoilers += [end.spoiler for end in found]
            return found

        rig.tap = ends
    elif isinstance(rig, OpcuaRig):

        def variable(_name: str, node: Any) -> FaultyVariable:
            found = FaultyVariable(node, replace(schedule, seed=schedule.seed + len(fault.spoilers)))
            fault.spoilers.append(found.spoiler)
            return found

        rig.tap = variable
    return rig
