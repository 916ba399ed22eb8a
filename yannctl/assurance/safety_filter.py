"""The last word before the actuator: safe inputs inside the set, a flagged way back outside, a trip further out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yannctl.errors import ModelError
from yannctl.geometry.validation import vector
from yannctl.types import ArrayLike, Bool, Float

from .safe_set import AbstractSafeSet

Law = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Decision:
    """What the filter did, one entry a state.

    Args:
        u: inputs to apply (..., nu) [u_units].
        changed: the proposal was not applied as it came (...).
        outside: the state is outside the certified set: recovery, nothing is claimed (...).
        trip: the state is outside the recovery domain or not finite: the safe action, and the plant must trip (...).
    """

    u: Float[np.ndarray, "*batch nu"]
    changed: Bool[np.ndarray, "..."]
    outside: Bool[np.ndarray, "..."]
    trip: Bool[np.ndarray, "..."]


class SafetyFilter:
    """u_safe = filter(x, u): the nearest safe input inside the set.

    A proposal that is not finite is replaced by the certified law's input, then filtered like any other. Outside the
    set the recovery law acts and the state is flagged; beyond `domain_min` to `domain_max`, or where the state is not
    finite, the declared safe action is given and a trip is asked for. Nothing may change the input afterwards.

    Args:
        safe_set: the certified set.
        law: the certified law (n, nx) -> (n, nu), or None for the set's own action.
        domain_min: lower ends of the recovery domain (nx,), None for no end.
        domain_max: upper ends of the recovery domain (nx,), None for no end.
        safe_action: declared safe input (nu,), None for the middle of the input bounds.
        states: which entries of the plant's state the set speaks about, None for all in order.

    Raises:
        ModelError: sizes that do not fit, or a safe action outside the input bounds.
    """

    def __init__(
        self,
        safe_set: AbstractSafeSet,
        law: Law | None = None,
        domain_min: ArrayLike | None = None,
        domain_max: ArrayLike | None = None,
        safe_action: ArrayLike | None = None,
        states: tuple[int, ...] | None = None,
    ) -> None:
        self.safe_set, self.law, self.states = safe_set, law, states
        n = safe_set.nx
        self.domain_min = vector("domain_min", -np.inf if domain_min is None else domain_min, n, infinite=True)
        self.domain_max = vector("domain_max", np.inf if domain_max is None else domain_max, n, infinite=True)
        middle = 0.5 * (safe_set.u_min + safe_set.u_max)
        self.safe_action = vector("safe_action", middle if safe_action is None else safe_action, safe_set.nu)
        if np.any(self.safe_action < safe_set.u_min) or np.any(self.safe_action > safe_set.u_max):
            raise ModelError("safe_action", f"{self.safe_action} is outside the input bounds")

    def __call__(self, x: ArrayLike, u: ArrayLike) -> Float[np.ndarray, "*batch nu"]:
        """Filter proposals.

        Args:
            x: states of the plant (..., n) [x_units].
            u: proposed inputs (..., nu) [u_units]; NaN and infinities are allowed.

        Returns:
            Inputs to apply (..., nu) [u_units], finite and within the bounds.
        """
        if self.states is None and isinstance(x, np.ndarray) and x.shape == (self.safe_set.nx,) and x.dtype == float:
            proposed = np.asarray(u, dtype=float)
            quick = self.safe_set.filter_one(x, proposed) if proposed.shape == (self.safe_set.nu,) else None
            if quick is not None:
                return quick
        return self.decide(x, u).u

    def decide(self, x: ArrayLike, u: ArrayLike) -> Decision:
        """Filter proposals and say what was done.

        Args:
            x: states of the plant (..., n) [x_units].
            u: proposed inputs (..., nu) [u_units].

        Returns:
            Inputs and flags.

        Raises:
            ModelError: shapes that do not fit.
        """
        whole = np.asarray(x, dtype=float)
        proposed = np.asarray(u, dtype=float)
        seen = whole if self.states is None else whole[..., list(self.states)]
        if seen.shape[-1:] != (self.safe_set.nx,) or proposed.shape != (*seen.shape[:-1], self.safe_set.nu):
            raise ModelError("u", f"has shape {proposed.shape} for states of shape {whole.shape}")
        batch = seen.shape[:-1]
        flat_x, flat_u = seen.reshape(-1, self.safe_set.nx), proposed.reshape(-1, self.safe_set.nu)
        inside = np.asarray(self.safe_set.contains(flat_x))
        out = np.empty_like(flat_u)
        trip = np.zeros(len(flat_x), dtype=bool)
        if inside.all():
            out[:] = self._filtered(flat_x, flat_u, whole.reshape(len(flat_x), -1))
        else:
            trip = ~(np.isfinite(flat_x).all(axis=1) & self._in_domain(flat_x))
            back = ~inside & ~trip
            out[trip] = self.safe_action
            if inside.any():
                out[inside] = self._filtered(flat_x[inside], flat_u[inside], whole.reshape(len(flat_x), -1)[inside])
            if back.any():
                out[back] = self.safe_set.recover(flat_x[back])
        changed = ~(out == flat_u).all(axis=1)
        return Decision(
            out.reshape(*batch, self.safe_set.nu), changed.reshape(batch), (~inside).reshape(batch), trip.reshape(batch)
        )

    def _filtered(self, x: np.ndarray, u: np.ndarray, whole: np.ndarray) -> np.ndarray:
        bad = ~np.isfinite(u).all(axis=1)
        if bad.any():
            u = u.copy()
            given = self.law(whole[bad]) if self.law is not None else self.safe_set.action(x[bad])
            u[bad] = np.where(np.isfinite(given), given, self.safe_set.action(x[bad]))
        return self.safe_set.nearest(x, u)

    def _in_domain(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(((x >= self.domain_min) & (x <= self.domain_max)).all(axis=1))
