"""The device's side of the link: which commands it obeys, and when it gives up and holds the safe action.

The same rules stand in C in the firmware. They need no host: a command carries its own expiry, so a lost link, a host
that was killed, stopped or hangs, all end the same way.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float

from .messages import Acknowledge, Arm, Command, DeviceState, Envelope, Message, Stop


@dataclass(frozen=True)
class DeviceLimits:
    """What a device refuses.

    Args:
        u_min: lower input limits (nu,).
        u_max: upper input limits (nu,).
        safe_action: input it holds unless armed and commanded (nu,); zero is not always safe.
        law_id: the one controller it may be armed for.
        max_valid_us: longest time it holds a command [us]: the certified number of periods.
        max_age: most measurements a command may lag behind the newest.

    Raises:
        ModelError: limits that contradict each other.
    """

    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    safe_action: Float[np.ndarray, " nu"]
    law_id: int
    max_valid_us: int
    max_age: int = 3

    def __post_init__(self) -> None:
        inside = (self.safe_action >= self.u_min) & (self.safe_action <= self.u_max)
        if not np.all(inside):
            raise ModelError("safe_action", f"is {self.safe_action}", remedy="give one inside the input limits")
        if not 0 < self.max_valid_us < 2**32:
            raise ModelError("max_valid_us", f"is {self.max_valid_us}", remedy="give microseconds, positive")


class DeviceGuard:
    """DISARMED -> ARMED -> SAFE; SAFE is latched until an ARM of a session not used before.

    Args:
        limits: what is refused.
        ready: tells whether the plant may be armed now (state inside the certified set); None for always.
    """

    def __init__(self, limits: DeviceLimits, ready: Callable[[], bool] | None = None) -> None:
        self.limits, self.state = limits, DeviceState.DISARMED
        self.counts: Counter[str] = Counter()
        self.cause = ""  # why it last fell to the safe action
        self._ready = ready or (lambda: True)
        self._u = limits.safe_action
        self._expiry_us = self._sequence = self._valid_us = 0
        self._session: int | None = None

    def receive(self, envelope: Envelope, now_us: int, newest: int) -> Message | None:
        """Obey or refuse a message.

        Args:
            envelope: what arrived, its origin already proved where the medium is shared.
            now_us: the device's clock [us].
            newest: sequence number of the newest measurement it has sent.

        Returns:
            The answer to send, or None.
        """
        self.applied(now_us)  # what has expired is expired, whatever arrives now
        match envelope.message:
            case Stop():
                self._fall("stopped")
                return Acknowledge(Stop.kind, 1, self.state, self.limits.law_id)
            case Arm() as arm:
                accepted = self._arm(arm, envelope, now_us)
                return Acknowledge(Arm.kind, int(accepted), self.state, self.limits.law_id)
            case Command() as command:
                fault = self._fault(command, envelope, newest)
                self.counts[fault or "commands"] += 1
                if fault is None:
                    self._u, self._sequence = command.u, envelope.sequence
                    self._expiry_us = now_us + command.valid_for_us
            case _:
                pass
        return None

    def applied(self, now_us: int) -> Float[np.ndarray, " nu"]:
        """Give the input to apply now; an expired command is the end of the session.

        Args:
            now_us: the device's clock [us].

        Returns:
            Input (nu,).
        """
        if self.state is DeviceState.ARMED and now_us >= self._expiry_us:
            self._fall("expired")
        return self._u if self.state is DeviceState.ARMED else self.limits.safe_action

    def _fall(self, cause: str) -> None:
        self.counts[cause] += 1
        self.cause = cause
        self.state, self._u = DeviceState.SAFE, self.limits.safe_action

    def _arm(self, arm: Arm, envelope: Envelope, now_us: int) -> bool:
        fresh = envelope.session not in {0, self._session}
        fits = arm.law_id == self.limits.law_id and 0 < arm.valid_for_us <= self.limits.max_valid_us
        if self.state is DeviceState.ARMED or not fresh or not fits or not self._ready():
            self.counts["arm_refused"] += 1
            return False
        self.state, self._session, self._sequence = DeviceState.ARMED, envelope.session, envelope.sequence
        self._u, self._valid_us = self.limits.safe_action, arm.valid_for_us
        self._expiry_us = now_us + arm.valid_for_us
        return True

    def _fault(self, command: Command, envelope: Envelope, newest: int) -> str | None:
        """Why a command is refused, or None."""
        low, high = (np.asarray(limit, np.float32) for limit in (self.limits.u_min, self.limits.u_max))
        checks = (
            ("not_armed", self.state is DeviceState.ARMED),
            ("other_session", envelope.session == self._session),
            ("replayed", envelope.sequence > self._sequence),
            ("other_law", command.law_id == self.limits.law_id),
            ("not_finite", command.u.shape == low.shape and bool(np.all(np.isfinite(command.u)))),
            ("out_of_range", bool(np.all((command.u >= low) & (command.u <= high)))),
            ("bad_expiry", 0 < command.valid_for_us <= self._valid_us),
            ("stale", 0 <= newest - command.echo <= self.limits.max_age),
        )
        return next((name for name, holds in checks if not holds), None)


def why_safe(cause: str) -> str:
    """Say why a device holds its safe action.

    Args:
        cause: `DeviceGuard.cause`.

    Returns:
        Words for people.
    """
    known = {"expired": "the last command expired and no newer one was obeyed", "stopped": "the host said stop"}
    return known.get(cause, cause)


def device_limits(
    u_min: ArrayLike, u_max: ArrayLike, safe_action: ArrayLike, law_id: int, hold_periods: int, dt: float
) -> DeviceLimits:
    """Set up the limits from a number of periods a command may be held.

    Args:
        u_min: lower input limits (nu,).
        u_max: upper input limits (nu,).
        safe_action: input held unless armed and commanded (nu,).
        law_id: the controller it may be armed for.
        hold_periods: periods a command may be held.
        dt: sample period [s].

    Returns:
        The limits.

    Raises:
        ModelError: numbers that contradict each other.
    """
    if hold_periods < 1:
        raise ModelError("hold_periods", f"is {hold_periods}", remedy="a command lives at least one period")
    low, high, action = (np.atleast_1d(np.asarray(value, float)) for value in (u_min, u_max, safe_action))
    return DeviceLimits(low, high, action, law_id, round(hold_periods * dt * 1e6))
