"""What a run has recorded of its plant: transitions to identify from, episodes to hold the model against."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .fitted_gate import Episode
from .identification import Transitions

if TYPE_CHECKING:
    from .run import Run


def latest_transitions(run: "Run", n: int) -> Transitions:
    """The latest transitions in physical units, without those beyond a hard bound, where no model claims anything.

    Args:
        run: the run.
        n: how many, if there are so many.

    Returns:
        The transitions.
    """
    x, _, a, _, _, _, live, _, x1, *_ = _columns(run, run.replay.latest(n))
    data = Transitions(x, run.middle.numpy() + run.half.numpy() * a, x1)
    return data.part(live[:, 0] > 0.0)


def latest_episodes(run: "Run", n: int) -> list[Episode]:
    """The latest transitions as pieces of episodes.

    Args:
        run: the run.
        n: how many transitions, if there are so many.

    Returns:
        The pieces, environment by environment.
    """
    rows, side_by_side = run.replay.latest(n), len(run.fleet)
    if not len(rows):
        return []
    return [piece for i in range(side_by_side) for piece in _pieces(run, rows[i::side_by_side])]


def _pieces(run: "Run", rows: Tensor) -> list[Episode]:
    """Cut one environment's rows where an episode ended."""
    x, _, a, _, _, reward, _, _, x1, *_ = _columns(run, rows)
    u = run.middle.numpy() + run.half.numpy() * a
    ends = [*(np.flatnonzero((x1[:-1] != x[1:]).any(axis=1)) + 1), len(x)]
    starts = [0, *ends[:-1]]
    return [Episode(x[i:j], u[i:j], reward[i:j, 0]) for i, j in zip(starts, ends, strict=True)]


def _columns(run: "Run", rows: Tensor) -> list[np.ndarray]:
    return [part.double().numpy() for part in rows.split(run.replay.widths, -1)]
