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
    uncertain fields, disturbances and references are fields in their range that the formulas really depend on;
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
    _check_ranges(plant)
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


def check_possible(plant: "yannctl.plant.AbstractPlant", x: np.ndarray) -> None:
    """Refuse a state that cannot be, such as 76.9 for a temperature in kelvin.

    Args:
        plant: the plant.
        x: finite states (..., nx) [x_units].

    Raises:
        ModelError: naming the first channel outside `possible_min` to `possible_max`.
    """
    if x.size == 0 or plant.possible_min is None or plant.possible_max is None:
        return
    outside = (x < plant.possible_min) | (x > plant.possible_max)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        i = where[-1]
        low, high = plant.possible_min[i], plant.possible_max[i]
        text = f"{plant.x_names[i]} is {x[where]:.6g}, but in {plant.x_units[i]} it can only be {low:g} to {high:g}"
        index = where if x.ndim > 1 else i
        raise ModelError("x", text, index=index, remedy=f"check its unit (here {plant.x_units[i]}) or the sensor")


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
    periodic = all(0 <= i < plant.nx and i not in plant.angles and 0 < period < np.inf for i, period in plant.periods)
    _require(periodic, "periods", f"{plant.periods} are not (index of a state that is no angle, positive period)")


def _check_ranges(plant: "yannctl.plant.AbstractPlant") -> None:
    nx, nu = plant.nx, plant.nu
    for field, n in (("x_noise", nx), ("actuator_lag", nu), ("possible_min", nx), ("possible_max", nx)):
        value = getattr(plant, field)
        _require(value is None or np.asarray(value).shape == (n,), field, f"expected None or shape {(n,)}")
    _require(plant.command_delay >= 0, "command_delay", f"is {plant.command_delay}, expected 0 or more periods")
    _require(all(0 <= i < nx for i in plant.hard_states), "hard_states", "are not indices of the states")
    nominal = plant.nominal
    functions = {
        "uncertain": lambda: nominal.step_function(parameters=True),
        "disturbances": lambda: nominal.step_function(disturbances=True),
        "references": lambda: nominal.reward_function(references=True),
    }
    for group, function in functions.items():
        ranges = getattr(nominal, group)
        for name, interval in ranges.items():
            value = getattr(nominal, name, None)
            _require(isinstance(value, int | float), group, f"{name} is {value!r}, expected a field with a number")
            inside = interval.low <= float(value or 0.0) <= interval.high
            _require(inside, group, f"{name} = {value} is not within {interval.low} to {interval.high}")
        used = set(function().jac_sparsity(0, 2).get_col()) if ranges else set()
        idle = [name for i, name in enumerate(ranges) if i not in used]
        _require(not idle, group, f"no formula depends on {', '.join(idle)}", "write the formulas with self.<field>")


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
    applied = plant.clip(inputs)
    _require(bool(((applied >= plant.u_min) & (applied <= plant.u_max)).all()), "saturate", "leaves the input bounds")
    if plant.input_rows is not None:
        G, h = plant.input_rows
        _require(bool((applied @ G.T <= h + STEP_AGREEMENT).all()), "saturate", "leaves the input rows")
    clipped = plant.step(starts, applied)
    agree = np.allclose(after, clipped, rtol=STEP_AGREEMENT, atol=STEP_AGREEMENT)
    _require(agree, "step", "does not clip its input to the bounds")
    square = plant.step(starts.reshape(4, -1, plant.nx), inputs.reshape(4, -1, plant.nu))
    _require(np.array_equal(square.reshape(after.shape), after), "step", "depends on the batch's shape")
    _require(bool(np.isfinite(plant.rate(starts, inputs)).all()), "rhs", "a rate is not finite")
    rewards = plant.rewards(starts, inputs)
    _require(rewards.shape == (_SAMPLES,) and bool(np.isfinite(rewards).all()), "reward", "is not a finite number")


def _check_equilibrium(plant: "yannctl.plant.AbstractPlant") -> None:
    import casadi as ca

    plant = plant.nominal  # a perturbed specimen keeps the operating point of the data sheet
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
