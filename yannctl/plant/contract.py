"""The plant contract as a program: `check_plant` names the first promise a plant breaks."""

from typing import TYPE_CHECKING

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike

if TYPE_CHECKING:
    import yannctl.plant

# Largest drift of a declared equilibrium in one period, as a share of each state's range.
EQUILIBRIUM_DRIFT = 1e-4
# Largest difference between the batched step and CasADi's own evaluation, relative to the values.
STEP_AGREEMENT = 1e-12
_SAMPLES = 16


def check_plant(plant: "yannctl.plant.AbstractPlant", seed: int = 0) -> None:
    """Check that a plant keeps the contract of `AbstractPlant`.

    Names are unique and have units; bounds have the right shape and order; period, episode and angles make sense;
    step, rate and reward are finite, batch, and agree with CasADi; angles come back wrapped; a declared equilibrium
    is one; the Jacobian there is finite; starts are reproducible.

    Args:
        plant: the plant.
        seed: seed of the sampled states and inputs.

    Raises:
        ModelError: the first breach, with the attribute's name.
    """
    _check_names(plant)
    _check_bounds(plant)
    _check_settings(plant)
    rng = np.random.default_rng(seed)
    starts = plant.sample_starts(_SAMPLES, rng)
    _check_starts(plant, starts, seed)
    span = plant.u_max - plant.u_min
    inputs = rng.uniform(plant.u_min - 0.1 * span, plant.u_max + 0.1 * span, (_SAMPLES, plant.nu))
    _check_maps(plant, starts, inputs)
    _check_equilibrium(plant)


def check_channels(field: str, value: ArrayLike, names: tuple[str, ...]) -> np.ndarray:
    """Give the array if every entry is a finite number, else name the first channel that is not.

    Args:
        field: name of the argument.
        value: values (..., channels).
        names: name of each channel.

    Returns:
        Float array (..., channels).

    Raises:
        ModelError: a wrong shape or an entry that is not finite.
    """
    array = np.asarray(value, dtype=float)
    if array.ndim == 0 or array.shape[-1] != len(names):
        raise ModelError(field, f"shape {array.shape}, expected (..., {len(names)}) for {', '.join(names)}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ModelError(
            field,
            f"{names[where[-1]]} is {array[where]}",
            index=where if array.ndim > 1 else int(where[-1]),
            remedy="check the sensor, the policy, or whether the simulation has diverged",
        )
    return array


def _require(holds: bool, field: str, problem: str, remedy: str = "") -> None:
    if not holds:
        raise ModelError(field, problem, remedy=remedy)


def _check_names(plant: "yannctl.plant.AbstractPlant") -> None:
    names = (*plant.x_names, *plant.u_names)
    _require(plant.nx > 0 and plant.nu > 0, "x_names, u_names", "a plant has at least one state and one input")
    _require(len(set(names)) == len(names), "x_names, u_names", f"names repeat: {names}", "give each its own")
    _require(len(plant.x_units) == plant.nx, "x_units", f"{len(plant.x_units)} units for {plant.nx} states")
    _require(len(plant.u_units) == plant.nu, "u_units", f"{len(plant.u_units)} units for {plant.nu} inputs")


def _check_bounds(plant: "yannctl.plant.AbstractPlant") -> None:
    for letter, n, finite in (("x", plant.nx, False), ("u", plant.nu, True)):
        low, high = np.asarray(getattr(plant, f"{letter}_min")), np.asarray(getattr(plant, f"{letter}_max"))
        for end, values in (("min", low), ("max", high)):
            _require(values.shape == (n,), f"{letter}_{end}", f"shape {values.shape}, expected {(n,)}")
            _require(not np.isnan(values).any(), f"{letter}_{end}", "holds NaN")
            _require(not finite or bool(np.isfinite(values).all()), f"{letter}_{end}", "an input bound is infinite")
        wrong = np.flatnonzero(low >= high)
        if wrong.size:
            raise ModelError(f"{letter}_min", f"{low[wrong[0]]} is not below {high[wrong[0]]}", index=int(wrong[0]))


