"""What `gymnasium.make` and `gymnasium.make_vec` call for the registered ids."""

import dataclasses
from typing import Any

from yannctl import models
from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .environment import PlantEnvironment, Render
from .simulation import Filter, Schedule, Starts, Variation
from .vector_environment import PlantVectorEnvironment


def make_environment(
    plant: "str | AbstractPlant",
    render_mode: Render = None,
    randomise: bool = False,
    disturb: bool = False,
    noise: float = 0.0,
    schedule: Schedule = None,
    hold: int = 10,
    filter: Filter | None = None,
    trip_cost: float | None = None,
    actuators: bool = False,
    starts: Starts | None = None,
    **fields: Any,
) -> PlantEnvironment:
    """Make one environment: `gymnasium.make("yannctl/CSTR-v0", set_point=0.6, noise=1.0)`.

    Args:
        plant: name of a class in `yannctl.models`, which the registration gives, or a plant.
        render_mode: None or "rgb_array".
        randomise: draw uncertain parameters for each episode.
        disturb: draw disturbances in their ranges.
        noise: multiple of the plant's sensor noise.
        schedule: references ((step, values), ...), "random", or None.
        hold: mean number of steps between two draws of disturbances or random references.
        filter: u_safe = filter(x, u), or None.
        trip_cost: cost of a trip, or None for that of staying tripped until the end.
        actuators: see the plant through the lag and command delay of its data sheet; they become states.
        starts: draws starts (rng, n) -> (n, nx), or None for the plant's own.
        fields: fields of the plant's class, as its data sheet names them.

    Returns:
        The environment.

    Raises:
        ModelError: an unknown field, or one out of its sense.
    """
    variation = Variation(randomise, disturb, noise, schedule, hold)
    return PlantEnvironment(_plant_of(plant, fields, actuators), render_mode, variation, filter, trip_cost, starts)


def make_vector_environment(
    plant: "str | AbstractPlant",
    num_envs: int = 1,
    render_mode: Render = None,
    randomise: bool = False,
    disturb: bool = False,
    noise: float = 0.0,
    schedule: Schedule = None,
    hold: int = 10,
    filter: Filter | None = None,
    trip_cost: float | None = None,
    actuators: bool = False,
    **fields: Any,
) -> PlantVectorEnvironment:
    """Make many environments that step together: `gymnasium.make_vec("yannctl/CSTR-v0", num_envs=1000)`.

    Args:
        plant: name of a class in `yannctl.models`, which the registration gives, or a plant.
        num_envs: number of episodes at once.
        render_mode: None or "rgb_array".
        randomise: draw uncertain parameters for each episode.
        disturb: draw disturbances in their ranges.
        noise: multiple of the plant's sensor noise.
        schedule: references ((step, values), ...), "random", or None.
        hold: mean number of steps between two draws of disturbances or random references.
        filter: u_safe = filter(x, u) on the whole batch, or None.
        trip_cost: cost of a trip, or None for that of staying tripped until the end.
        actuators: see the plant through the lag and command delay of its data sheet; they become states.
        fields: fields of the plant's class, as its data sheet names them.

    Returns:
        The vector environment.

    Raises:
        ModelError: an unknown field, or one out of its sense.
    """
    variation = Variation(randomise, disturb, noise, schedule, hold)
    return PlantVectorEnvironment(
        _plant_of(plant, fields, actuators), num_envs, render_mode, variation, filter, trip_cost
    )


def _plant_of(plant: "str | AbstractPlant", fields: dict[str, Any], actuators: bool) -> AbstractPlant:
    if not isinstance(plant, AbstractPlant):
        kind = getattr(models, plant)
        known = [field.name for field in dataclasses.fields(kind) if field.init]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ModelError(unknown[0], f"is no field of {plant}", remedy=f"the fields are {', '.join(known)}")
        made: AbstractPlant = kind(**fields)
    elif fields:
        raise ModelError(next(iter(fields)), "a plant was given", remedy="give the field to the plant")
    else:
        made = plant
    return made.actuated() if actuators else made
