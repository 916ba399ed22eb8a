"""What a run of the loop leaves behind: trajectory, timing and counts."""

import json
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.files import write_whole
from yannctl.types import Float, Int


class LoopState(IntEnum):
    """States of the loop; it only moves down the list, except between RUNNING and DEGRADED."""

    INIT = 0
    READY = 1
    ARMED = 2
    RUNNING = 3
    DEGRADED = 4
    SAFE_HOLD = 5
    STOPPED = 6


class Source(IntEnum):
    """Where the input of a tick came from."""

    CONTROLLER = 0
    FALLBACK = 1
    SAFE_ACTION = 2


@dataclass(frozen=True)
class LoopReport:
    """One row for every tick that was done, and what was counted.

    Args:
        state: state at the end, always STOPPED.
        reason: why the loop stopped, and why it was in SAFE_HOLD if it was.
        ticks: ticks done.
        period: sample period [s].
        x: measured states (ticks, nx), as they came.
        u: inputs asked for (ticks, nu).
        u_applied: inputs the rig says it applied (ticks, nu).
        source: `Source` of each input (ticks,).
        states: `LoopState` after each tick (ticks,).
        period_index: whole periods from the start to each tick (ticks,).
        lateness_ns: start of each tick after its deadline (ticks,) [ns].
        io_ns: time in the rig (ticks,) [ns].
        compute_ns: time in the controllers (ticks,) [ns].
        counts: events by name: skipped_periods, overruns, bad_samples, controller_errors, controller_nan,
            controller_late, fallbacks, fallback_errors, fallback_nan, safe_actions, safe_holds, stop_errors.
        stop_errors: texts of the errors while stopping; not empty means that the safe action may not have arrived.
    """

    state: LoopState
    reason: str
    ticks: int
    period: float
    x: Float[np.ndarray, "ticks nx"]
    u: Float[np.ndarray, "ticks nu"]
    u_applied: Float[np.ndarray, "ticks nu"]
    source: Int[np.ndarray, " ticks"]
    states: Int[np.ndarray, " ticks"]
    period_index: Int[np.ndarray, " ticks"]
    lateness_ns: Int[np.ndarray, " ticks"]
    io_ns: Int[np.ndarray, " ticks"]
    compute_ns: Int[np.ndarray, " ticks"]
    counts: dict[str, int]
    stop_errors: tuple[str, ...]

    def __repr__(self) -> str:
        counted = ", ".join(f"{name} {count}" for name, count in self.counts.items() if count) or "nothing went wrong"
        late = _percentiles(self.lateness_ns)["p99"]
        return f"LoopReport({self.ticks} ticks, {self.reason}, 99 % at most {late:.0f} us late, {counted})"

    def summary(self) -> dict[str, Any]:
        """State, counts and the percentiles of lateness, input-output and computing time [µs]."""
        times = {name: _percentiles(getattr(self, f"{name}_ns")) for name in ("lateness", "io", "compute")}
        return {
            "state": self.state.name,
            "reason": self.reason,
            "ticks": self.ticks,
            "period_s": self.period,
            **{f"{name}_us": value for name, value in times.items()},
            "counts": dict(self.counts),
            "stop_errors": list(self.stop_errors),
        }

    def to_json(self, path: str | Path | None = None, trajectory: bool = False) -> str:
        """The summary as JSON; NaN and infinity become null.

        Args:
            path: file to write; None for none.
            trajectory: add every array.

        Returns:
            The text.
        """
        content = self.summary()
        if trajectory:
            arrays = {f.name: getattr(self, f.name) for f in fields(self)}
            content["trajectory"] = {k: _finite_list(v) for k, v in arrays.items() if isinstance(v, np.ndarray)}
        text = json.dumps(content, allow_nan=False, indent=2)
        if path is not None:
            write_whole(Path(path), text.encode())
        return text


def _percentiles(values: np.ndarray) -> dict[str, float]:
    """Median, 99th percentile and maximum in microseconds."""
    if len(values) == 0:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99, top = np.percentile(values, [50, 99, 100]) / 1000
    return {"p50": float(p50), "p99": float(p99), "max": float(top)}


def _finite_list(values: np.ndarray) -> list:
    """Nested lists with None in place of NaN and infinity."""
    if values.dtype.kind != "f":
        return values.tolist()
    boxed = values.astype(object)
    boxed[~np.isfinite(values)] = None
    return boxed.tolist()
