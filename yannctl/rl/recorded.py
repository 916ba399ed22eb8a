"""Recorded transitions: read a log, say what it is worth, and give it to the learner before its first own step.

A log is a table, one row a sample: Parquet (needs pyarrow), CSV, or the `transitions.bin` of an earlier run. Row k and
row k + 1 make a transition when both are whole and nothing is missing between them; the input of row k is the one held
from sample k to k + 1.
"""

import csv
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from yannctl.errors import ModelError, NotInstalledError
from yannctl.plant import AbstractPlant

from .transitions import TERMINATED, TRUNCATED, read_records

GAP = 1.5  # sample periods; a longer step in time is a gap
STUCK = 50  # a channel that shows one value for so many samples in a row is called stuck
BINS, LARGEST_GRID = 10, 5  # cells a channel; channels of which the joint coverage is counted


@dataclass(frozen=True)
class ChannelReport:
    """What a channel of the log covers.

    Args:
        name: its name.
        low: smallest value [its unit].
        high: largest value [its unit].
        coverage: share of ten equal cells of its bounds, or of its own range without bounds, that were visited.
        longest_stuck: longest run of samples with one and the same value.
        missing: samples without a number.
    """

    name: str
    low: float
    high: float
    coverage: float
    longest_stuck: int
    missing: int

    @property
    def stuck(self) -> bool:
        """Whether it stood still suspiciously long."""
        return self.longest_stuck >= STUCK


@dataclass(frozen=True)
class LogReport:
    """What a log is worth.

    Args:
        rows: samples read.
        transitions: transitions they make.
        segments: unbroken stretches.
        gaps: rows after which time or an episode breaks.
        channels: states, then inputs.
        joint_coverage: share of cells of the grid over the first channels together that were visited.
        mean_reward: mean reward a step of the recorded policy.
        returns: sum of rewards of each unbroken stretch.
    """

    rows: int
    transitions: int
    segments: int
    gaps: tuple[int, ...]
    channels: tuple[ChannelReport, ...]
    joint_coverage: float
    mean_reward: float
    returns: tuple[float, ...]

    def lines(self) -> list[str]:
        """The report as text.

        Returns:
            Its lines.
        """
        breaks = max(0, self.segments - 1)
        text = [f"{self.rows} samples, {self.transitions} transitions in {self.segments} stretches, {breaks} breaks"]
        for part in self.channels:
            flaws = f", STUCK for {part.longest_stuck} samples" if part.stuck else ""
            flaws += f", {part.missing} samples missing" if part.missing else ""
            text.append(f"{part.name}: {part.low:.4g} to {part.high:.4g}, covers {part.coverage:.0%}{flaws}")
        text.append(f"states and inputs together cover {self.joint_coverage:.1%} of the grid")
        text.append(
            f"recorded policy: mean reward {self.mean_reward:.4g} a step, mean of stretches {self.mean_return:.4g}"
        )
        return text

    @property
    def mean_return(self) -> float:
        """Mean sum of rewards of a stretch."""
        return float(np.mean(self.returns)) if self.returns else float("nan")


@dataclass(frozen=True)
class RecordedLog:
    """Transitions of a log, in physical units.

    Args:
        x: states before (n, nx).
        u: inputs applied (n, nu).
        reward: rewards (n,).
        x1: states after (n, nx).
        terminated: whether the task ended there (n,).
        report: what the log is worth.
    """

    x: Float[np.ndarray, "n nx"]
    u: Float[np.ndarray, "n nu"]
    reward: Float[np.ndarray, " n"]
    x1: Float[np.ndarray, "n nx"]
    terminated: Bool[np.ndarray, " n"]
    report: LogReport

    def __len__(self) -> int:
        return len(self.reward)


def load_log(
    path: str | Path,
    plant: AbstractPlant | None = None,
    x_names: Sequence[str] | None = None,
    u_names: Sequence[str] | None = None,
    dt: float | None = None,
) -> RecordedLog:
    """Read recorded transitions and report on them.

    Columns: one of each state and input name; "reward" (without it the plant's reward is computed); and, if there are
    any, "time" [s], "episode", "terminated", "truncated".

    Args:
        path: .parquet, .csv, or the transitions.bin of a run.
        plant: gives names, bounds, sample period and reward.
        x_names: names of the state columns, where there is no plant.
        u_names: names of the input columns, where there is no plant.
        dt: sample period [s] by which gaps in "time" are found; None: the plant's, else the median step.

    Returns:
        The transitions and their report.

    Raises:
        ModelError: for a missing column, or a log without a single transition.
        NotInstalledError: for Parquet without pyarrow.
    """
    path = Path(path)
    if path.suffix == ".bin":
        return _of_run(path, plant)
    names = tuple(x_names or (plant.x_names if plant else ())), tuple(u_names or (plant.u_names if plant else ()))
    if not names[0] or not names[1]:
        raise ModelError("x_names", "no columns are named", remedy="give a plant, or x_names and u_names")
    columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    for name in (*names[0], *names[1]):
        if name not in columns:
            raise ModelError("log", f"{path} has no column {name!r}", remedy=f"it has {', '.join(columns)}")
    x, u = (np.stack([columns[name] for name in part], 1) for part in names)
    n = len(x)
    flag = {name: np.nan_to_num(columns.get(name, np.zeros(n))) > 0.5 for name in ("terminated", "truncated")}
    whole = np.asarray(np.isfinite(x).all(1) & np.isfinite(u).all(1))
    joined = whole[:-1] & np.isfinite(x[1:]).all(1) & ~_breaks(columns, n, dt or (plant.dt if plant else None))
    # A row that ends an episode is followed by the first one of the next.
    joined &= ~(flag["terminated"] | flag["truncated"])[:-1]
    k = np.flatnonzero(joined)
    reward = _reward(columns, plant, x[k], u[k], k, path)
    good = np.isfinite(reward)
    k, reward = k[good], reward[good]
    if not len(k):
        raise ModelError("log", f"{path} holds no transition", remedy="two whole samples in a row make one")
    # The task ended in the row after k, if that row says so.
    ended = flag["terminated"][k + 1]
    report = _report(n, k, x, u, reward, names, plant)
    return RecordedLog(x[k], u[k], reward, x[k + 1], ended, report)


