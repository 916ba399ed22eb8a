"""Closed loops of all starts of a world at once, the controller's whole batch in one call a step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yannctl.controllers import AbstractController
from yannctl.controllers.memory import tell
from yannctl.types import Float

from .scenario import Scenario, World


@dataclass(frozen=True)
class Runs:
    """Closed-loop runs of one controller.

    Args:
        x: true states (n, steps + 1, nx) [x_units].
        u: inputs really applied (n, steps, nu) [u_units].
        cost: stage costs (n, steps).
        clipped: share of the inputs that the actuator had to clip.
        missing: share of the inputs that were not finite, for which the last one was held.
        seconds: processor time of the controller a state and step.
    """

    x: Float[np.ndarray, "n steps1 nx"]
    u: Float[np.ndarray, "n steps nu"]
    cost: Float[np.ndarray, "n steps"]
    clipped: float
    missing: float
    seconds: float


def simulate(
    scenario: Scenario, world: World, controller: AbstractController, tick: Callable[[], object] = lambda: None
) -> Runs:
    """Run a controller from all starts of a world.

    The runs go on beyond a violated limit, so that its price shows in the cost; a state that is no longer finite
    stays what it was. An input that is not finite is replaced by the last one (the middle of the range at first).

    Args:
        scenario: the scenario.
        world: what is random.
        controller: called with the measured states (n, nx).
        tick: called once a step, for a progress bar.

    Returns:
        The runs.
    """
    plant, n, steps = scenario.plant, len(world.x0), scenario.steps
    x, u = np.empty((n, steps + 1, plant.nx)), np.empty((n, steps, plant.nu))
    cost = np.empty((n, steps))
    x[:, 0] = world.x0
    last = np.broadcast_to((plant.u_min + plant.u_max) / 2, (n, plant.nu))
    clipped = missing = 0.0
    seconds = 0.0
    controller.reset()
    for k in range(steps):
        begin = time.process_time()
        wanted = controller(x[:, k] + world.noise[:, k])
        seconds += time.process_time() - begin
        absent = ~np.isfinite(wanted).all(axis=1)
        applied = wanted.copy()
        applied[absent] = last[absent]
        applied = plant.clip(applied)
        clipped += float((np.abs(applied - wanted) > 1e-6 * (plant.u_max - plant.u_min)).any(axis=1).mean())
        missing += float(absent.mean())
        tell(controller, applied)
        u[:, k] = last = applied
        cost[:, k] = -plant.reward_tape.evaluate(x[:, k], applied)[:, 0]
        after = plant.varied_step_tape.evaluate(x[:, k], applied, world.p, world.d[:, k])
        lost = ~np.isfinite(after).all(axis=1)
        after[lost] = x[lost, k]
        x[:, k + 1] = after
        tick()
    return Runs(x, u, cost, clipped / steps, missing / steps, seconds / (n * steps))
