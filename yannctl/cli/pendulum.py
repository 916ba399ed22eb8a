"""The main job on the pendulum, stage by stage: model, law, networks, learning, evaluation, C code, closed loop.

Each stage is a function from the results before it to a frozen result of its own; `demonstration` runs and times them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch

import yannctl
from yannctl import export, hil, rl
from yannctl.controllers import DynamicProgramming, ExplicitMpc, NetworkController
from yannctl.models import Pendulum
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw
from yannctl.yann import encode_actor, encode_critic, extend, verify, verify_critic

from .checks import LawCheck, compare_with_qp
from .figures import Trace


@dataclass(frozen=True)
class Plan:
    """How much work each stage does.

    Args:
        seed: of everything random.
        steps: steps on the plant, for the tuned and for the scratch policy alike.
        points: random points of the exactness checks.
        qp_points: how many of them are solved by the online QP.
        starts: common starts on which policies are compared.
        grid: nodes a side of the dynamic programming grid.
        loop_seconds: length of the closed loop in real time [s].
    """

    seed: int = 0
    steps: int = 4000
    points: int = 100_000
    qp_points: int = 20_000
    starts: int = 1000
    grid: int = 401
    loop_seconds: float = 6.0


SHORT = Plan(steps=600, points=20_000, qp_points=4000, starts=200, grid=161, loop_seconds=3.0)


@dataclass(frozen=True)
class Model:
    """Plant, optimal control problem and its law.

    Args:
        plant: the pendulum.
        ocp: linear model with weights and bounds.
        law: explicit law.
    """

    plant: Pendulum
    ocp: Ocp
    law: PwaLaw


@dataclass
class Clock:
    """Seconds a stage.

    Args:
        say: called with a line when a stage begins and ends.
        seconds: filled as stages end.
    """

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Time a stage.

        Args:
            name: key in `seconds`.
            text: what the stage does, for the screen.
        """
        start = time.perf_counter()
        self.say(f"{text} ...")
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        self.say(f"  done in {self.seconds[name]:.1f} s")


def pendulum_problem() -> tuple[Pendulum, Ocp]:
    """State the control problem: upright linearisation, weights equal to the reward, speed and angle bounds soft.

    Returns:
        The plant and the problem.
    """
    plant = Pendulum()
    linear = yannctl.linearise(plant, x=[0.0, 0.0], u=[0.0])
    ocp = Ocp(
        linear,
        Q=np.diag([1.0, 0.1]),
        R=[[0.001]],
        N=10,
        gamma=0.99,
        x_min=plant.x_min,
        x_max=plant.x_max,
        u_min=plant.u_min,
        u_max=plant.u_max,
        soft="l1l2",
        terminal="lqr",
    )
    return plant, ocp


def make_model() -> Model:
    """Linearise, condense and solve.

    Returns:
        Plant, problem and law.
    """
    plant, ocp = pendulum_problem()
    return Model(plant, ocp, yannctl.solve_mpqp(yannctl.condense(ocp)))


def check_law(model: Model, plan: Plan) -> tuple[LawCheck, int]:
    """Compare the law with the online QP and audit its closure.

    Args:
        model: from `make_model`.
        plan: sizes and seed.

    Returns:
        The comparison and the number of open facets.
    """
    return compare_with_qp(model.law, plan.points, plan.seed, plan.qp_points), model.law.audit().n_open


@dataclass(frozen=True)
class Networks:
    """The exact networks and how far they are from the law.

    Args:
        actor: the law as a torch module.
        critic: the exact action value as a torch module.
        actor_error: largest relative difference from the law, by form.
        critic_error: largest relative difference from the QP with its first input fixed.
        equal_at_start: whether the trainable policy gives the same bits as the law before any training.
    """

    actor: torch.nn.Module
    critic: torch.nn.Module
    actor_error: dict[str, float]
    critic_error: float
    equal_at_start: bool


def make_networks(model: Model, plan: Plan) -> Networks:
    """Compile actor and critic and verify both.

    Args:
        model: from `make_model`.
        plan: sizes and seed.

    Returns:
        Networks with their errors.
    """
    errors = {}
    for form in ("gather", "five_layer"):
        found = verify(
            encode_actor(model.law, form=form),
            model.law,
            n_random=plan.points * 4 // 5,
            n_facet=plan.points // 5,
            seed=plan.seed,
        )
        errors[form] = found.max_relative_error
    actor, critic = encode_actor(model.law, form="gather"), encode_critic(model.ocp)
    critic_error = verify_critic(critic, model.ocp, n=plan.qp_points // 10, seed=plan.seed).max_relative_error
    law = model.law
    theta = np.random.default_rng(plan.seed + 1).uniform(law.theta_min, law.theta_max, (plan.points, law.ntheta))
    with torch.no_grad():
        start = extend(actor, model.plant, seed=plan.seed)(torch.from_numpy(theta)).numpy()
    return Networks(actor, critic, errors, critic_error, bool(np.array_equal(start, law(theta))))


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


def tune(model: Model, networks: Networks, plan: Plan, starts: np.ndarray, folder: Path, progress: bool):
    """Fine-tune the exact law on the true plant and watch both policies at every gate.

    Args:
        model: from `make_model`.
        networks: from `make_networks`.
        plan: sizes and seed.
        starts: common starts, shape (n, nx).
        folder: run folder.
        progress: whether to show a progress bar.

    Returns:
        The training result and the returns at each gate.
    """
    plant = model.plant
    rows: list[tuple[int, np.ndarray, np.ndarray, bool]] = []
    linear = returns_of(plant, ExplicitMpc(model.law, outside="nearest"), starts)

    def watch(event: rl.GateEvent, learning: torch.nn.Module, deployed: torch.nn.Module) -> None:
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


def mean_interval(difference: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences with its 95 % confidence interval, m ± 1.96 s/√n.

    Args:
        difference: paired differences, shape (n,).

    Returns:
        Mean, lower and upper end.
    """
    mean = float(difference.mean())
    half = 1.96 * float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return mean, mean - half, mean + half


def run_c(model: Model, plan: Plan, folder: Path) -> tuple[export.CExport, export.CCheck]:
    """Export the law as C, compile it and compare it with Python.

    Args:
        model: from `make_model`.
        plan: sizes and seed.
        folder: where the C files go.

    Returns:
        The export and the comparison (skipped where there is no compiler).
    """
    code = export.write_c(model.law, folder)
    return code, export.check_c(code, model.law, n_points=plan.points, seed=plan.seed)


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
