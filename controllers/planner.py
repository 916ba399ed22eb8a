"""Plans from many states at once on a nonlinear model: what a policy can be fitted to before it meets the plant."""

from collections.abc import Callable
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .nmpc import Nmpc, Policy
from .shooting import Plan, ShootingSettings

TOLERANCE = 1e-4  # of the solver: labels that a network is fitted to need no more


class Planner:
    """Solve the nonlinear optimal control problem of a plant from every state of a batch, without memory.

    Each solve starts from the roll-out of a given policy, so the plan is a local optimum near what that policy does.
    The first `keep` inputs of each plan are given: near its end a plan is short-sighted, its first stages are labels
    for the states that it passes as well.

    Args:
        plant: the model.
        N: horizon.
        keep: inputs given of each plan, at most N.
        terminal: v(x) as a CasADi expression, or None.
        x_min: state limits (nx,), kept as soft limits; None for the plant's on its hard states.
        x_max: upper state limits.
        substeps: predict with that many Runge-Kutta steps a period; None for the plant's own step.

    Raises:
        ModelError: a horizon below 1, or more inputs to keep than it has.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        N: int = 20,
        keep: int = 5,
        terminal: Callable[[Any], Any] | None = None,
        x_min: ArrayLike | None = None,
        x_max: ArrayLike | None = None,
        substeps: int | None = None,
    ) -> None:
        if not 1 <= keep <= N:
            raise ModelError("keep", f"is {keep} of a horizon of {N}", remedy="keep between 1 and N inputs of a plan")
        hard = list(plant.hard_states)
        low, high = np.full(plant.nx, -np.inf), np.full(plant.nx, np.inf)
        low[hard], high[hard] = np.asarray(plant.x_min)[hard], np.asarray(plant.x_max)[hard]
        self.plant, self.N, self.keep = plant, N, keep
        self._nmpc = Nmpc(
            plant,
            N=N,
            terminal=terminal,
            x_min=low if x_min is None else x_min,
            x_max=high if x_max is None else x_max,
            input_rows=plant.input_rows,
            open_parameters=True,
            substeps=substeps,
            settings=ShootingSettings(tolerance=TOLERANCE),
        )

    def __call__(
        self, x: Float[np.ndarray, "n nx"], policy: Policy, p: Float[np.ndarray, "n np"]
    ) -> Float[np.ndarray, "n keep nu"]:
        """Plan from every state.

        Args:
            x: states (n, nx) [x_units].
            policy: (n, nx) -> (n, nu), whose roll-outs the solver starts from; its inputs are clipped to the limits.
            p: uncertain parameters of the model at each state (n, np).

        Returns:
            The first inputs of each plan (n, keep, nu) [u_units]; NaN where the roll-out left the finite numbers, or
            the solver found nothing at least as good as it.
        """
        states, inputs = self._roll_out(x, policy, p)
        found = np.full((len(x), self.keep, self.plant.nu), np.nan)
        for i, row in enumerate(np.hstack([p, np.tile(self.plant.d, (len(x), 1))])):
            if np.isfinite(states[i]).all() and np.isfinite(inputs[i]).all():
                guess = self._nmpc.program.guess(states[i], inputs[i], row)
                plan = self._solve(states[i, 0], row, guess)
                if plan is not None:
                    found[i] = plan.u[: self.keep]
        return np.clip(found, self.plant.u_min, self.plant.u_max)

    def _solve(self, x: np.ndarray, p: np.ndarray, guess: Plan) -> Plan | None:
        plan = self._nmpc.program.solve(x, p, guess, warm=True)
        return plan if plan.solved and plan.cost <= guess.cost + TOLERANCE * (1 + abs(guess.cost)) else None

    def _roll_out(self, x: np.ndarray, policy: Policy, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The policy's states (n, N + 1, nx) and inputs (n, N, nu) on the model, all states at once."""
        plant, n = self.plant, len(x)
        states, inputs = np.full((n, self.N + 1, plant.nx), np.nan), np.full((n, self.N, plant.nu), np.nan)
        states[:, 0], going = x, np.arange(n)
        for k in range(self.N):
            wanted = np.asarray(policy(states[going, k]), float)
            known = np.isfinite(wanted).all(axis=1)
            going = going[known]
            u = plant.clip(wanted[known])
            after = plant.varied_step_tape.evaluate(states[going, k], u, p[going], plant.d)
            inputs[going, k], states[going, k + 1] = u, after
            going = going[np.isfinite(after).all(axis=1)]
        return states, inputs
