"""Attacks that follow the gradient: proposals, parameters and measurement errors of short runs, against the margin.

Each run starts from a state of its own, most of them at the set's border, and lowers its least margin by the signs of
the adjoint of the plant's step. The filter is taken for the identity in the slopes (it is none where it acts, but then
its answer is what the next run is counted with). The same runs without the filter tell whether they are attacks.
"""

from importlib.util import find_spec

import numpy as np

from yannctl.errors import ModelError

from .falsifier import Attack, Target
from .safe_set import AbstractSafeSet
from .searched_attack import Paths, Runs

GRADIENT = "gradient"
_MEMBERS = 256  # runs at once
_HORIZON = 36
_ROUNDS = 8
_FIRST_STEP = 0.5  # of each share's range; later ones are shorter
_DIFFERENCE = 1e-6


def can_follow_gradients() -> bool:
    """Tell whether the package that differentiates is installed."""
    return find_spec("torch") is not None


def gradient_attack(target: Target, steps: int, seed: int = 0) -> Attack:
    """Attack a filtered loop along the gradient of its margin, and the same loop without the filter.

    Args:
        target: the loop.
        steps: filtered steps in all, at least.
        seed: of starts and first runs.

    Returns:
        The counts; an episode is one start with all its runs.

    Raises:
        ModelError: torch is not installed.
    """
    if not can_follow_gradients():
        raise ModelError("policy", "needs torch", remedy="pip install yannctl[learn]")
    members = min(_MEMBERS, max(1, -(-steps // (_HORIZON * _ROUNDS))))
    batches = -(-steps // (_HORIZON * _ROUNDS * members))
    filtered, plain = Runs(target, True), Runs(target, False)
    broken = lost = 0
    for batch in range(batches):
        starts = target.starts(members, np.random.default_rng([seed, batch]))
        broken += int(_descend(filtered, starts, seed + batch).sum())
        lost += int(_descend(plain, starts, seed + batch).sum())
    episodes = batches * members
    return Attack(
        GRADIENT, filtered.steps, episodes, filtered.violations, filtered.exits, filtered.infeasible,
        filtered.changed / max(filtered.steps, 1), broken, lost / episodes, filtered.closest,
    )  # fmt: skip


def _descend(runs: Runs, starts: np.ndarray, seed: int) -> np.ndarray:
    """Run from each start again and again, and tell which starts met a hard bound or, filtered, left the set."""
    shares = np.random.default_rng([seed, 2]).uniform(0.0, 1.0, (len(starts), _HORIZON, sum(runs.sizes)))
    met = np.zeros(len(starts), dtype=bool)
    for number in range(_ROUNDS):
        paths = runs.play(starts, shares)
        met |= paths.beyond | (runs.filtered & (paths.least < 0))
        step = _FIRST_STEP / (1 + number / 3)
        shares = np.clip(shares - step * np.sign(_slopes(runs, paths)), 0.0, 1.0)
    return met


def _slopes(runs: Runs, paths: Paths) -> np.ndarray:
    """Slope of each run's least margin in its shares, by the adjoint of the steps."""
    import torch

    target, (n_u, n_p, n_x) = runs.target, runs.sizes
    scale = np.concatenate([target.safe_set.u_max - target.safe_set.u_min, target.p_max - target.p_min, 2 * runs.E])
    slopes = np.zeros((len(paths.least), _HORIZON, n_u + n_p + n_x))
    rows = np.arange(len(paths.least))
    outward = _margin_slope(target.safe_set, paths.after[paths.when, rows])
    adjoint = np.zeros_like(outward)
    for k in reversed(range(_HORIZON)):
        now = paths.when == k
        adjoint[now] = outward[now]
        slopes[now, k, n_u + n_p :] = outward[now]
        given = [torch.from_numpy(part[k].copy()).requires_grad_() for part in (paths.x, paths.u, paths.p)]
        found = torch.autograd.grad(runs.tape.torch(*given), given, torch.from_numpy(adjoint), allow_unused=True)
        # What does not enter the step has no slope.
        by = [np.zeros(to.shape) if got is None else got.numpy() for got, to in zip(found, given, strict=True)]
        adjoint = np.nan_to_num(by[0], posinf=0.0, neginf=0.0)
        slopes[:, k, :n_u], slopes[:, k, n_u : n_u + n_p] = by[1], by[2]
    return np.nan_to_num(slopes * scale)


def _margin_slope(safe_set: AbstractSafeSet, x: np.ndarray) -> np.ndarray:
    """Slope of the margin in the state, by central differences."""
    slope = np.zeros_like(x)
    for j in range(x.shape[1]):
        move = np.zeros_like(x)
        move[:, j] = _DIFFERENCE * (1 + np.abs(x[:, j]))
        slope[:, j] = (safe_set.margin(x + move) - safe_set.margin(x - move)) / (2 * move[:, j])
    return np.nan_to_num(slope)
