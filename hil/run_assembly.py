"""A whole run of the bridge: controller with its proposal, rig, log, board, operator's port and supervisor."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yannctl.controllers import AbstractController
from yannctl.errors import ModelError

from .assembly import make_law, make_plant, make_rig
from .blend import Blended, exploration
from .configuration import Configuration, ProposalSection, read_configuration
from .flight_log import FlightLog, FlightRecord, LogHeader, file_digest
from .linked import Features
from .loop import FixedRateLoop, LoopSettings
from .network_policy import PARITY, NetworkPolicy, parity, shape_of, weights_number
from .operator_port import OperatorPort
from .realtime import RealTime, real_time
from .rendezvous import driving, rendezvous
from .replay import Replay, read_policies, replay_blend
from .report import LoopReport, LoopState
from .rig import AbstractRig, RigError
from .status_board import BoardWriter, StatusBoard
from .tick import AbstractAttendant

START_SECONDS = 60.0
SHAPE_FILE = "policy_shape.json"  # of a run that learned on the rig


@dataclass(frozen=True)
class Drivers:
    """Who decides the input.

    Args:
        controller: what drives: the law, or the law with a proposal.
        fallback: exact law for the ticks it fails.
    """

    controller: AbstractController
    fallback: AbstractController


def make_drivers(configuration: Configuration, proposer: AbstractController | None = None) -> Drivers:
    """Make the controller with its proposal, if the file names one, and the fallback.

    Args:
        configuration: the file.
        proposer: learned controller in place of the file's.

    Returns:
        Both.

    Raises:
        ModelError: a proposal for another plant, or neither file nor proposer.
    """
    law, fallback = make_law(configuration)
    section = configuration.proposal
    if section is None and proposer is None:
        return Drivers(law, fallback)
    section = section or ProposalSection()
    law_id = 0
    if proposer is None:
        if section.file is None:
            raise ModelError(
                "proposal.file", "is missing", remedy="name a policy file, or learn with `yannctl hil train`"
            )
        proposer, law_id = read_proposal(section.file, law)
    plant = make_plant(configuration.plant.name, configuration.plant.parameters)
    features = Features.of(plant, configuration.plant.safe_action, configuration.plant.dt)
    noise = exploration(section.seed, section.exploration, features.u_min, features.u_max)
    last_word = make_filter(section.filter)
    limits = features.u_min, features.u_max
    return Drivers(Blended(law, proposer, *limits, section.authority, law_id, last_word, noise), fallback)


def make_filter(name: str | None) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Give the filter of a proved safe set, warm.

    Args:
        name: of the set; None for no filter.

    Returns:
        The filter, or None.
    """
    if name is None:
        return None
    from yannctl.assurance.filtered import guard

    chosen = guard(name)
    middle = np.zeros(chosen.safe_set.nx)
    chosen(middle, np.asarray(chosen.safe_action, float))
    return chosen


def read_proposal(path: Path, law: AbstractController) -> tuple[NetworkPolicy, int]:
    """Read a policy file for the loop: torch is needed here, not in the ticks.

    Args:
        path: the file.
        law: the exact law it stands on; the file's own must be the same.

    Returns:
        The policy, and the number of its weights.

    Raises:
        ModelError: a policy of another kind, or on another law.
    """
    import torch

    from yannctl.export.policy_file import load_policy
    from yannctl.rl.deployment import flat_weights, shape_record
    from yannctl.yann import ExtendedActor

    policy = load_policy(path)
    if not isinstance(policy, ExtendedActor):
        raise ModelError("proposal.file", f"{path} holds no learned part", remedy="train it with `yannctl train`")
    proposer = NetworkPolicy(law, shape_of(shape_record(policy)), flat_weights(policy))
    centre = np.zeros(law.nx)
    centre[list(proposer.shape.others)] = proposer.shape.centre
    probes = centre + 0.1 * np.random.default_rng(0).standard_normal((16, law.nx))
    with torch.no_grad():
        answers = policy(torch.from_numpy(probes)).double().numpy()
    if not parity(proposer, probes, answers) <= PARITY:
        raise ModelError("proposal.file", f"{path} stands on another law", remedy="train it from controller.file")
    return proposer, weights_number(proposer.weights)


