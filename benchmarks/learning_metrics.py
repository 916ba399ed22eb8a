"""Figures of merit of learning: pure functions of costs and steps, each with a test by hand."""

from collections.abc import Sequence

import numpy as np

CLOSED = 0.95  # share of the gap that counts as closed
NO_GAP = 1e-3  # of the linear law's cost: what is less is no gap to close
RESAMPLES = 2000


def gap_closed(linear: float, best: float, cost: float) -> float:
    """Share of the gap between the linear law and the best attainable that a policy closes.

    (J_linear - J) / (J_linear - J_best)

    Args:
        linear: mean cost of the linear law.
        best: mean cost of the best attainable.
        cost: mean cost of the policy.

    Returns:
        The share; NaN where there is no gap.
    """
    return (linear - cost) / (linear - best) if linear - best > NO_GAP * linear else float("nan")


def steps_to_close(
    steps: Sequence[int], costs: Sequence[float], linear: float, best: float, share: float = CLOSED
) -> int | None:
    """Plant steps at the first evaluation by which a share of the gap is closed.

    Args:
        steps: plant steps of the evaluations, in order.
        costs: mean cost at each.
        linear: mean cost of the linear law.
        best: mean cost of the best attainable.
        share: of the gap.

    Returns:
        Steps, or None where no evaluation reaches it.
    """
    closed = (step for step, cost in zip(steps, costs, strict=True) if gap_closed(linear, best, cost) >= share)
    return next(closed, None)


def steps_to_stay(
    steps: Sequence[int], costs: Sequence[float], linear: float, best: float, share: float = CLOSED
) -> int | None:
    """Plant steps at the first evaluation from which on a share of the gap stays closed to the end.

    Args:
        steps: plant steps of the evaluations, in order.
        costs: mean cost at each.
        linear: mean cost of the linear law.
        best: mean cost of the best attainable.
        share: of the gap.

    Returns:
        Steps, or None where the last evaluation does not reach it.
    """
    found = None
    for step, cost in zip(reversed(steps), reversed(costs), strict=True):
        if not gap_closed(linear, best, cost) >= share:
            break
        found = step
    return found


def median_steps(found: Sequence[int | None]) -> float:
    """Median over the seeds of the steps to close; a seed that never does counts as infinite.

    Args:
        found: steps or None of each seed.
    """
    return float(np.median([np.inf if step is None else step for step in found])) if found else float("nan")


def worst_difference(deployed: Sequence[float], linear: float) -> float:
    """Worst evaluation over a run against the linear law: min (J_linear - J); 0 or more was never worse.

    Args:
        deployed: mean costs of the deployed policy at every evaluation.
        linear: mean cost of the linear law on the same starts.
    """
    return min(linear - cost for cost in deployed)


def regret(
    steps: Sequence[int],
    paid: Sequence[float],
    episodes: Sequence[float],
    best: float,
    until: float,
    after: float | None = None,
) -> float:
    """Cost that the behaviour policy paid above the best attainable while it trained.

    sum of the costs paid up to a step - episodes begun by then J_best; between evaluations on a straight line; beyond
    the last one (J_after - J_best) an episode, for a run that ended earlier and whose deployed policy then drives on.

    Args:
        steps: plant steps of the records, in order, from 0.
        paid: cost paid up to each.
        episodes: episodes done up to each, the running one by its share.
        best: mean cost of an episode of the best attainable.
        until: plant steps up to which it counts.
        after: mean cost of an episode of the policy that drives on after the run; None: the sum ends with the run.

    Returns:
        Regret [cost].
    """
    above = np.asarray(paid, float) - best * np.asarray(episodes, float)
    total = float(np.interp(until, steps, above))
    if after is not None and until > steps[-1]:
        total += (after - best) * (until - steps[-1]) * episodes[-1] / steps[-1]
    return total


def relative_gain(
    ours: np.ndarray, rival: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Share by which policies are cheaper than a rival, with a paired 95 % interval (bootstrap over seeds and starts).

    1 - sum ours / sum rival, both on the same starts.

    Args:
        ours: costs (seeds, starts).
        rival: costs (starts,), or (seeds, starts) where it has seeds of its own.
        seed: of the resampling.
        resamples: how many.

    Returns:
        Gain and the two ends of its interval.
    """
    ours, rival = np.atleast_2d(ours), np.atleast_2d(rival)
    rng = np.random.default_rng([seed, 98])
    gains = np.empty(resamples)
    for k in range(resamples):
        starts = rng.integers(0, ours.shape[1], ours.shape[1])
        rows, others = (rng.integers(0, len(part), len(part)) for part in (ours, rival))
        gains[k] = 1.0 - ours[rows][:, starts].mean() / rival[others][:, starts].mean()
    low, high = np.quantile(gains, [0.025, 0.975])
    return 1.0 - float(ours.mean() / rival.mean()), float(low), float(high)


def difference_interval(ours: np.ndarray, rival: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences rival - ours with its 95 % interval, m +- t s / sqrt(n).

    Args:
        ours: costs (n,).
        rival: costs (n,) on the same starts.

    Returns:
        Mean and the two ends.
    """
    from scipy.stats import t

    difference = np.asarray(rival, float) - np.asarray(ours, float)
    n, mean = len(difference), float(difference.mean())
    half = float(t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles.

    Args:
        values: one a seed.

    Returns:
        Median, lower and upper quartile.
    """
    low, middle, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75], method="linear")
    return float(middle), float(low), float(high)
