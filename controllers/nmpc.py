"""Nonlinear MPC with CasADi and IPOPT: with the true plant as its model, the bound on what can be gained."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.plant.integration import runge_kutta
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states, refuse_reference
from .shooting import Plan, ShootingProgram, ShootingSettings

BETTER = 1e-6  # relative: a plan must be better by this to replace the solver's

Policy = Callable[[np.ndarray], np.ndarray]


class Nmpc(AbstractController):
    """Solve the nonlinear optimal control problem at every call and apply its first input.

    Every solve starts from the last plan, shifted by a step. The first one, and any that ends worse than the shifted
    plan itself or leaves a state limit, starts again from the roll-outs of `guesses`, which should hold a policy that
    is known to be safe: an interior-point method finds the local optimum of its guess. The best plan found is applied.

    After a call `last_plans` holds the plan of every state: its cost, slack on the state limits, status and
    iterations, and `last_seconds` the processor time each took.

    Args:
        plant: model; its smooth step is used.
        stage: l(x, u) as a CasADi expression, angles wrapped; None for minus the plant's reward.
        N: horizon.
        terminal: v(x) as a CasADi expression, or None.
        x_min: state limits (nx,), kept as soft limits with an exact penalty; None for none.
        x_max: upper state limits.
        u_min: input limits (nu,); None for the plant's.
        u_max: upper input limits; None for the plant's.
        input_rows: (G, h) of further input limits G u <= h.
        guesses: policies (n, nx) -> (n, nu) to start from; none holds the middle of the input range.
        open_parameters: leave the plant's uncertain parameters and disturbances open; `set_parameters` sets them.
        substeps: predict with that many Runge-Kutta steps a period, which is faster than the step of most plants;
            None for the plant's own step.
        settings: of the program and its solver.

    Raises:
        ModelError: a horizon below 1.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        stage: Callable[..., Any] | None = None,
        N: int = 40,
        terminal: Callable[[Any], Any] | None = None,
        x_min: ArrayLike | None = None,
        x_max: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        input_rows: tuple[np.ndarray, np.ndarray] | None = None,
        guesses: Sequence[Policy] = (),
        open_parameters: bool = False,
        substeps: int | None = None,
        settings: ShootingSettings | None = None,
    ) -> None:
        if N < 1:
            raise ModelError("N", f"got {N}", remedy="give a horizon of at least 1")
        self.plant, self.N, self.guesses = plant, N, tuple(guesses)
        self.nx, self.nu = plant.nx, plant.nu
        step = _step_function(plant, open_parameters, substeps)
        self.u_min = np.asarray(plant.u_min if u_min is None else u_min, float)
        self.u_max = np.asarray(plant.u_max if u_max is None else u_max, float)
        low = np.full(self.nx, -np.inf) if x_min is None else np.asarray(x_min, float)
        high = np.full(self.nx, np.inf) if x_max is None else np.asarray(x_max, float)
        costs = _cost_functions(plant, stage, terminal, step.size1_in(2))
        limits = (low, high, self.u_min, self.u_max)
        self.program = ShootingProgram(step, *costs, N, *limits, input_rows, settings or ShootingSettings())
        self._step = step
        self._p = np.concatenate([plant.parameters, plant.d]) if open_parameters else np.zeros(0)
        self.reset()

    def set_parameters(self, p: ArrayLike) -> None:
        """Set the plant's parameters and disturbances (p, d), for all states of a batch or one row a state.

        Args:
            p: values (np + nd,) or (n, np + nd), in the order of `plant.parameter_names` and `plant.d_names`.

        Raises:
            ModelError: another number of values.
        """
        values = np.asarray(p, float)
        if values.shape[-1:] != self._p.shape[-1:]:
            text = f"has shape {values.shape}, expected (..., {self._p.shape[-1]})"
            raise ModelError("p", text, remedy="build it with open_parameters=True")
        self._p = values

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Solve at every state; row i of a batch continues row i of the last one.

        Args:
            x: states (..., nx).
            reference: must be None, the stage cost holds it.

        Returns:
            Inputs (..., nu); NaN where the state is not finite or its roll-outs are not.

        Raises:
            ModelError: a batch of another size than the last one without a reset.
        """
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        if self.last_plans and len(self.last_plans) != len(states):
            text = f"{len(states)} states after {len(self.last_plans)}"
            raise ModelError("x", text, remedy="call reset() before another batch")
        before = self.last_plans or [None] * len(states)
        p = np.broadcast_to(self._p, (len(states), self._p.shape[-1]))
        plans, seconds = [], []
        for row in zip(states, p, before, strict=True):
            begin = time.process_time()
            plans.append(self._plan(*row))
            seconds.append(time.process_time() - begin)
        self.last_plans, self.last_seconds = plans, np.array(seconds)
        u = np.array([np.full(self.nu, np.nan) if plan is None else plan.u[0] for plan in self.last_plans])
        return np.clip(u.reshape(len(states), self.nu), self.u_min, self.u_max).reshape(*batch, self.nu)

    def reset(self) -> None:
        """Drop the plans of the last call."""
        self.last_plans: list[Plan | None] = []
        self.last_seconds: Float[np.ndarray, " n"] = np.zeros(0)

    @property
    def last_slack(self) -> Float[np.ndarray, " n"]:
        """Largest planned excess of a state limit of each state of the last call."""
        return np.array([np.nan if plan is None else plan.slack for plan in self.last_plans])

    def _plan(self, x: np.ndarray, p: np.ndarray, before: Plan | None) -> Plan | None:
        if not np.isfinite(x).all():
            return None
        if before is not None:
            held = self._roll_out(x, p, np.vstack([before.u[1:], before.u[-1:]]))
            if held is not None:
                found = self.program.solve(x, p, held, warm=True)
                if found.solved and found.slack <= 1e-6 and found.cost <= held.cost * (1 + BETTER) + BETTER:
                    return found
                return self._best([held, found, *self._fresh(x, p)])
        return self._best(self._fresh(x, p))

    def _fresh(self, x: np.ndarray, p: np.ndarray) -> list[Plan]:
        """Plans from the roll-outs of the guesses, and those roll-outs."""
        middle = (np.maximum(self.u_min, -1e6) + np.minimum(self.u_max, 1e6)) / 2
        plans = []
        for policy in self.guesses or (lambda x: np.broadcast_to(middle, (len(x), self.nu)),):
            guess = self._roll_out(x, p, policy)
            if guess is not None:
                plans += [guess, self.program.solve(x, p, guess, warm=False)]
        return plans

    def _roll_out(self, x: np.ndarray, p: np.ndarray, inputs: Policy | np.ndarray) -> Plan | None:
        """The model's trajectory under a policy or an input sequence; None where it leaves the finite numbers."""
        states, u = np.empty((self.N + 1, self.nx)), np.empty((self.N, self.nu))
        states[0] = x
        for k in range(self.N):
            u[k] = inputs[k] if isinstance(inputs, np.ndarray) else np.asarray(inputs(states[k][None]), float)[0]
            u[k] = np.clip(u[k], self.u_min, self.u_max)
            states[k + 1] = np.array(self._step(states[k], u[k], p)).ravel()
            if not np.isfinite(states[k + 1]).all():
                return None
        return self.program.guess(states, u, p)

    @staticmethod
    def _best(plans: list[Plan]) -> Plan | None:
        """The cheapest of the solved plans and of the roll-outs, which keep the dynamics by themselves."""
        usable = [plan for plan in plans if (plan.solved or plan.status == "guess") and np.isfinite(plan.cost)]
        return min(usable, key=_price, default=None)


