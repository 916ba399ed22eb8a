"""The courier between a driving loop and its learner: `python -m yannctl.hil.courier CONFIG RUN EXCHANGE RING`.

It carries transitions out, worth what the nominal plant's reward says, and approved weights in. Weights enter only if
the gate has promoted them, their numbers are finite, and the loop's own arithmetic gives the learner's answers to
`PARITY`; what fails is counted and noted in courier.log. The loop takes them between two ticks.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from yannctl.controllers import ExplicitMpc
from yannctl.files import write_whole
from yannctl.plant import AbstractPlant
from yannctl.pwa import PwaLaw
from yannctl.rl.episodes import Transition
from yannctl.rl.transitions import FILE_NAME, Layout, TransitionWriter, read_records

from .assembly import make_plant
from .configuration import read_configuration
from .network_policy import PARITY, NetworkPolicy, parity, shape_of, weights_number
from .ring import RowRing
from .weight_exchange import WeightExchange

DEPLOYED_FILE, POLICIES, LOG_FILE = "deployed.safetensors", "policies", "courier.log"
RING_ROWS, HEAD = 4096, 2  # period index, fresh
PAUSE_SECONDS, SYNC_SECONDS = 0.02, 1.0


def read_deployed(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read what the learner has deployed.

    Args:
        path: the file.

    Returns:
        Tensors and facts.

    Raises:
        OSError: it is not there.
        SafetensorError: it is damaged.
    """
    with safe_open(str(path), "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def refusal(policy: NetworkPolicy, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> str:
    """Say why weights must not enter.

    Args:
        policy: the loop's arithmetic; it holds the new weights afterwards.
        tensors: weights, probes and answers.
        facts: what the gate said.

    Returns:
        The reason, "" where they may.
    """
    if facts.get("decision") not in {"start", "promoted"}:
        return f"the gate said {facts.get('decision')!r}"
    if facts["decision"] == "promoted" and not float(facts.get("lower_bound", "nan")) > 0:
        return f"the gate's lower bound is {facts.get('lower_bound')}"
    weights = tensors["weights"]
    if weights.shape != policy.weights.shape or not np.all(np.isfinite(weights)):
        return "they do not fit, or are not finite"
    policy.load(weights)
    difference = parity(policy, tensors["probes"], tensors["answers"])
    return "" if difference <= PARITY else f"the loop's arithmetic differs from the learner's by {difference:.1e}"


class Courier:
    """One run's courier.

    Args:
        plant: nominal plant, for the reward.
        policy: the loop's arithmetic, for the parity check.
        folder: run folder.
        exchange: where approved weights go.
        driving: number of the weights that the loop has already.
    """

    def __init__(
        self, plant: AbstractPlant, policy: NetworkPolicy, folder: Path, exchange: WeightExchange, driving: int = 0
    ) -> None:
        self._driving = driving
        self.plant, self.policy, self.folder, self.exchange = plant, policy, folder, exchange
        layout, path = Layout(plant.nx, plant.nu, 0), folder / FILE_NAME
        begun = path.exists() and path.stat().st_size >= len(layout.header())
        done = len(read_records(path, layout)) if begun else 0
        self.writer = TransitionWriter(path, layout, done)
        self._last: np.ndarray | None = None
        self._first = True
        self._seen = 0  # time stamp of the file looked at last

    def carry(self, rows: np.ndarray) -> None:
        """Make transitions of ticks that follow each other without a gap.

        Args:
            rows: period index, fresh, x, inputs asked for and applied, one row a tick.
        """
        nx, nu = self.plant.nx, self.plant.nu
        for row in rows:
            last, self._last = self._last, row if row[1] else None
            if last is None or self._last is None or row[0] != last[0] + 1:
                self._first = True
                continue
            x, x1 = last[HEAD : HEAD + nx], row[HEAD : HEAD + nx]
            asked, u = last[HEAD + nx : -nu], last[-nu:]
            reward = float(self.plant.rewards(x, u))
            terminated, violated = bool(self.plant.trip(x1)), float(self.plant.margin(x1)) < 0
            step = Transition(x, u, reward, x1, terminated, False, violated, asked)
            self.writer.append(step, np.zeros(0, np.float32), first=self._first)
            self._first = False

    def fetch(self) -> bool:
        """Bring in what the learner has deployed since, if it may enter.

        Returns:
            Whether weights were offered to the loop.
        """
        path = self.folder / DEPLOYED_FILE
        try:
            changed = os.stat(path).st_mtime_ns
            if changed == self._seen:
                return False
            tensors, facts = read_deployed(path)
            why = refusal(self.policy, tensors, facts)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            changed, facts, tensors, why = 0, {}, {}, f"unreadable: {error}"
        if changed == 0 and not path.exists():
            return False
        self._seen = changed or os.stat(path).st_mtime_ns
        if why:
            self.exchange.refuse()
            self._note(facts, refused=why)
            return False
        number = weights_number(tensors["weights"])
        if number == self._driving:
            return False
        self._driving = keep_policy(self.folder, tensors["weights"])
        self.exchange.offer(tensors["weights"], number)
        self._note(facts, law_id=f"{number:08x}")
        return True

    def _note(self, facts: dict[str, str], **what: Any) -> None:
        """Add a line to the courier's log."""
        entry = {"decision": facts.get("decision"), "step": facts.get("step"), **what}
        with open(self.folder / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def keep_policy(folder: Path, weights: np.ndarray) -> int:
    """Keep weights that have driven, for the replay.

    Args:
        folder: run folder.
        weights: (n,).

    Returns:
        Their number.
    """
    number = weights_number(weights)
    path = folder / POLICIES / f"{number:08x}.safetensors"
    if not path.exists():
        write_whole(path, save({"weights": np.ascontiguousarray(weights)}))
    return number


def main(words: list[str]) -> None:
    """Carry until the loop is done, or gone.

    Args:
        words: configuration, run folder, name of the exchange, name of the ring.
    """
    config, run, exchange_name, ring_name = words
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the loop is ended first, and then tells us
    parent, folder = os.getppid(), Path(run)
    configuration = read_configuration(config)
    plant = make_plant(configuration.plant.name, configuration.plant.parameters)
    tensors, facts = read_deployed(folder / DEPLOYED_FILE)
    law = ExplicitMpc(PwaLaw.load(configuration.controller.file))
    policy = NetworkPolicy(law, shape_of(json.loads(facts["shape"])))
    exchange = WeightExchange(len(policy.weights), exchange_name)
    ring = RowRing(HEAD + plant.nx + 2 * plant.nu, RING_ROWS, ring_name)
    courier = Courier(plant, policy, folder, exchange, weights_number(tensors["weights"]))
    print("ready", flush=True)
    synced = time.monotonic()
    while True:
        ended = ring.closed or os.getppid() != parent
        courier.carry(ring.take())
        if ended:
            break
        courier.fetch()
        if time.monotonic() - synced > SYNC_SECONDS:
            courier.writer.sync()
            synced = time.monotonic()
        time.sleep(PAUSE_SECONDS)
    courier.writer.sync()
    courier.writer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
