"""The fixed-rate loop: absolute deadlines, a fallback in the same tick, a safe action where a measurement is bad.

INIT → READY → ARMED → RUNNING ⇄ DEGRADED → SAFE_HOLD → STOPPED. Nothing leaves SAFE_HOLD but STOPPED, and nothing
leaves STOPPED but an operator who makes a new loop and arms it.

The loop is one thread: a controller, fallback or rig that never returns blocks it, and the rig keeps its last input.
Only a watchdog outside this process, in the drive or the board, can then bring the plant to rest.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from yannctl.controllers.base import AbstractController
from yannctl.errors import ModelError
from yannctl.types import ArrayLike

from .blend import Blended
from .recorder import Recorder
from .report import LoopReport, LoopState, Source
from .rig import AbstractRig, Sample
from .tick import AbstractAttendant, LoopTick

INTERRUPTED = "interrupted by the operator"


@dataclass(frozen=True)
class LoopSettings:
    """Limits of the loop.

    Args:
        max_bad_samples: repeated or NaN measurements in a row that are answered with the safe action; one more leads
            to SAFE_HOLD.
        max_overruns: overruns in a row that are only counted; one more leads to DEGRADED.
        recovery_ticks: good ticks in a row that lead from DEGRADED back to RUNNING.
        hold_ticks: ticks in SAFE_HOLD before the loop stops.
        compute_share: part of the period, from the tick's deadline, by which the controller must have answered; it
            includes a late start and the time of the read. A later result is thrown away.
    """

    max_bad_samples: int = 3
    max_overruns: int = 1
    recovery_ticks: int = 10
    hold_ticks: int = 10
    compute_share: float = 0.8

    def __post_init__(self) -> None:
        for name in ("max_bad_samples", "max_overruns", "recovery_ticks", "hold_ticks"):
            if getattr(self, name) < 0:
                raise ModelError(name, f"got {getattr(self, name)}", remedy="give a number of ticks, not negative")
        if not 0 < self.compute_share <= 1:
            raise ModelError("compute_share", f"got {self.compute_share}", remedy="give a share between 0 and 1")


class FixedRateLoop:
    """Read, compute, write once a period, and stop the rig at the end, after an error and when interrupted.

    A tick that starts a whole period or more after its deadline skips the periods it has missed and counts them; there
    is never a burst. A measurement that is NaN, or has the sequence number of the one before, gets the safe action. A
    controller that raises, returns something that is not finite, or is late gets its input from the fallback in the
    same tick, and the loop is DEGRADED: the fallback drives until the controller has been good for `recovery_ticks`.
    Being late is noticed when the controller returns: one that never does blocks the loop, and stopping with it, so
    a watchdog outside this process is needed.

    Args:
        rig: what is driven; it is opened, armed, stopped and closed by `run`.
        controller: the law under test.
        period: sample period [s]; default the rig's.
        fallback: law for the ticks the controller fails, e.g. the exact explicit law; default the safe action.
        safe_action: input for bad measurements, SAFE_HOLD and stopping (nu,); default the rig's.
        settings: limits.
        attendants: told of every tick besides the report, e.g. the log.

    Raises:
        ModelError: sizes that do not fit, or a safe action outside the rig's limits.
    """

    def __init__(
        self,
        rig: AbstractRig,
        controller: AbstractController,
        period: float | None = None,
        fallback: AbstractController | None = None,
        safe_action: ArrayLike | None = None,
        settings: LoopSettings = LoopSettings(),
        attendants: Sequence[AbstractAttendant] = (),
    ) -> None:
        self.rig, self.controller, self.fallback, self.settings = rig, controller, fallback, settings
        self.attendants = tuple(attendants)
        self.blend = controller if isinstance(controller, Blended) else None
        self._nothing, self._no_state = np.full(len(rig.u_names), np.nan), np.full(len(rig.x_names), np.nan)
        self.period = rig.dt if period is None else period
        self.period_ns = round(self.period * 1e9)
        self.safe_action = np.array(rig.safe_action if safe_action is None else safe_action, float)
        self.state = LoopState.INIT
        self.stop_request = ""
        self.hold_cause = ""  # why SAFE_HOLD was entered, kept for good
        _check(self)

    def run(self, ticks: int) -> LoopReport:
        """Open and arm the rig, drive it for a number of ticks, and stop it.

        Args:
            ticks: ticks to do; skipped periods are not ticks.

        Returns:
            The report; the loop is STOPPED for good.

        Raises:
            ModelError: the loop has run before, or `ticks` is less than 1.
        """
        if self.state is not LoopState.INIT:
            raise ModelError("loop", f"is {self.state.name}", remedy="make a new loop and arm it again")
        if ticks < 1:
            raise ModelError("ticks", f"got {ticks}", remedy="do at least one")
        record = Recorder(ticks, len(self.rig.x_names), len(self.rig.u_names))
        reason = "ended from outside"
        with _no_collection():
            try:
                self._start()
                reason = self._drive(record, ticks)
            except KeyboardInterrupt:
                reason = INTERRUPTED
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            finally:
                if self.hold_cause:
                    reason += f" in safe hold: {self.hold_cause}"
                for attendant in self.attendants:
                    with suppress(Exception):  # nobody may keep the stop from the plant
                        attendant.ended()
                errors = self._stop(reason)
        return record.report(self.state, reason, self.period, errors)

    def request_stop(self, reason: str) -> None:
        """Ask for a stop at the next tick; may be called from another thread or a signal handler.

        Args:
            reason: why, for the report.
        """
        self.stop_request = reason or "requested"

    def _start(self) -> None:
        """Connect and arm."""
        self.rig.open()
        self.state = LoopState.READY
        self.controller.reset()
        if self.fallback is not None:
            self.fallback.reset()
        self.rig.arm()
        self.state = LoopState.ARMED

    def _drive(self, record: Recorder, ticks: int) -> str:
        """All ticks; why they ended."""
        clock = self.rig.clock
        start = deadline = clock.now_ns()
        sequence, bad, overruns, good, held = None, 0, 0, 0, 0
        self.state = LoopState.RUNNING
        for _ in range(ticks):
            clock.sleep_until_ns(deadline)
            if self._boundary():
                return f"stop requested: {self.stop_request}"
            lateness = max(0, clock.now_ns() - deadline)
            skipped = lateness // self.period_ns
            deadline += skipped * self.period_ns
            overruns = overruns + 1 if skipped else 0
            record.skipped(skipped)
            begin = clock.now_ns()
            sample = self.rig.read(deadline + self.period_ns)
            read = clock.now_ns()
            fresh = _is_good(sample, sequence, len(self.rig.x_names))
            sequence = sample.sequence
            bad = 0 if fresh else bad + 1
            latest = deadline + round(self.settings.compute_share * self.period_ns)
            index = (deadline - start) // self.period_ns
            if self.blend is not None:
                self.blend.period_index = index
            u, source, sound = self._input(sample, fresh, record, latest)
            computed = clock.now_ns()
            applied = self.rig.write(u, deadline + self.period_ns)
            done = clock.now_ns()
            good = good + 1 if fresh and sound and not skipped else 0
            held = held + 1 if self.state is LoopState.SAFE_HOLD else 0
            self.state = self._next_state(bad, overruns, good, fresh and sound)
            if self.state is LoopState.SAFE_HOLD and not self.hold_cause:
                self.hold_cause = f"{bad} bad measurements in a row"
                record.count("safe_holds")
            times = lateness, read - begin + done - computed, computed - read
            record.tick(sample.x, u, applied, source, self.state, index)
            record.times(*times)
            self._tell(begin - start, index, source, times, fresh, sample.x, u, applied)
            if held >= self.settings.hold_ticks and self.state is LoopState.SAFE_HOLD:
                return f"stopped after {held} ticks"
            deadline += self.period_ns
        return "ticks done"

    def _boundary(self) -> str:
        """Let the attendants act between two ticks; why the loop must stop, or ""."""
        for attendant in self.attendants:
            self.stop_request = attendant.boundary() or self.stop_request
        return self.stop_request

    def _tell(
        self,
        time_ns: int,
        index: int,
        source: Source,
        times: tuple[int, int, int],
        fresh: bool,
        x: np.ndarray,
        u: np.ndarray,
        applied: np.ndarray,
    ) -> None:
        """Tell the attendants of a tick."""
        law_id, authority, proposed = 0, 0.0, self._nothing
        if self.blend is not None:
            law_id, authority, proposed = self.blend.law_id, self.blend.authority, self.blend.proposed
        late, io, compute = times
        head = (time_ns, index, source, self.state, late, io, compute, law_id, fresh, authority)
        whole = x if x.shape == self._no_state.shape else self._no_state
        tick = LoopTick(*head, whole, u, applied, proposed)
        for attendant in self.attendants:
            attendant.ticked(tick)

    def _next_state(self, bad: int, overruns: int, good: int, sound: bool) -> LoopState:
        """The state after a tick."""
        if self.state is LoopState.SAFE_HOLD or bad > self.settings.max_bad_samples:
            return LoopState.SAFE_HOLD
        if not sound or overruns > self.settings.max_overruns:
            return LoopState.DEGRADED
        if self.state is LoopState.DEGRADED and good < self.settings.recovery_ticks:
            return LoopState.DEGRADED
        return LoopState.RUNNING

    def _input(self, sample: Sample, fresh: bool, record: Recorder, latest_ns: int) -> tuple[np.ndarray, Source, bool]:
        """The input of a tick, where it comes from, and whether the controller was good."""
        if not fresh:
            record.count("bad_samples")
        if not fresh or self.state is LoopState.SAFE_HOLD:
            record.count("safe_actions")
            return self.safe_action, Source.SAFE_ACTION, False
        u = self._ask(self.controller, sample.x, record, "controller", latest_ns)
        sound = u is not None
        if u is not None and (self.state is LoopState.RUNNING or self.fallback is None):
            return u, Source.CONTROLLER, sound
        if self.fallback is not None:
            record.count("fallbacks")
            # The fallback is trusted to be quick; a late safe input is better than none.
            u = self._ask(self.fallback, sample.x, record, "fallback", None)
            if u is not None:
                return u, Source.FALLBACK, sound
        record.count("safe_actions")
        return self.safe_action, Source.SAFE_ACTION, sound

    def _ask(
        self, law: Callable, x: np.ndarray, record: Recorder, name: str, latest_ns: int | None
    ) -> np.ndarray | None:
        """Input of a law, None (and counted) where it raises, is not finite or is late."""
        try:
            u = np.asarray(law(x.copy()), float)
        except Exception:
            record.count(f"{name}_errors")
            return None
        if u.shape != self.safe_action.shape or not np.all(np.isfinite(u)):
            record.count(f"{name}_nan")
            return None
        if latest_ns is not None and self.rig.clock.now_ns() > latest_ns:
            record.count(f"{name}_late")
            return None
        return u

    def _stop(self, reason: str) -> tuple[str, ...]:
        """Try every way to the safe action, whatever the others do, and latch STOPPED."""
        errors: list[str] = []
        was_armed = self.state >= LoopState.ARMED
        actions: list[Callable[[], object]] = [lambda: self.rig.stop(reason), self.rig.close]
        if was_armed:
            actions.insert(0, lambda: self.rig.write(self.safe_action, self.rig.clock.now_ns() + self.period_ns))
        for action in actions:
            try:
                action()
            except BaseException as error:
                errors.append(f"{type(error).__name__}: {error}")
        self.state = LoopState.STOPPED
        return tuple(errors)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the run: a full collection takes milliseconds."""
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


