"""Learning on the rig: the bridge's loop drives, a learner in another process follows, and neither waits.

    learner (torch, gate) -- deployed.safetensors --> courier (parity) -- shared memory --> loop -- link --> plant
            ^-------------- transitions.bin ----------- courier <---- ring ------------------'

The loop's input is the exact law's plus the authority's share of a proposal: the policy that the gate promoted last,
with its exploration. New weights are copied between two ticks; the certified filter, where the file names one, has the
last word at every tick. `python -m yannctl.hil.rig_training CONFIG RUN` is the process that drives.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yannctl.errors import ModelError
from yannctl.files import write_whole

from .assembly import make_law, make_plant
from .blend import Blended
from .configuration import Configuration, read_configuration
from .courier import DEPLOYED_FILE, HEAD, RING_ROWS, keep_policy, read_deployed
from .network_policy import NetworkPolicy, shape_of
from .operator_port import send_command
from .rendezvous import rendezvous
from .rig import RigError
from .ring import RowRing
from .run_assembly import SHAPE_FILE, drive, make_drivers
from .status_board import BoardWriter
from .tick import AbstractAttendant, LoopTick
from .weight_exchange import WeightExchange

if TYPE_CHECKING:
    from yannctl.rl import TrainingResult, TrainingSettings

PLAN_FILE, LOCK_FILE, SUMMARY_FILE = "actor.json", "actor.lock", "loop.json"


class LearnerLink(AbstractAttendant):
    """The loop's end of the courier: ticks go out, weights come in between two ticks.

    Args:
        ring: takes the ticks; what finds no room is lost and counted.
        exchange: gives approved weights.
        blend: whose proposal they become.
        policy: the proposal.
    """

    def __init__(self, ring: RowRing, exchange: WeightExchange, blend: Blended, policy: NetworkPolicy) -> None:
        self.ring, self.exchange, self.blend, self.policy = ring, exchange, blend, policy
        self.swaps = 0
        self.board: BoardWriter | None = None
        self._row = np.zeros(HEAD + blend.nx + 2 * blend.nu)

    def boundary(self) -> str:
        """Take approved weights, if there are new ones."""
        found = self.exchange.take()
        if found is not None:
            weights, law_id = found
            self.policy.load(weights)
            self.blend.law_id = law_id
            self.swaps += 1
        if self.board is not None:
            self.board.swaps, self.board.refused = self.swaps, self.exchange.refused
        return ""

    def ticked(self, tick: LoopTick) -> None:
        """Hand a tick to the courier."""
        row, nx, nu = self._row, self.blend.nx, self.blend.nu
        row[0], row[1] = tick.period_index, tick.fresh
        row[HEAD : HEAD + nx], row[HEAD + nx : -nu], row[-nu:] = tick.x, tick.u, tick.applied
        self.ring.put(row)

    def ended(self) -> None:
        """Nothing to do."""

    def show_on(self, board: BoardWriter) -> None:
        """Show swaps and refusals on the board.

        Args:
            board: the loop's.
        """
        self.board = board


def train_on_rig(
    config: str | Path,
    run_dir: str | Path,
    algorithm: str = "dsact",
    steps: int = 4000,
    seed: int = 0,
    settings: "TrainingSettings | None" = None,
    progress: bool = False,
) -> "TrainingResult":
    """Learn while the bridge drives; what drives changes only through the gate.

    Args:
        config: configuration of the bridge.
        run_dir: run folder; one that holds such a run is taken up again.
        algorithm: "dsact", "td3" or "ddpg".
        steps: transitions of the whole run.
        seed: of the learner.
        settings: all numbers; None for the recipe.
        progress: whether to show a progress bar (only on a terminal).

    Returns:
        The deployed and the learning policy, and the history.

    Raises:
        ModelError: a plant without an environment of ours, or another period or parameters than its model's.
        RigError: the loop did not run to its end.
    """
    from yannctl.pwa import PwaLaw
    from yannctl.rl import train_asynchronously

    path, folder = Path(config).resolve(), Path(run_dir).resolve()
    configuration = read_configuration(path)
    make_law(configuration)  # refuses another plant's law before anything starts
    driver = [sys.executable, "-m", "yannctl.hil.rig_training", str(path), str(folder)]
    result = train_asynchronously(
        _environment(configuration),
        PwaLaw.load(configuration.controller.file),
        algorithm,
        steps,
        seed,
        folder,
        settings,
        progress=progress,
        filter=(configuration.proposal and configuration.proposal.filter) or "none",
        driver=driver,
    )
    summary = folder / SUMMARY_FILE
    ending = json.loads(summary.read_text())["reason"] if summary.exists() else f"see {folder / 'actor.log'}"
    if ending not in {"ticks done", "stop requested: the training is done"}:
        raise RigError(f"the loop ended early: {ending}; what was learned is in {folder}")
    return result


def _environment(configuration: Configuration) -> str:
    """The environment of the plant, whose nominal model the gate uses."""
    import gymnasium

    section = configuration.plant
    plant = make_plant(section.name, section.parameters)
    name = f"yannctl/{type(plant).__name__}-v0"
    if name not in gymnasium.registry:
        raise ModelError(
            "plant.name", f"{section.name} has no environment", remedy="use `yannctl train --rig module:function`"
        )
    if section.parameters or (section.dt is not None and section.dt != plant.dt):
        remedy = "leave out dt and parameters: the gate tests on the nominal model at its own period"
        raise ModelError("plant", f"is not the nominal {section.name}", remedy=remedy)
    return name


@contextlib.contextmanager
def courier(config: Path, folder: Path, exchange: WeightExchange, ring: RowRing) -> Iterator[None]:
    """Run the courier beside the loop until the block ends.

    Args:
        config: path of the configuration.
        folder: run folder.
        exchange: for the weights.
        ring: for the ticks.

    Yields:
        Nothing.

    Raises:
        RigError: it does not start.
    """
    command = [sys.executable, "-m", "yannctl.hil.courier", str(config), str(folder), exchange.name, ring.name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RigError("the courier did not start; its message stands above")
        yield
    finally:
        ring.finish()
        process.communicate()


def main(words: list[str]) -> int:
    """Drive the rig of a training run.

    Args:
        words: configuration and run folder.

    Returns:
        Exit code: 0 the ticks were done, 1 the loop ended early.
    """
    config, folder = Path(words[0]), Path(words[1])
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    configuration = read_configuration(config)
    with contextlib.suppress(OSError):  # the learner gives way to the loop
        os.setpriority(os.PRIO_PROCESS, os.getppid(), configuration.loop.learner_nice)
    ticks = _ticks_left(folder)
    tensors, facts = read_deployed(folder / DEPLOYED_FILE)
    law, _ = make_law(configuration)
    policy = NetworkPolicy(law, shape_of(json.loads(facts["shape"])), tensors["weights"])
    drivers = make_drivers(configuration, policy)
    if not isinstance(drivers.controller, Blended):
        raise ModelError("controller", "takes no proposal")
    write_whole(folder / SHAPE_FILE, facts["shape"].encode())
    drivers.controller.law_id = keep_policy(folder, policy.weights)
    exchange = WeightExchange(len(policy.weights))
    ring = RowRing(HEAD + law.nx + 2 * law.nu, RING_ROWS)
    link = LearnerLink(ring, exchange, drivers.controller, policy)
    port = rendezvous(config).port

    def end(_signal: int, _frame: object) -> None:
        with contextlib.suppress(RigError):
            send_command(port, stop="the training is done")

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the learner, and the learner ends this
    with contextlib.ExitStack() as stack:
        stack.callback(exchange.close)
        stack.callback(ring.close)
        stack.enter_context(courier(config, folder, exchange, ring))
        report = drive(config, configuration, _say, drivers, ticks, (link,), link.show_on)
        content = report.summary() | {"swaps": link.swaps, "refused": exchange.refused, "lost_rows": ring.lost}
    write_whole(folder / SUMMARY_FILE, json.dumps(content, indent=1).encode())
    return 0 if report.reason == "ticks done" and not report.stop_errors else 1


def _ticks_left(folder: Path) -> int:
    """Ticks that give the transitions still missing, if none is lost."""
    from yannctl.rl.transitions import FILE_NAME, read_records

    steps, path = int(json.loads((folder / PLAN_FILE).read_text())["steps"]), folder / FILE_NAME
    done = len(read_records(path)) if path.exists() and path.stat().st_size else 0
    return max(1, steps - done) + 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
