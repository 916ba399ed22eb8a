"""A rig behind a device link: the same host code for a board on a serial line, a robot over UDP, a PC over ZeroMQ."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .channel import Channel
from .clock import MonotonicClock
from .messages import Acknowledge, Arm, Command, DeviceState, Envelope, Measurement, Stop, Welcome
from .rig import AbstractRig, RigError, Sample, allowed_input

HANDSHAKE_SECONDS = 2.0
RETRY_SECONDS = 0.1
_STOP_REASON = 1


@dataclass(frozen=True)
class Features:
    """What a rig is, known before it is connected.

    Args:
        x_names: names of the states.
        u_names: names of the inputs.
        x_units: units of the states.
        u_units: units of the inputs.
        u_min: lower input limits (nu,).
        u_max: upper input limits (nu,).
        safe_action: input that keeps the plant safe (nu,).
        dt: sample period [s].
        input_rows: (G, h) of input limits G u <= h beside the box, or None.
    """

    x_names: tuple[str, ...]
    u_names: tuple[str, ...]
    x_units: tuple[str, ...]
    u_units: tuple[str, ...]
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    safe_action: Float[np.ndarray, " nu"]
    dt: float
    input_rows: tuple[Float[np.ndarray, "rows nu"], Float[np.ndarray, " rows"]] | None = None

    @classmethod
    def of(cls, plant: AbstractPlant, safe_action: ArrayLike, dt: float | None = None) -> "Features":
        """Take everything but the safe action from a plant.

        Args:
            plant: the plant.
            safe_action: input that keeps it safe (nu,).
            dt: sample period [s]; default the plant's.

        Returns:
            The features.

        Raises:
            ModelError: a safe action outside the plant's limits.
        """
        low, high = np.array(plant.u_min, float), np.array(plant.u_max, float)
        action = np.array(safe_action, float).reshape(-1)
        if action.shape != low.shape or not np.all((action >= low) & (action <= high)):
            raise ModelError("safe_action", f"is {action}", remedy=f"give {plant.nu} inputs inside the limits")
        names = (tuple(plant.x_names), tuple(plant.u_names), tuple(plant.x_units), tuple(plant.u_units))
        rows = plant.input_rows
        if rows is not None and not np.all(rows[0] @ action <= rows[1]):
            raise ModelError("safe_action", f"is {action}", remedy="give one that keeps the plant's input_rows")
        return cls(*names, low, high, action, float(plant.dt if dt is None else dt), rows)


class LinkedRig(AbstractRig):
    """The host's end: handshake, arming for one controller, commands that expire, measurements that must be fresh.

    A command expires `hold_periods` after it arrives; the device then holds its safe action and stays there, and the
    next read says so. `write` gives back what was sent, clipped and in single precision; what the device applied
    comes with the next measurement (`applied`).

    Args:
        channel: the link's host end.
        features: what the rig is.
        law_id: 32-bit number of the controller; the device refuses any other.
        hold_periods: periods a command may be held: the certified number.
        patience: share of the period that a read waits for a fresh measurement.
    """

    def __init__(
        self, channel: Channel, features: Features, law_id: int, hold_periods: int = 2, patience: float = 0.4
    ) -> None:
        for name, value in vars(features).items():
            setattr(self, name, value)
        if hold_periods < 1:
            raise ModelError("hold_periods", f"is {hold_periods}", remedy="a command lives at least one period")
        self.clock = MonotonicClock()
        self.channel, self.law_id = channel, law_id
        self.applied: Float[np.ndarray, " nu"] | None = None
        self.stop_reason = ""
        self._valid_us = round(hold_periods * self.dt * 1e6)
        self._wait_ns = round(patience * self.dt * 1e9)
        self._sample: Sample | None = None
        self._open = self._armed = False
        self._float_min, self._float_max = _inside_single(self.u_min, self.u_max)

    def open(self) -> None:
        """Connect and agree on a session.

        Raises:
            RigError: no device answers.
        """
        self.channel.link.open()
        self._open = True
        answered = self._ask(
            self.channel.hello, lambda e: isinstance(e.message, Welcome) and self.channel.joined(e.message)
        )
        if answered is None:
            where, seen = self.channel.link.peer, _seen(self.channel.counts)
            raise RigError(f"no device answered at {where} within {HANDSHAKE_SECONDS:g} s{seen}")

    def arm(self) -> None:
        """Have the device accept commands of this controller.

        Raises:
            RigError: it refuses, or the rig is not open or was stopped.
        """
        if not self._open or self.stop_reason:
            raise RigError(f"cannot arm: {self.stop_reason or 'the rig is not open'}")
        self._await_measurement()
        answer = self._ask(
            lambda: self.channel.send(Arm(self.law_id, self._valid_us), self._now_us()),
            lambda e: isinstance(e.message, Acknowledge) and e.message.answers == Arm.kind,
        )
        message = None if answer is None else answer.message
        if not isinstance(message, Acknowledge) or not message.accepted:
            raise RigError(f"the device did not arm: {_refusal(message, self.law_id)}")
        self._armed = True

    def read(self, deadline_ns: int) -> Sample:
        """Take the newest measurement, waiting a part of the period for a fresh one.

        Args:
            deadline_ns: return by then [ns].

        Returns:
            The measurement, or the one before.

        Raises:
            RigError: nothing was ever received, the link is broken, or the device has given up.
        """
        until = min(deadline_ns, self.clock.now_ns() + self._wait_ns)
        while True:
            envelopes = self.channel.receive(until)
            fresh = [self._take(envelope) for envelope in envelopes]
            if any(fresh) or self.clock.now_ns() >= until:
                break
        if self._sample is None:
            raise RigError("cannot read: the rig is not armed")
        return self._sample

    def write(self, u: Float[np.ndarray, " nu"], deadline_ns: int) -> Float[np.ndarray, " nu"]:
        """Send an input with its expiry.

        Args:
            u: input (nu,).
            deadline_ns: unused, a message is sent at once or not at all.

        Returns:
            The input sent.

        Raises:
            RigError: the rig is not armed, or the link is broken.
        """
        if not self._armed:
            raise RigError(f"cannot write: {self.stop_reason or 'the rig is not armed'}")
        wanted = np.asarray(allowed_input(u, self.u_min, self.u_max, self.safe_action, self.input_rows), np.float32)
        sent = np.clip(wanted, self._float_min, self._float_max)
        echo = 0 if self._sample is None else self._sample.sequence
        self.channel.send(Command(sent, echo, self._valid_us, self.law_id), self._now_us())
        return sent.astype(float)

    def stop(self, reason: str) -> None:
        """Send STOP until the device says that it holds its safe action.

        Args:
            reason: why.

        Raises:
            RigError: it never says so.
        """
        self._armed = False
        if self.stop_reason or not self._open:
            return
        answer = self._ask(
            lambda: self.channel.send(Stop(_STOP_REASON), self._now_us()),
            lambda e: isinstance(e.message, Acknowledge) and e.message.answers == Stop.kind,
        )
        if answer is None:
            raise RigError("the device does not confirm the stop; its own watchdog must act")
        self.stop_reason = reason

    def close(self) -> None:
        """Close the link."""
        self._open = self._armed = False
        self.channel.link.close()

    def _await_measurement(self) -> None:
        """Have a first measurement before anything may move."""
        end = self.clock.now_ns() + round(HANDSHAKE_SECONDS * 1e9)
        while self._sample is None:
            for envelope in self.channel.receive(end):
                self._take(envelope)
            if self.clock.now_ns() >= end:
                raise RigError(f"no measurement arrived within {HANDSHAKE_SECONDS:g} s")

    def _take(self, envelope: Envelope) -> bool:
        """Keep a measurement; whether it was one."""
        message = envelope.message
        if not isinstance(message, Measurement):
            return False
        if self._armed and message.status & 0xFF == DeviceState.SAFE:
            raise RigError("the device holds its safe action: a command came too late, or it was stopped")
        self._sample = Sample(message.x, self.clock.now_ns(), envelope.sequence)
        self.applied = message.u_applied
        return True

    def _ask(self, send: Callable[[], object], fits: Callable[[Envelope], bool]) -> Envelope | None:
        """Send until an answer fits, for two seconds."""
        end = time.monotonic_ns() + round(HANDSHAKE_SECONDS * 1e9)
        while (now := time.monotonic_ns()) < end:
            send()
            retry = now + round(RETRY_SECONDS * 1e9)
            while time.monotonic_ns() < retry:
                for envelope in self.channel.receive(retry):
                    if fits(envelope):
                        return envelope
                    if isinstance(envelope.message, Measurement) and not self._armed:
                        self._take(envelope)
        return None

    def _now_us(self) -> int:
        return self.clock.now_ns() // 1000


def _inside_single(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The limits in single precision, rounded inwards."""
    low32, high32 = np.asarray(low, np.float32), np.asarray(high, np.float32)
    low32 = np.where(low32 < low, np.nextafter(low32, np.float32(np.inf)), low32)
    return low32, np.where(high32 > high, np.nextafter(high32, np.float32(-np.inf)), high32)


def _seen(counts: Counter[str]) -> str:
    """What was dropped meanwhile, if anything was."""
    return f"; dropped: {', '.join(f'{n} {cause}' for cause, n in counts.items())}" if counts else ""


def _refusal(message: object, law_id: int) -> str:
    if not isinstance(message, Acknowledge):
        return "no answer"
    if message.law_id != law_id:
        return f"it runs controller {message.law_id:08x}, not {law_id:08x}"
    return f"it is {DeviceState(message.state).name}"
