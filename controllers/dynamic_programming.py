"""The best state feedback of a plant with at most two states, by value iteration on a grid.

Bellman's sweep on the nodes x, over a grid of inputs u (Bellman 1957; the value between nodes is interpolated):

    V_k(x) = max_u  r(x, u) + gamma V_{k+1}(step(x, u)).

It is the yardstick of every other controller of such a plant: what remains is the error of the grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .base import AbstractController, as_states, refuse_reference
from .state_grid import StateGrid

CHUNK = 1 << 18  # successors computed at once
POLICY_SWEEPS = 20  # sweeps of a fixed policy between two searches for a better one (discounted case)
REFINEMENTS, REFINED_INPUTS = 2, 9  # finer input grids around the best one when the controller is called
Limits = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # states (n, nx) -> lower and upper inputs (n, nu)


class _Model(NamedTuple):
    """Rewards and interpolated successors of every node and input."""

    rewards: np.ndarray
    base: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class GridError:
    """Difference of the values of two grids at random states.

    Args:
        mean: mean absolute difference.
        max: largest absolute difference.
        relative: mean absolute difference over the mean absolute value.
    """

    mean: float
    max: float
    relative: float


class DynamicProgramming(AbstractController):
    """Greedy one-step look-ahead on the value of a grid: u = argmax_u r(x, u) + gamma V(step(x, u)).

    The search runs over the input grid and twice over a finer one around the best input. Make one with `solve`.

    Args:
        plant: the plant.
        grid: nodes of the states.
        values: V of the next state in the grid's padded layout.
        shares: input grid (n_inputs, nu), as shares of the way from the lower to the upper limits.
        limits: of the inputs at states.
        gamma: discount of the next value.
        start_values: the value iteration's estimate of the return from the first step on, padded layout.
        sweeps: sweeps done.
        status: "complete", or "partial" when the sweeps ran out before the tolerance was met.
        message: what happened and what to do about it.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        grid: StateGrid,
        values: Float[np.ndarray, " n_padded"],
        shares: Float[np.ndarray, "n_inputs nu"],
        limits: Limits,
        gamma: float,
        start_values: Float[np.ndarray, " n_padded"],
        sweeps: int,
        status: str,
        message: str,
    ) -> None:
        self.plant, self.grid, self.values, self.gamma = plant, grid, values, gamma
        self.shares, self.limits = shares, limits
        self.start_values, self.sweeps, self.status, self.message = start_values, sweeps, status, message
        self.nx, self.nu = plant.nx, plant.nu
        self._spacing = 1 / (round(len(shares) ** (1 / plant.nu)) - 1)

    @classmethod
    def solve(
        cls,
        plant: AbstractPlant,
        nodes: int = 401,
        inputs: int = 41,
        gamma: float | None = None,
        steps: int | None = None,
        tolerance: float = 1e-4,
        max_sweeps: int = 5000,
        limits: Limits | None = None,
        progress: bool = False,
        box: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> "DynamicProgramming":
        """Compute the value of every node.

        Without `gamma` it makes exactly `steps` backward sweeps of the undiscounted rewards, so `value(x)` estimates
        the best return of an episode; the controller then looks ahead on the value with steps - 1 steps to go. With
        `gamma` it sweeps until V changes by less than tolerance (1 - gamma) and so lies within `tolerance` of the
        grid's fixed point.

        Args:
            plant: plant with one or two states, one or two inputs, and finite bounds.
            nodes: nodes a state.
            inputs: inputs tried an axis.
            gamma: discount in (0, 1); None for the undiscounted episode.
            steps: length of the episode; default `plant.episode_steps`.
            tolerance: of the discounted value, units of the reward.
            max_sweeps: searches over all inputs at most (discounted case).
            limits: lower and upper inputs at states, for inputs that not every state allows; None for the plant's.
            progress: show a bar on a terminal.
            box: lower and upper states (nx,) that the grid spans; None for the plant's bounds.

        Returns:
            The controller.

        Raises:
            ModelError: a plant that is too large or unbounded, or a setting out of range.
        """
        _check_settings(plant, inputs, gamma, steps)
        grid = StateGrid.of(plant, nodes, box)
        shares = np.array(list(product(*[np.linspace(0.0, 1.0, inputs)] * plant.nu)))
        allowed = _limits_of(plant) if limits is None else limits
        model = _successors(plant, grid, shares, allowed, progress)
        if gamma is None:
            horizon = plant.episode_steps if steps is None else steps
            start, following = _backward(grid, model, horizon, progress)
            message = f"{horizon} backward sweeps on {grid.n_nodes} nodes"
            return cls(plant, grid, following, shares, allowed, 1.0, start, horizon, "complete", message)
        values, sweeps, change = _stationary(grid, model, gamma, tolerance, max_sweeps, progress)
        bound = change * gamma / (1 - gamma)
        status = "complete" if bound <= tolerance else "partial"
        message = f"value within {bound:.3g} of the grid's fixed point" + (
            "" if bound <= tolerance else "; raise max_sweeps"
        )
        return cls(plant, grid, values, shares, allowed, gamma, values, sweeps, status, message)

    def __call__(self, x: ArrayLike, reference: ArrayLike | None = None) -> Float[np.ndarray, "*batch nu"]:
        """Search the best input at every state.

        Args:
            x: states (..., nx).
            reference: must be None, the reward holds the reference.

        Returns:
            Inputs (..., nu).
        """
        refuse_reference(reference)
        states, batch = as_states(x, self.nx)
        low, high = self.limits(states)
        best = self._best(states, low, high, np.broadcast_to(self.shares, (len(states), *self.shares.shape)))
        reach = self._spacing
        for _ in range(REFINEMENTS):
            offsets = np.array(list(product(*[np.linspace(-reach, reach, REFINED_INPUTS)] * self.nu)))
            best = self._best(states, low, high, np.clip(best[:, None, :] + offsets, 0.0, 1.0))
            reach = reach * 2 / (REFINED_INPUTS - 1)
        return _between(low, high, best[:, None, :]).reshape(*batch, self.nu)

    def reset(self) -> None:
        """Nothing is remembered: the policy is stationary."""

    def value(self, x: ArrayLike) -> Float[np.ndarray, "..."]:
        """Interpolate the value iteration's estimate of the best return from x.

        Args:
            x: states (..., nx).

        Returns:
            Returns (...).
        """
        states, batch = as_states(x, self.nx)
        return self.grid.interpolate(self.start_values, states).reshape(batch)

    def grid_error(self, coarser: "DynamicProgramming", n: int = 2000, seed: int = 0) -> GridError:
        """Compare the values of two grids at random starts of the plant.

        Linear interpolation errs with the square of the spacing, so half the spacing leaves about a third of the
        difference as the error of the finer grid.

        Args:
            coarser: the solution on another grid.
            n: states drawn with `plant.sample_starts`.
            seed: of the draw.

        Returns:
            Mean and largest difference.
        """
        x = np.asarray(self.plant.sample_starts(n, seed), float)
        fine, coarse = self.value(x), coarser.value(x)
        gap = np.abs(fine - coarse)
        return GridError(float(gap.mean()), float(gap.max()), float(gap.mean() / max(np.abs(fine).mean(), 1e-300)))

    def _best(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """The best of the shares (n, k, nu) between the limits at every state (n, nx)."""
        n, k, _ = shares.shape
        states = np.repeat(x, k, axis=0)
        flat = _between(low, high, shares).reshape(n * k, self.nu)
        following = self.grid.interpolate(self.values, self.plant.step(states, flat))
        score = (self.plant.rewards(states, flat) + self.gamma * following).reshape(n, k)
        return shares[np.arange(n), score.argmax(axis=1)]


def _check_settings(plant: AbstractPlant, inputs: int, gamma: float | None, steps: int | None) -> None:
    """Refuse settings out of range."""
    if plant.nu > 2 or not np.all(np.isfinite([plant.u_min, plant.u_max])):
        raise ModelError("plant", f"has {plant.nu} inputs", remedy="it takes one or two inputs with finite bounds")
    if inputs < 2:
        raise ModelError("inputs", f"got {inputs}", remedy="try at least 2 inputs")
    if gamma is not None and not 0 < gamma < 1:
        raise ModelError("gamma", f"got {gamma}", remedy="use a number between 0 and 1, or None for an episode")
    if gamma is not None and steps is not None:
        raise ModelError("steps", "is given together with gamma", remedy="give one of them")
    if steps is not None and steps < 1:
        raise ModelError("steps", f"got {steps}", remedy="use at least 1")


def _limits_of(plant: AbstractPlant) -> Limits:
    """The plant's input bounds at every state."""
    low, high = np.asarray(plant.u_min, float), np.asarray(plant.u_max, float)
    return lambda x: (np.broadcast_to(low, (len(x), plant.nu)), np.broadcast_to(high, (len(x), plant.nu)))


def _between(low: np.ndarray, high: np.ndarray, shares: np.ndarray) -> Float[np.ndarray, "n k nu"]:
    """Inputs at shares (n, k, nu) of the way between limits (n, nu), never beyond them."""
    return np.clip((1 - shares) * low[:, None, :] + shares * high[:, None, :], low[:, None, :], high[:, None, :])


def _successors(plant: AbstractPlant, grid: StateGrid, shares: np.ndarray, limits: Limits, progress: bool) -> _Model:
    """Rewards, cells and positions of the successors of every node under every input."""
    from tqdm import tqdm

    nodes, k = grid.nodes(), len(shares)
    model = _Model(
        np.empty((len(nodes), k), np.float32),
        np.empty((len(nodes), k), np.int32),
        np.empty((len(nodes), k, 2), np.float32),
    )
    size = max(1, CHUNK // k)
    for start in tqdm(range(0, len(nodes), size), desc="successors", disable=None if progress else True):
        some = nodes[start : start + size]
        x = np.repeat(some, k, axis=0)
        u = _between(*limits(some), np.broadcast_to(shares, (len(some), *shares.shape))).reshape(len(x), -1)
        base, weight = grid.locate(plant.step(x, u))
        rows = slice(start, start + len(some))
        model.base[rows] = base.reshape(-1, k)
        model.weight[rows] = weight.reshape(-1, k, 2)
        model.rewards[rows] = plant.rewards(x, u).reshape(-1, k)
    return model


def _backward(grid: StateGrid, model: _Model, steps: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Exactly `steps` sweeps from V = 0: the values of the first and of the second step."""
    from tqdm import tqdm

    from .grid_kernels import store, sweep_best

    values, following = grid.padded(), grid.padded()
    out, choice = np.empty(grid.n_nodes), np.empty(grid.n_nodes, np.int64)
    for _ in tqdm(range(steps), desc="backward sweeps", disable=None if progress else True):
        following[:] = values
        sweep_best(values, *model, 1.0, grid.stride, out, choice)
        store(out, grid.count, grid.periodic, grid.stride, values)
    return values, following


def _stationary(
    grid: StateGrid, model: _Model, gamma: float, tolerance: float, max_sweeps: int, progress: bool
) -> tuple[np.ndarray, int, float]:
    """Modified policy iteration: search all inputs, then sweep the policy found (Puterman 1994, section 6.5)."""
    from tqdm import tqdm

    from .grid_kernels import store, sweep_best, sweep_chosen

    values = grid.padded()
    out, choice = np.empty(grid.n_nodes), np.empty(grid.n_nodes, np.int64)
    change, sweeps = np.inf, 0
    with tqdm(total=max_sweeps, desc="value sweeps", disable=None if progress else True) as bar:
        while sweeps < max_sweeps:
            sweep_best(values, *model, gamma, grid.stride, out, choice)
            change = store(out, grid.count, grid.periodic, grid.stride, values)
            sweeps += 1
            bar.update()
            if change * gamma / (1 - gamma) <= tolerance:
                break
            for _ in range(POLICY_SWEEPS):
                sweep_chosen(values, *model, gamma, grid.stride, out, choice)
                store(out, grid.count, grid.periodic, grid.stride, values)
    return values, sweeps, float(change)
