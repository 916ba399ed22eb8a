"""A recorded run through a controller again: the same bits, or what another controller would have done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from yannctl.controllers.base import AbstractController
from yannctl.errors import FileFormatError, ModelError
from yannctl.types import Bool, Float

from .blend import Blended
from .flight_log import FlightRecord
from .network_policy import NetworkPolicy, weights_number
from .report import Source


@dataclass(frozen=True)
class Replay:
    """A controller's inputs on recorded states beside the recorded ones.

    Args:
        u: its inputs (n, nu).
        recorded: inputs asked for in the run (n, nu).
        driven: ticks in which the run's controller spoke, not its fallback or the safe action (n,).
    """

    u: Float[np.ndarray, "n nu"]
    recorded: Float[np.ndarray, "n nu"]
    driven: Bool[np.ndarray, " n"]

    @property
    def n_compared(self) -> int:
        """Number of ticks compared: those in which the run's controller spoke."""
        return int(self.driven.sum())

    @property
    def n_different(self) -> int:
        """Number of them that differ in any bit."""
        return int((self.u[self.driven] != self.recorded[self.driven]).any(axis=1).sum())

    @property
    def max_difference(self) -> float:
        """Largest |u - recorded| [input unit]."""
        return float(np.abs(self.u[self.driven] - self.recorded[self.driven]).max(initial=0.0))


def replay(record: FlightRecord, controller: AbstractController, before: Callable[[int], None] | None = None) -> Replay:
    """Ask a controller for its input at every recorded state, in order, from a reset.

    Args:
        record: the log.
        controller: the run's own, which must give the same bits, or another in shadow.
        before: called with the number of each tick before the controller is asked.

    Returns:
        Its inputs beside the recorded ones.

    Raises:
        ModelError: a controller of other sizes.
    """
    sizes = len(record.header.x_names), len(record.header.u_names)
    if (controller.nx, controller.nu) != sizes:
        raise ModelError("controller", f"has nx, nu = {controller.nx}, {controller.nu}; the log {sizes}")
    controller.reset()
    u = np.full_like(record.u, np.nan)
    measured = np.isfinite(record.x).all(axis=1)
    for k in np.flatnonzero(measured):
        if before is not None:
            before(int(k))
        u[k] = controller(record.x[k])
    return Replay(u, record.u, measured & (record.scalars["source"] == Source.CONTROLLER))


def replay_blend(record: FlightRecord, blend: Blended, policies: Mapping[int, Float[np.ndarray, " n"]]) -> Replay:
    """Run a log with a proposal again: the authority, the exploration and the weights of every tick as they were.

    Args:
        record: the log.
        blend: made as in the run; its proposer a `NetworkPolicy`.
        policies: weights by number, for a run in which they changed; may be empty where they did not.

    Returns:
        Its inputs beside the recorded ones.

    Raises:
        ModelError: a number in the log whose weights are not given.
    """
    numbers, authority, index = record.scalars["law_id"], record.authority, record.scalars["period_index"]
    missing = sorted({int(n) for n in numbers} - set(policies)) if policies else []
    if missing:
        raise ModelError("policies", f"lack the weights {missing[0]:08x}", remedy="give the folder policies of the run")

    def as_it_was(k: int) -> None:
        number = int(numbers[k])
        if number != blend.law_id and isinstance(blend.proposer, NetworkPolicy) and policies:
            blend.proposer.load(policies[number])
            blend.law_id = number
        blend.authority, blend.period_index = float(authority[k]), int(index[k])

    return replay(record, blend, as_it_was)


def read_policies(folder: str | Path) -> dict[int, Float[np.ndarray, " n"]]:
    """Read the weights that have driven in a run.

    Args:
        folder: the run's folder `policies`.

    Returns:
        Weights by number.

    Raises:
        FileFormatError: a file whose weights are not those of its name.
    """
    found: dict[int, Float[np.ndarray, " n"]] = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        weights = load_file(path)["weights"]
        if f"{weights_number(weights):08x}" != path.stem:
            raise FileFormatError(f"{path}: holds other weights than its name says; restore it from a copy")
        found[int(path.stem, 16)] = weights
    return found