def _price(plan: Plan) -> float:
    """Cost by which plans are compared; a roll-out must be better by a margin than a local optimum."""
    return plan.cost if plan.solved else plan.cost + BETTER * (1 + abs(plan.cost))


def _step_function(plant: AbstractPlant, open_parameters: bool, substeps: int | None) -> Any:
    """The smooth step as a function of (x, u, p); p holds the parameters and disturbances, or is empty."""
    import casadi as ca

    n, nd = (len(plant.parameters), len(plant.d)) if open_parameters else (0, 0)
    x, u, p = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu), ca.SX.sym("p", n + nd)
    opened, values = {"parameters": open_parameters, "disturbances": open_parameters}, (p[:n], p[n:])
    given = values if open_parameters else ()
    if substeps is None:
        return ca.Function("step", [x, u, p], [plant.step_function(bounded=False, **opened)(x, u, *given)])
    rate = plant.rate_function(**opened)
    after = runge_kutta(lambda x, u: rate(x, u, *given), x, u, plant.dt, substeps)
    return ca.Function("step", [x, u, p], [after])


def _wrapped(plant: AbstractPlant, x: Any) -> Any:
    """The state with its angles in [-pi, pi), for costs that count them so."""
    import casadi as ca

    rows = ca.vertsplit(x)
    for i in plant.angles:
        rows[i] = rows[i] - 2 * ca.pi * ca.floor((rows[i] + ca.pi) / (2 * ca.pi))
    return ca.vertcat(*rows)


def _cost_functions(
    plant: AbstractPlant, stage: Callable[..., Any] | None, terminal: Callable[[Any], Any] | None, n: int
) -> tuple[Any, Any]:
    """Stage (x, u, p) and terminal (x, p) cost as CasADi functions."""
    import casadi as ca

    x, u, p = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu), ca.SX.sym("p", n)
    turned = _wrapped(plant, x)
    value = -plant.reward(turned, u) if stage is None else stage(turned, u)
    stage_function = ca.Function("stage", [x, u, p], [ca.SX(value)])
    return stage_function, None if terminal is None else ca.Function("terminal", [x, p], [ca.SX(terminal(turned))])
