"""The main job on the pendulum, first half: model, law, exact networks, C code.

Each stage is a function from the results before it to a frozen result of its own; `demonstration` runs and times them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import yannctl
from yannctl import export
from yannctl.models import Pendulum
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw
from yannctl.yann import encode_actor, encode_critic, extend, verify, verify_critic

from .checks import LawCheck, compare_with_qp


@dataclass(frozen=True)
class Plan:
    """How much work each stage does.

    Args:
        seed: of everything random.
        steps: steps on the plant, for the tuned and for the scratch policy alike.
        model_updates: gradient steps on the model before the tuned policy's first step.
        points: random points of the exactness checks.
        qp_points: how many of them are solved by the online QP.
        starts: common starts on which policies are compared.
        grid: nodes a side of the dynamic programming grid.
        loop_seconds: length of the closed loop in real time [s].
    """

    seed: int = 0
    steps: int = 3000
    model_updates: int = 10_000
    points: int = 100_000
    qp_points: int = 20_000
    starts: int = 500
    grid: int = 401
    loop_seconds: float = 6.0


SHORT = Plan(steps=600, model_updates=1000, points=20_000, qp_points=4000, starts=200, grid=161, loop_seconds=3.0)


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
