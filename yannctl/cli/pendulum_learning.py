"""The main job on the pendulum, second half: learning behind the gate, its rivals, the closed loop on a rig."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch

from yannctl import hil, rl
from yannctl.controllers import DynamicProgramming, ExplicitMpc, NetworkController
from yannctl.models import Pendulum

from .figures import Trace
from .pendulum import Model, Networks, Plan


@dataclass(frozen=True)
class Gates:
    """Returns on the common starts at each gate of the training run.

    Args:
        steps: plant steps at each gate, shape (k,).
        learning: learning policy, shape (k, starts).
        deployed: deployed policy, shape (k, starts).
        promotions: gates at which the deployed policy changed.
    """

    steps: np.ndarray
    learning: np.ndarray
    deployed: np.ndarray
    promotions: tuple[int, ...]


def returns_of(plant: Pendulum, policy: Callable[[np.ndarray], np.ndarray], starts: np.ndarray) -> np.ndarray:
    """Return of a policy from each start over one episode.

    Args:
        plant: the plant.
        policy: u = policy(x), batched.
        starts: shape (n, nx).

    Returns:
        Sum of rewards, shape (n,).
    """
    return plant.rollout(policy, starts, plant.episode_steps).rewards.sum(axis=1)


def as_controller(policy: torch.nn.Module, plant: Pendulum) -> NetworkController:
    """Wrap a torch policy for numpy.

    Args:
        policy: module x (n, nx) -> u (n, nu).
        plant: gives the sizes.

    Returns:
        The controller.
    """
    return NetworkController(policy, plant.nx, plant.nu)


def tune(
    model: Model,
    networks: Networks,
    plan: Plan,
    starts: np.ndarray,
    folder: Path,
    progress: bool,
    show: Callable[[rl.GateEvent], None],
) -> tuple[rl.TrainingResult, Gates]:
    """Fine-tune the exact law on the true plant and watch both policies at every gate.

    Args:
        model: from `make_model`.
        networks: from `make_networks`.
        plan: sizes and seed.
        starts: common starts, shape (n, nx).
        folder: run folder.
        progress: whether to show a progress bar.
        show: called with each decision of the gate.

    Returns:
        The training result and the returns at each gate.
    """
    plant = model.plant
    rows: list[tuple[int, np.ndarray, np.ndarray, bool]] = []
    linear = returns_of(plant, ExplicitMpc(model.law, outside="nearest"), starts)

    def watch(event: rl.GateEvent, learning: torch.nn.Module, deployed: torch.nn.Module) -> None:
        show(event)
        promoted = event.decision == "promoted"
        now = returns_of(plant, as_controller(learning, plant), starts)
        before = rows[-1][2] if rows else linear
        after = returns_of(plant, as_controller(deployed, plant), starts) if promoted else before
        rows.append((event.step, now, after, promoted))

    result = rl.train(
        networks.actor,
        networks.critic,
        gymnasium.make("yannctl/Pendulum-v0"),
        algorithm="dsact",
        steps=plan.steps,
        seed=plan.seed,
        run_dir=folder,
        settings=rl.TrainingSettings().changed({"model.pretrain_updates": plan.model_updates}),
        progress=progress,
        on_gate=watch,
    )
    rows.insert(0, (0, linear, linear, False))
    steps, learning, deployed, promoted = zip(*rows, strict=True)
    changed = tuple(int(i) for i in np.flatnonzero(promoted))
    return result, Gates(np.array(steps), np.array(learning), np.array(deployed), changed)


@dataclass(frozen=True)
class Rivals:
    """What the tuned policy is compared with.

    Args:
        scratch: returns of DDPG from scratch after the same steps, shape (starts,).
        scratch_gated: the same run's policy if it had been deployed through the gate, shape (starts,).
        scratch_trace: its closed loop from hanging.
        optimum: returns of the best state feedback, by dynamic programming, shape (starts,).
        optimum_trace: its closed loop from hanging.
        seconds: wall time of each.
    """

    scratch: np.ndarray
    scratch_gated: np.ndarray
    scratch_trace: Trace
    optimum: np.ndarray
    optimum_trace: Trace
    seconds: dict[str, float]


HANGING = np.array([np.pi - 0.05, 0.0])


def trace_of(plant: Pendulum, policy: Callable[[np.ndarray], np.ndarray], start: np.ndarray, steps: int) -> Trace:
    """Run a policy from one start.

    Args:
        plant: the plant.
        policy: u = policy(x), batched.
        start: shape (nx,).
        steps: length.

    Returns:
        Time, states and inputs.
    """
    run = plant.rollout(policy, start[None], steps)
    return Trace(np.arange(steps + 1) * plant.dt, run.x[0], run.u[0])


def make_rivals(plan: Plan, starts: np.ndarray) -> Rivals:
    """Learn DDPG from scratch on the same number of steps, and compute the optimum.

    It runs in a process of its own beside the tuning, so it takes only plain data.

    Args:
        plan: sizes and seed.
        starts: common starts, shape (n, nx).

    Returns:
        Returns and closed loops of both.
    """
    plant = Pendulum()
    steps = plant.episode_steps
    begin = time.perf_counter()
    settings = rl.TrainingSettings(tensorboard=False)
    env = gymnasium.make("yannctl/Pendulum-v0")
    result = rl.train(None, None, env, algorithm="ddpg", steps=plan.steps, seed=plan.seed, settings=settings)
    scratch, gated = as_controller(result.learning, plant), as_controller(result.deployed, plant)
    learned = time.perf_counter()
    best = DynamicProgramming.solve(plant, nodes=plan.grid)
    optimum = returns_of(plant, best, starts)
    solved = time.perf_counter()
    return Rivals(
        scratch=returns_of(plant, scratch, starts),
        scratch_gated=returns_of(plant, gated, starts),
        scratch_trace=trace_of(plant, scratch, HANGING, steps),
        optimum=optimum,
        optimum_trace=trace_of(plant, best, HANGING, steps),
        seconds={"scratch": round(learned - begin, 3), "optimum": round(solved - learned, 3)},
    )


def run_rig(
    model: Model, policy: torch.nn.Module, plan: Plan, clock: Literal["lockstep", "realtime"]
) -> hil.LoopReport:
    """Close the loop with the tuned policy on a simulated rig, at the plant's own rate, the exact law as fallback.

    Args:
        model: from `make_model`.
        policy: the tuned policy.
        plan: length of the run.
        clock: "lockstep" (the same numbers in every run) or "realtime" (paced by the clock, to see the timing).

    Returns:
        Trajectory, counts and timing.
    """
    plant = model.plant
    rig = hil.SimulatedRig(plant, x0=HANGING, seed=plan.seed, clock=clock)
    seconds = plant.episode_steps * plant.dt if clock == "lockstep" else plan.loop_seconds
    return hil.run_loop(
        rig,
        as_controller(policy, plant),
        ticks=round(seconds / plant.dt),
        fallback=ExplicitMpc(model.law, outside="nearest"),
    )