def _is_good(sample: Sample, sequence: int | None, nx: int) -> bool:
    """A fresh measurement without gaps."""
    fresh = sequence is None or sample.sequence > sequence
    return fresh and sample.x.shape == (nx,) and bool(np.all(np.isfinite(sample.x)))


def _check(loop: FixedRateLoop) -> None:
    """Sizes, period and safe action."""
    nx, nu = len(loop.rig.x_names), len(loop.rig.u_names)
    for name, law in (("controller", loop.controller), ("fallback", loop.fallback)):
        if law is not None and (law.nx, law.nu) != (nx, nu):
            raise ModelError(name, f"has nx, nu = {law.nx}, {law.nu}; the rig {nx}, {nu}")
    if not loop.period_ns > 0:
        raise ModelError("period", f"got {loop.period}", remedy="give seconds, positive")
    low, high = np.asarray(loop.rig.u_min), np.asarray(loop.rig.u_max)
    action = loop.safe_action
    if action.shape != (nu,) or not np.all((action >= low) & (action <= high)):
        raise ModelError("safe_action", f"got {action}", remedy=f"give {nu} inputs inside the rig's limits")


def run_loop(
    rig: AbstractRig,
    controller: AbstractController,
    ticks: int,
    period: float | None = None,
    fallback: AbstractController | None = None,
    safe_action: ArrayLike | None = None,
    settings: LoopSettings = LoopSettings(),
) -> LoopReport:
    """Make a loop and run it: open, arm, drive, stop, close.

    Args:
        rig: what is driven.
        controller: the law under test.
        ticks: ticks to do.
        period: sample period [s]; default the rig's.
        fallback: law for the ticks the controller fails.
        safe_action: input for bad measurements and stopping (nu,); default the rig's.
        settings: limits.

    Returns:
        The report.
    """
    return FixedRateLoop(rig, controller, period, fallback, safe_action, settings).run(ticks)