def flight_log(
    configuration: Configuration, rig: AbstractRig, config: Path
) -> "contextlib.AbstractContextManager[FlightLog | None]":
    """Make the log that the file asks for, with the file itself and the controller inside.

    Args:
        configuration: the file.
        rig: for its names.
        config: the file's path.

    Returns:
        A context manager of the log, or of None.
    """
    path, controller = configuration.record.file, configuration.controller.file
    if path is None:
        return contextlib.nullcontext()
    names, noise = (rig.x_names, rig.u_names, rig.x_units, rig.u_units), configuration.proposal or ProposalSection()
    header = LogHeader(*names, rig.dt, file_digest(controller), noise.exploration, noise.seed)
    kept = {"config.toml": config.read_bytes(), controller.name: controller.read_bytes()}
    if noise.file is not None:
        kept[noise.file.name] = noise.file.read_bytes()
    return FlightLog(path, header, kept)


def drive(
    config: Path,
    configuration: Configuration,
    say: Callable[[str], None],
    drivers: Drivers | None = None,
    ticks: int | None = None,
    attendants: Sequence[AbstractAttendant] = (),
    on_start: Callable[[BoardWriter], None] | None = None,
) -> LoopReport:
    """Run the loop with everything beside it.

    Args:
        config: path of the file.
        configuration: the file.
        say: prints a line for people.
        drivers: who decides; default those of the file.
        ticks: how many; default those of the file.
        attendants: told of every tick as well.
        on_start: given the board's writer before the rig is opened.

    Returns:
        The report.

    Raises:
        RigError: another process drives, or a stop is latched.
    """
    section = configuration.loop
    drivers, rig = drivers or make_drivers(configuration), make_rig(configuration)
    ticks = ticks or max(1, round(section.seconds / rig.dt))
    names = rendezvous(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(driving(names))
        board = StatusBoard(names.board, len(rig.x_names), len(rig.u_names), create=True)
        stack.callback(board.close)
        blend = drivers.controller if isinstance(drivers.controller, Blended) else None
        port = OperatorPort(names.port, blend)
        stack.callback(port.close)
        supervised = configuration.supervisor.enabled and configuration.link.kind != "simulated"
        if supervised:
            stack.enter_context(supervisor(config))
            stack.callback(board.enter, LoopState.STOPPED)  # whatever happens, it must not act on a loop that never ran
        plant = make_plant(configuration.plant.name, configuration.plant.parameters)
        bounds = np.asarray(plant.x_min, float), np.asarray(plant.x_max, float)
        writer = BoardWriter(board, rig.dt, *bounds, supervised)
        wanted = RealTime(section.priority, tuple(section.cores), section.lock_memory)
        refused = stack.enter_context(real_time(wanted))
        for line in refused:
            say(f"not granted: {line}")
        log = stack.enter_context(flight_log(configuration, rig, config))
        told = (port, writer, *([] if log is None else [log]), *attendants)
        settings = LoopSettings(max_bad_samples=section.max_age)
        loop = FixedRateLoop(rig, drivers.controller, fallback=drivers.fallback, settings=settings, attendants=told)
        if on_start is not None:
            on_start(writer)
        return loop.run(ticks)


def replay_run(record: FlightRecord, config: Path, policies: Path | None = None) -> Replay:
    """Run a log with a proposal again, as its configuration says.

    Args:
        record: the log.
        config: the run's configuration.
        policies: folder `policies` of a run that learned; None where the proposal came from a file.

    Returns:
        Inputs beside the recorded ones.

    Raises:
        ModelError: a configuration without a proposal, or weights that are not there.
    """
    configuration = read_configuration(config)
    if policies is None:
        blend = make_drivers(configuration).controller
        known: dict[int, np.ndarray] = {}
    else:
        known = read_policies(policies)
        law, _ = make_law(configuration)
        shape = shape_of(json.loads((policies.parent / SHAPE_FILE).read_text()))
        blend = make_drivers(configuration, NetworkPolicy(law, shape)).controller
    if not isinstance(blend, Blended):
        raise ModelError("--config", f"{config} names no proposal", remedy="leave it out")
    return replay_blend(record, blend, known)


@contextlib.contextmanager
def supervisor(config: Path) -> Iterator[None]:
    """Run the supervisor beside this process until the block ends.

    Args:
        config: path of the configuration.

    Yields:
        Nothing.

    Raises:
        RigError: it does not start.
    """
    command = [sys.executable, "-m", "yannctl.hil.supervisor", str(config.resolve()), str(os.getpid())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RigError("the supervisor did not start; its message stands above")
        yield
    finally:
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
