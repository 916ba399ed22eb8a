"""Arrays filled by the loop, laid out before it starts so that a tick allocates nothing for them."""

import numpy as np

from yannctl.types import Float

from .report import LoopReport, LoopState, Source

COUNTS = (
    "skipped_periods",
    "overruns",
    "bad_samples",
    "controller_errors",
    "controller_nan",
    "controller_late",
    "fallbacks",
    "fallback_errors",
    "fallback_nan",
    "safe_actions",
    "safe_holds",
    "stop_errors",
)


class Recorder:
    """Rows for a number of ticks.

    Args:
        ticks: rows to lay out.
        nx: number of states.
        nu: number of inputs.
    """

    def __init__(self, ticks: int, nx: int, nu: int) -> None:
        self._x = np.full((ticks, nx), np.nan)
        self._u = np.full((ticks, nu), np.nan)
        self._applied = np.full((ticks, nu), np.nan)
        self._codes = np.zeros((3, ticks), np.int64)
        self._times = np.zeros((3, ticks), np.int64)
        self._counts: dict[str, int] = {name: 0 for name in COUNTS}
        self._done = 0

    def count(self, name: str) -> None:
        """Count an event.

        Args:
            name: one of `COUNTS`.
        """
        self._counts[name] += 1

    def skipped(self, periods: int) -> None:
        """Count an overrun and its skipped periods.

        Args:
            periods: whole periods skipped, 0 for none.
        """
        self._counts["skipped_periods"] += periods
        self._counts["overruns"] += periods > 0

    def tick(
        self,
        x: Float[np.ndarray, " nx"],
        u: Float[np.ndarray, " nu"],
        applied: Float[np.ndarray, " nu"],
        source: Source,
        state: LoopState,
        period_index: int,
    ) -> None:
        """Fill the row of this tick; `times` completes it.

        Args:
            x: the measurement.
            u: the input asked for.
            applied: the input applied.
            source: where it came from.
            state: the state after the tick.
            period_index: periods since the start.
        """
        row = self._done
        if x.shape == self._x.shape[1:]:
            self._x[row] = x
        self._u[row], self._applied[row] = u, applied
        self._codes[:, row] = source, state, period_index

    def times(self, lateness_ns: int, io_ns: int, compute_ns: int) -> None:
        """Complete the row with its times.

        Args:
            lateness_ns: start after the deadline [ns].
            io_ns: time in the rig [ns].
            compute_ns: time in the controllers [ns].
        """
        self._times[:, self._done] = lateness_ns, io_ns, compute_ns
        self._done += 1

    def report(self, state: LoopState, reason: str, period: float, stop_errors: tuple[str, ...]) -> LoopReport:
        """The rows done so far as a report.

        Args:
            state: state at the end.
            reason: why it ended.
            period: sample period [s].
            stop_errors: errors while stopping.

        Returns:
            The report.
        """
        n = self._done
        source, states, index = self._codes[:, :n]
        lateness, io, compute = self._times[:, :n]
        return LoopReport(
            state=state,
            reason=reason,
            ticks=n,
            period=period,
            x=self._x[:n],
            u=self._u[:n],
            u_applied=self._applied[:n],
            source=source,
            states=states,
            period_index=index,
            lateness_ns=lateness,
            io_ns=io,
            compute_ns=compute,
            counts={**self._counts, "stop_errors": len(stop_errors)},
            stop_errors=stop_errors,
        )
