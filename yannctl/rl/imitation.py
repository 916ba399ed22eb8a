"""Imitation of a teacher on the model: the states are those that the policy itself visits (DAgger).

In rounds: the present policy drives simulated episodes, behind the filter and with the same starts and parameters as
all training on the model; the teacher, usually a planner that is too slow for the plant, is asked about some of the
states on the way, with the parameters of their episode; the policy network is fitted to all answers so far,

    min_f  E | base(x) + 2 authority tanh f(phi(x)) - a |^2,    a the teacher's input in half ranges.

States that cost much are asked about more often, and those of episodes in which the policy does worse than the law. A
filter may hold a policy for good that is nearly right at a border: on the robot from one start in some hundreds, which
is rare and yet costs much. The worst of these episodes are driven again in the next round, and slow updates of the
learner follow (`model_training`), since its critics know what the filter does and the teacher does not.

A teacher may answer with the first K inputs of a plan. Each of them is then a label for the state that the plan passes
on the model, which costs no solve. A tenth of the states asked is held out and measures how well the teacher is met.

Source: Ross, Gordon and Bagnell, "A reduction of imitation learning and structured prediction to no-regret online
learning", AISTATS 2011, arXiv 1011.0686; here without the mixture of its first rounds, whose part the plans' states
have.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from yannctl.errors import ModelError

from .descent import Adam, FlatWeights
from .model_episodes import Draw
from .model_settings import ImitationSettings
from .networks import Actor
from .simulation import Simulation, Variation

if TYPE_CHECKING:
    from .run import Run

Policy = Callable[[np.ndarray], np.ndarray]
# (states (n, nx), the present policy, parameters (n, np)) -> inputs (n, nu), or the first K of plans (n, K, nu).
Teacher = Callable[[np.ndarray, Policy, np.ndarray], np.ndarray]

HARD = 32  # one episode in so many begins where the policy did worst against the law in the round before
HELD_OUT = 10  # one state in so many is not fitted to
STEADY, LAST_RATE = 0.5, 0.01  # share of a round at the full rate, share of it that the rate falls to


@dataclass
class Labels:
    """What the teacher has said, a row a state: features, the law's scaled action, the teacher's.

    Args:
        nu: number of inputs.
        fitted: rows to fit to (n, n_features + 2 nu).
        held: rows held out.
        asked: states asked.
        dropped: of them, those whose answer was not finite.
    """

    nu: int
    fitted: list[Tensor] = field(default_factory=list)
    held: list[Tensor] = field(default_factory=list)
    asked: int = 0
    dropped: int = 0

    @property
    def size(self) -> int:
        """Number of labels, those held out included."""
        return sum(len(part) for part in (*self.fitted, *self.held))


class Imitation:
    """One imitation: asks the teacher and fits a copy of the learner's policy network.

    Args:
        run: the run; its policy in double precision `averaged` is written over.
        teacher: who is imitated.
        draw: parameters of the simulated episodes.
        rng: source of everything random.
        states: number of states to ask about.
        steps: gradient steps in all.
    """

    def __init__(
        self, run: "Run", teacher: Teacher, draw: Draw, rng: np.random.Generator, states: int, steps: int
    ) -> None:
        network = imitating(run.learner.actor.network)
        assert run.task.plant is not None
        self.run, self.task, self.plant, self.teacher, self.draw, self.rng = (
            run, run.task, run.task.plant, teacher, draw, rng,
        )  # fmt: skip
        self.settings: ImitationSettings = run.settings.imitation
        self.states, self.steps = states, steps
        self.network = copy.deepcopy(network).cpu()  # a few thousand rows: a GPU would wait for the host
        self.weights = FlatWeights(self.network)
        self.network.settle()
        self.generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        self.labels = Labels(run.task.nu)
        self.model_steps = 0
        self._hard = np.zeros((0, self.plant.nx)), np.zeros((0, len(self.plant.parameters)))

    def imitate(self, progress: bool = False) -> Tensor:
        """Ask and fit, round by round.

        Args:
            progress: whether to show a bar (only on a terminal).

        Returns:
            The flat weights of the fitted policy network.

        Raises:
            ModelError: for a teacher whose answers have another shape.
        """
        share = self.states / max(1, self.settings.states)  # a smaller imitation has as many states a round
        rounds = min(max(1, round(self.settings.rounds * min(1.0, share))), self.states)
        with tqdm(
            total=self.states, desc="asking the teacher", unit="state", disable=None if progress else True
        ) as bar:
            for k in range(rounds):
                x, p = self._visit(self.states * (k + 1) // rounds - self.states * k // rounds)
                self._ask(x, p)
                bar.update(len(x))
                self._fit(self._steps_of(k, rounds))
        self._settle_noise()
        return self.weights.value.clone()

    def _steps_of(self, k: int, rounds: int) -> int:
        """Gradient steps of a round: as many in the last as in all others."""
        if rounds == 1:
            return self.steps
        return self.steps // 2 if k == rounds - 1 else self.steps // (2 * (rounds - 1))

    def error(self) -> float:
        """Root mean square difference from the teacher on the states held out, as a share of the input ranges."""
        rows = torch.cat(self.labels.held or [torch.zeros(0, self.run.learning.features.size + 2 * self.task.nu)])
        if not len(rows):
            return float("nan")
        phi, base, a = self._parts(rows)
        with torch.no_grad():
            apart = self.network.mean(phi, base).clamp(-1.0, 1.0) - a
        return float(apart.square().mean().sqrt()) / 2.0

    def summary(self) -> str:
        """How many labels, and how well they are met, in words."""
        labels, off = self.labels, self.error()
        met = "none held out" if np.isnan(off) else f"{100 * off:.2g} % of the input range off on states held out"
        lost = f", {labels.dropped} of them without an answer" if labels.dropped else ""
        return f"{labels.size} labels for {labels.asked} states asked{lost}, {met}"

    def policy(self, x: np.ndarray) -> np.ndarray:
        """Inputs of the present policy in double precision, before the actuators' limits.

        Args:
            x: states (n, nx).

        Returns:
            (n, nu).
        """
        with torch.no_grad():
            return self.run.averaged(torch.from_numpy(x)).numpy()

    def _visit(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """States that the policy passes in simulated episodes (n, nx), and the parameters there (n, np)."""
        run, episodes = self.run, self.settings.episodes
        run.copy_weights(self.weights.value, run.averaged)
        x0, p = self.task.starts(self.rng, episodes), self.draw(self.rng, episodes)
        hard = len(self._hard[0])
        x0[:hard], p[:hard] = self._hard
        size = self.settings.noise * self.task.span / 2.0 * (np.arange(episodes) % 2)[:, None]
        x, cost, live = self._drive(self.policy, x0, p, size)
        _, of_law, _ = self._drive(self._law, x0, p, 0.0 * size)
        worse = np.nan_to_num(np.maximum((cost - of_law).sum(axis=0), 0.0))
        hardest = np.argsort(-worse, kind="stable")[: min(episodes // HARD, int((worse > 0.0).sum()))]
        self._hard = x0[hardest], p[hardest]
        chance = self._chances(cost, worse, live).ravel()
        chosen = self.rng.choice(chance.size, min(n, int((chance > 0.0).sum())), replace=False, p=chance)
        return x.reshape(-1, self.plant.nx)[chosen], p[chosen % episodes]

    def _drive(
        self, policy: Policy, x0: np.ndarray, p: np.ndarray, size: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """States (steps, n, nx), costs (steps, n) of episodes, and where they had not ended."""
        n, length = len(x0), int(self.plant.episode_steps)
        simulation = Simulation(self.plant, n, Variation(), None, self.task.filter)
        simulation.reset(self.rng, np.ones(n, dtype=bool), x0, p)
        x, cost, live = np.empty((length, n, self.plant.nx)), np.zeros((length, n)), np.ones((length, n), dtype=bool)
        going = np.ones(n, dtype=bool)
        for k in range(length):
            x[k], live[k] = simulation.x, going
            u = policy(simulation.x) + size * self.rng.standard_normal((n, self.task.nu))
            outcome = simulation.step(u.clip(self.task.u_min, self.task.u_max), self.rng)
            cost[k] = np.where(going, -outcome.reward, 0.0)
            going = going & ~outcome.tripped
        self.model_steps += length * n
        return x, cost, live

    def _law(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.run.learning.base(torch.from_numpy(x)).numpy()

    def _chances(self, cost: np.ndarray, worse: np.ndarray, live: np.ndarray) -> np.ndarray:
        """How likely each state (steps, n) is to be asked about, as the settings share it out."""
        settings = self.settings
        kinds = (
            (1.0 - settings.by_cost - settings.by_regret, np.ones_like(cost)),
            (settings.by_cost, cost - cost[live].min()),
            (settings.by_regret, np.broadcast_to(worse, cost.shape)),
        )
        chance = np.zeros_like(cost)
        for share, wanted in kinds:
            weight = np.nan_to_num(np.where(live, wanted, 0.0))
            chance += share * weight / weight.sum() if weight.sum() > 0.0 else 0.0
        return chance / chance.sum()

    def _ask(self, x: np.ndarray, p: np.ndarray) -> None:
        """Labels for states, and for those that the teacher's plans pass on the model."""
        u = self._answers(x, p)
        good = np.asarray(np.isfinite(u).all(axis=(1, 2)))
        labels, x, p, u = self.labels, x[good], p[good], u[good]
        held = np.arange(labels.asked, labels.asked + len(good))[good] % HELD_OUT == HELD_OUT - 1
        labels.asked, labels.dropped = labels.asked + len(good), labels.dropped + int((~good).sum())
        if not len(x):
            return
        simulation = Simulation(self.plant, len(x), Variation())
        simulation.reset(self.rng, np.ones(len(x), dtype=bool), x, p)
        for k in range(u.shape[1]):
            _, phi, base, _ = self.run.view_of(simulation.x)
            rows = torch.cat([phi, base, self.run.scaled(u[:, k])], 1)
            labels.fitted.append(rows[torch.from_numpy(~held)])
            labels.held.append(rows[torch.from_numpy(held)])
            if k + 1 < u.shape[1]:
                simulation.step(u[:, k], self.rng)
                self.model_steps += len(x)

    def _answers(self, x: np.ndarray, p: np.ndarray) -> np.ndarray:
        """The teacher's inputs (n, K, nu) within the box, checked; NaN where it has none."""
        u = np.asarray(self.teacher(x.copy(), self.policy, p.copy()), float)
        n, nu = len(x), self.task.nu
        if u.shape != (n, nu) and not (u.ndim == 3 and u.shape[0] == n and u.shape[1] and u.shape[2] == nu):
            text = f"gave shape {u.shape} for {n} states, expected ({n}, {nu}) or ({n}, K, {nu})"
            raise ModelError("teacher", text, remedy="give one input, or the first K of a plan, for every state")
        return u.reshape(n, -1, nu).clip(self.task.u_min, self.task.u_max)

    def _fit(self, steps: int) -> None:
        """Adam on the labels so far."""
        settings, rows = self.settings, torch.cat(self.labels.fitted or [torch.zeros(0)])
        if not len(rows):
            return
        adam, nu = Adam(self.weights.value, settings.rate), self.task.nu
        for k in range(steps):
            late = max(0.0, (k / steps - STEADY) / (1.0 - STEADY))
            adam.rate = settings.rate * (1.0 - late + late * LAST_RATE)
            chosen = torch.randint(len(rows), (settings.batch,), generator=self.generator)
            phi, base, a = self._parts(rows[chosen])
            passed = self.network.forward_pass(phi)
            bend = torch.tanh(passed.out[0, :nu])
            apart = base.t() + self.network.reach * bend - a.t()
            slope = torch.zeros_like(passed.out)  # of the loss in both heads; the deviation's stays zero
            slope[0, :nu] = apart * (1.0 - bend * bend) * (2.0 * self.network.reach / apart.numel())
            adam.step(torch.ops.aten.flatten_dense_tensors(self.network.gradient(passed, slope)))

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Features, base and label."""
        nu = self.task.nu
        return rows.split([rows.shape[-1] - 2 * nu, nu, nu], -1)

    def _settle_noise(self) -> None:
        """Give the exploration the deviation that the learner has on the mean, since the body below it has changed."""
        rows = torch.cat(self.labels.fitted or [torch.zeros(0)])
        if not len(rows):
            return
        learner = self.run.learner
        with torch.no_grad():
            heads = learner.actor.network(self._parts(rows)[0].to(learner.device))
            _, log_std = learner.actor.network.raw_distribution(heads)
        self.network.log_std.weight.zero_()
        self.network.log_std.bias.copy_(log_std.mean(0))


def imitating(network: nn.Module) -> Actor:
    """The policy network that is to be fitted to a teacher.

    Args:
        network: of the learner.

    Returns:
        The same.

    Raises:
        ModelError: for one that cannot be.
    """
    if not isinstance(network, Actor):
        raise ModelError("teacher", "cannot be imitated by this policy", remedy="use settings.actor 'residual'")
    return network