def _of_run(path: Path, plant: AbstractPlant | None) -> RecordedLog:
    records = read_records(path)
    ended = records["flags"] & (TERMINATED | TRUNCATED) > 0
    x, u = records["x"].copy(), records["u"].copy()
    names = tuple(f"x{j}" for j in range(x.shape[1])), tuple(f"u{j}" for j in range(u.shape[1]))
    names = (plant.x_names, plant.u_names) if plant else names
    # Ends of episodes are stretches' ends: a hole in the numbering says so to the report.
    k = np.arange(len(x)) + np.concatenate([[0], np.cumsum(ended)[:-1]]).astype(int)
    report = _report(len(x), k, x, u, records["reward"].copy(), names, plant)
    done = records["flags"] & TERMINATED > 0
    return RecordedLog(x, u, records["reward"].copy(), records["x1"].copy(), done, report)


def _csv(path: Path) -> dict[str, np.ndarray]:
    with open(path, newline="") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        table = [[_number(text) for text in row] for row in rows if row]
    short = next((i for i, row in enumerate(table) if len(row) != len(header)), None)
    if short is not None:
        raise ModelError("log", f"has {len(table[short])} values, the header {len(header)} names", index=short)
    values = np.array(table, float).reshape(-1, len(header))
    return {name: values[:, j] for j, name in enumerate(header)}


def _number(text: str) -> float:
    """A number, or NaN for an empty or unreadable cell; true and false are 1 and 0."""
    words = {"true": 1.0, "false": 0.0}
    try:
        return words[text.strip().lower()] if text.strip().lower() in words else float(text)
    except ValueError:
        return float("nan")


def _parquet(path: Path) -> dict[str, np.ndarray]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise NotInstalledError(f"{path}: Parquet needs pyarrow: pip install 'yannctl[log]', or give CSV") from error
    table = parquet.read_table(path)
    return {name: np.asarray(table[name].to_numpy(), float) for name in table.column_names}


def _breaks(columns: dict[str, np.ndarray], n: int, dt: float | None) -> Bool[np.ndarray, " m"]:
    """Where row k + 1 does not follow on row k."""
    broken = np.zeros(max(0, n - 1), bool)
    if "episode" in columns:
        broken |= np.diff(columns["episode"]) != 0
    if "time" in columns:
        step = np.diff(columns["time"])
        period = dt or float(np.nanmedian(step))
        broken |= ~((step > 0) & (step < GAP * period))
    return broken


def _reward(
    columns: dict[str, np.ndarray],
    plant: AbstractPlant | None,
    x: np.ndarray,
    u: np.ndarray,
    k: np.ndarray,
    path: Path,
) -> np.ndarray:
    if "reward" in columns:
        return columns["reward"][k]
    if plant is None:
        raise ModelError("log", f"{path} has no column 'reward'", remedy="add it, or give a plant to compute it")
    return np.asarray(plant.rewards(x, u), float) if len(x) else np.zeros(0)


def _report(
    rows: int,
    k: Int[np.ndarray, " n"],
    x: np.ndarray,
    u: np.ndarray,
    reward: np.ndarray,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    plant: AbstractPlant | None,
) -> LogReport:
    """Count what the log covers and where it breaks."""
    values = np.concatenate([x, u], 1)
    with np.errstate(all="ignore"):
        low, high = np.nanmin(values, 0), np.nanmax(values, 0)
    if plant is not None:
        bounds = (np.concatenate([plant.x_min, plant.u_min]), np.concatenate([plant.x_max, plant.u_max]))
        finite = np.isfinite(bounds[0]) & np.isfinite(bounds[1])
        grid_low, grid_high = np.where(finite, bounds[0], low), np.where(finite, bounds[1], high)
    else:
        grid_low, grid_high = low, high
    span = np.where(grid_high > grid_low, grid_high - grid_low, 1.0)
    whole = values[np.isfinite(values).all(1)]
    cells = np.clip(((whole - grid_low) / span * BINS).astype(int), 0, BINS - 1)
    channels = tuple(
        ChannelReport(
            name=name,
            low=float(low[j]),
            high=float(high[j]),
            coverage=len(np.unique(cells[:, j])) / BINS,
            longest_stuck=_longest_run(values[:, j]),
            missing=int((~np.isfinite(values[:, j])).sum()),
        )
        for j, name in enumerate((*names[0], *names[1]))
    )
    grid = cells[:, :LARGEST_GRID] // 2  # five cells a channel
    joint = len(np.unique(grid, axis=0)) / 5.0 ** grid.shape[1]
    starts = np.flatnonzero(np.diff(k, prepend=k[0] - 2) != 1)
    returns = tuple(float(part.sum()) for part in np.split(reward, starts[1:]))
    gaps = tuple(int(row) for row in k[starts[1:] - 1] + 1)
    return LogReport(rows, len(k), len(starts), gaps, channels, joint, float(reward.mean()), returns)


def _longest_run(values: np.ndarray) -> int:
    """Longest run of equal values."""
    change = np.flatnonzero(np.diff(values) != 0)
    edges = np.concatenate([[-1], change, [len(values) - 1]])
    return int(np.diff(edges).max())