def _check_settings(plant: "yannctl.plant.AbstractPlant") -> None:
    _require(bool(np.isfinite(plant.dt) and plant.dt > 0), "dt", f"is {plant.dt}, expected a positive number")
    _require(plant.episode_steps >= 1, "episode_steps", f"is {plant.episode_steps}, expected at least 1")
    _require(plant.substeps >= 1, "substeps", f"is {plant.substeps}, expected at least 1")
    _require(all(0 <= i < plant.nx for i in plant.angles), "angles", f"{plant.angles} are not indices of the states")


def _check_starts(plant: "yannctl.plant.AbstractPlant", starts: np.ndarray, seed: int) -> None:
    _require(starts.shape == (_SAMPLES, plant.nx), "sample_starts", f"shape {starts.shape}")
    _require(bool(np.isfinite(starts).all()), "sample_starts", "gave a state that is not finite")
    first, second = plant.sample_starts(3, seed), plant.sample_starts(3, seed)
    _require(
        np.array_equal(first, second), "sample_starts", "two calls with one seed differ", "draw from the seed only"
    )


def _check_maps(plant: "yannctl.plant.AbstractPlant", starts: np.ndarray, inputs: np.ndarray) -> None:
    after = plant.step(starts, inputs)
    function = plant.step_function()
    expected = np.array([np.asarray(function(x, u)).ravel() for x, u in zip(starts, inputs, strict=True)])
    _require(after.shape == starts.shape, "step", f"shape {after.shape}, expected {starts.shape}")
    _require(bool(np.isfinite(after).all()), "step", "a next state is not finite")
    _require(np.allclose(after, expected, rtol=STEP_AGREEMENT, atol=STEP_AGREEMENT), "step", "differs from CasADi's")
    wrapped = after[:, list(plant.angles)]
    _require(bool(((wrapped >= -np.pi) & (wrapped < np.pi)).all()), "angles", "leave [-pi, pi) in a step")
    clipped = plant.step(starts, np.clip(inputs, plant.u_min, plant.u_max))
    _require(np.array_equal(after, clipped), "step", "does not clip its input to the bounds")
    square = plant.step(starts.reshape(4, -1, plant.nx), inputs.reshape(4, -1, plant.nu))
    _require(np.array_equal(square.reshape(after.shape), after), "step", "depends on the batch's shape")
    _require(bool(np.isfinite(plant.rate(starts, inputs)).all()), "rhs", "a rate is not finite")
    rewards = plant.rewards(starts, inputs)
    _require(rewards.shape == (_SAMPLES,) and bool(np.isfinite(rewards).all()), "reward", "is not a finite number")


def _check_equilibrium(plant: "yannctl.plant.AbstractPlant") -> None:
    import casadi as ca

    if plant.x_equilibrium is None or plant.u_equilibrium is None:
        return
    x, u = plant.x_equilibrium, plant.u_equilibrium
    _require(x.shape == (plant.nx,), "x_equilibrium", f"shape {x.shape}, expected {(plant.nx,)}")
    _require(u.shape == (plant.nu,), "u_equilibrium", f"shape {u.shape}, expected {(plant.nu,)}")
    _require(bool(((u >= plant.u_min) & (u <= plant.u_max)).all()), "u_equilibrium", "is outside the input bounds")
    step = plant.step_function(bounded=False)
    drift = np.abs(np.asarray(step(x, u)).ravel() - x)
    width = np.where(np.isfinite(plant.x_max - plant.x_min), plant.x_max - plant.x_min, 1.0)
    worst = int(np.argmax(drift / width))
    if drift[worst] > EQUILIBRIUM_DRIFT * width[worst]:
        raise ModelError(
            "x_equilibrium",
            f"{plant.x_names[worst]} drifts by {drift[worst]:.3g} {plant.x_units[worst]} in one period",
            index=worst,
            remedy="solve f(x, u) = 0, or declare no equilibrium",
        )
    jacobian = ca.Function("jacobian", step.sx_in(), [ca.jacobian(step(*step.sx_in()), ca.vertcat(*step.sx_in()))])
    _require(
        bool(np.isfinite(np.asarray(jacobian(x, u))).all()), "step_map", "its Jacobian at the equilibrium is not finite"
    )
