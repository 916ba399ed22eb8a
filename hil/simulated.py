"""A simulated plant behind the rig contract, in lockstep or in real time."""

from typing import Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .clock import AbstractClock, MonotonicClock, VirtualClock
from .rig import AbstractRig, RigError, Sample, allowed_input


class SimulatedRig(AbstractRig):
    """A plant that moves one period for every sample period of its clock, under the input last written.

    Lockstep uses a virtual clock, so a run is the same to the last bit on every computer; real time uses the monotonic
    clock, and the plant moves on while the loop is late. A measurement is lost with probability `drop`: then the
    sample before is read again, with its old sequence number.

    Args:
        plant: the plant; its bounds, units and period become the rig's.
        x0: first state (nx,), physical units.
        seed: of noise and losses.
        noise: standard deviation of the measurement noise (nx,) or one number, units of the states.
        drop: probability that a measurement is lost, 0 to 1.
        clock: "lockstep" or "realtime", or a clock.
        safe_action: input sent on stop and in place of one that is not finite (nu,); default the plant's
            `u_equilibrium`, else the middle of the input range.

    Raises:
        ModelError: sizes or settings that do not fit.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        x0: ArrayLike,
        seed: int = 0,
        noise: ArrayLike | float = 0.0,
        drop: float = 0.0,
        clock: Literal["lockstep", "realtime"] | AbstractClock = "lockstep",
        safe_action: ArrayLike | None = None,
    ) -> None:
        self.plant = plant
        self.x_names, self.u_names = tuple(plant.x_names), tuple(plant.u_names)
        self.x_units, self.u_units = tuple(plant.x_units), tuple(plant.u_units)
        self.u_min, self.u_max = np.array(plant.u_min, float), np.array(plant.u_max, float)
        self.dt, self.input_rows = float(plant.dt), plant.input_rows
        self.clock = _clock(clock)
        self.safe_action = _safe_action(plant, safe_action)
        self.x = np.array(x0, float)
        if self.x.shape != (plant.nx,) or not np.all(np.isfinite(self.x)):
            raise ModelError("x0", f"got {x0!r}", remedy=f"give {plant.nx} finite numbers")
        self.noise = np.broadcast_to(np.asarray(noise, float), (plant.nx,))
        if np.any(~(self.noise >= 0)):
            raise ModelError("noise", f"got {noise!r}", remedy="give standard deviations, not negative")
        if not 0 <= drop <= 1:
            raise ModelError("drop", f"got {drop}", remedy="give a probability")
        self.drop = drop
        self.stop_reason = ""
        self._generator = np.random.default_rng(seed)
        self._held = self.safe_action.copy()
        self._start_ns = self._periods = self._sequence = 0
        self._open = self._armed = False
        self._last: Sample | None = None

    @property
    def held_input(self) -> Float[np.ndarray, " nu"]:
        """The input the plant is under now."""
        return self._held.copy()

    def open(self) -> None:
        """Start the plant's time; the safe action is held."""
        if not self._open:
            self.plant.step(self.x, self._held)  # compile before time counts
            self._start_ns, self._periods, self._open = self.clock.now_ns(), 0, True

    def arm(self) -> None:
        """Let `write` act.

        Raises:
            RigError: not open, or stopped before.
        """
        if not self._open or self.stop_reason:
            raise RigError(f"cannot arm: {self.stop_reason or 'the rig is not open'}")
        self._armed = True

    def read(self, deadline_ns: int) -> Sample:
        """Move the plant to the present and measure it.

        Args:
            deadline_ns: unused, a simulated measurement takes no time.

        Returns:
            The measurement, or the one before where it is lost.

        Raises:
            RigError: the rig is not open.
        """
        if not self._open:
            raise RigError("cannot read: the rig is not open")
        self._advance()
        lost = self._generator.random() < self.drop
        measured = self.x + self.noise * self._generator.standard_normal(len(self.x))
        self._sequence += 1
        if self._last is None or not lost:
            self._last = Sample(measured, self.clock.now_ns(), self._sequence)
        return self._last

    def write(self, u: Float[np.ndarray, " nu"], deadline_ns: int) -> Float[np.ndarray, " nu"]:
        """Hold an input from now on.

        Args:
            u: input (nu,).
            deadline_ns: unused, a simulated link takes no time.

        Returns:
            The input applied.

        Raises:
            RigError: the rig is not armed.
        """
        if not self._armed:
            raise RigError(f"cannot write: {self.stop_reason or 'the rig is not armed'}")
        self._advance()
        self._held = allowed_input(u, self.u_min, self.u_max, self.safe_action, self.input_rows)
        return self._held.copy()

    def stop(self, reason: str) -> None:
        """Hold the safe action and disarm for good; the first reason is kept.

        Args:
            reason: why.
        """
        if self._open and self._armed:
            self._advance()
        self._held = self.safe_action.copy()
        self._armed = False
        self.stop_reason = self.stop_reason or reason

    def close(self) -> None:
        """End the simulation."""
        self._open = self._armed = False

    def _advance(self) -> None:
        """Move the plant by the whole periods that have passed since it was opened."""
        period_ns = round(self.dt * 1e9)
        # Half a period of grace either way: a loop that reads a little early or late sees the same period.
        due = (self.clock.now_ns() - self._start_ns + period_ns // 2) // period_ns
        while self._periods < due:
            self.x = np.asarray(self.plant.step(self.x, self._held), float)
            self._periods += 1


def _clock(choice: str | AbstractClock) -> AbstractClock:
    """The clock of a word, or the clock itself."""
    if isinstance(choice, AbstractClock):
        return choice
    if choice not in {"lockstep", "realtime"}:
        raise ModelError("clock", f"got {choice!r}", remedy='use "lockstep", "realtime" or a clock')
    return VirtualClock() if choice == "lockstep" else MonotonicClock()


def _safe_action(plant: AbstractPlant, given: ArrayLike | None) -> np.ndarray:
    """The safe action, finite and inside the limits."""
    low, high = np.asarray(plant.u_min, float), np.asarray(plant.u_max, float)
    if given is None:
        given = getattr(plant, "safe_input", None)
    if given is None:
        given = (low + high) / 2 if plant.u_equilibrium is None else plant.u_equilibrium
    action = np.array(given, float)
    if action.shape != low.shape or not np.all((action >= low) & (action <= high)):
        raise ModelError("safe_action", f"got {given!r}", remedy="give inputs inside the plant's bounds")
    return action
