r"""Refinement of a policy by the exact gradient of its return on the model: no critic, no exploration noise.

    max_w  mean_i sum_{k < K} reward(x_ik, u_ik),   x_i(k+1) = step(x_ik, u_ik, p_i),   u = law(x) + residual_w(x)

from fresh starts and parameters in every iteration, by back-propagation through the whole episode. The step, its
reward and their derivatives come from one tape; in torch a step is its value plus the linear terms, so that the chain
of derivatives is exact and costs two small products. The law's value is its own; its derivative is that of a network
taught the law on the states that training has seen, since a law that solves a program has none to give. Where the
filter changed an input its derivative is zero, and a penalty on what the actuators cut off keeps the policy from
running away to where they leave no derivative.

The better of the policies before and after, on common starts, is kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from yannctl.plant import AbstractPlant
from yannctl.tape import ExpressionTape
from yannctl.yann.extension import ExtendedActor
from yannctl.yann.residual import residual_net

from .belief import Belief
from .evaluation import evaluate
from .task import Task

IMITATION_UPDATES, IMITATION_BATCH, IMITATION_RATE = 1500, 256, 2e-3
WIDTHS = (64, 64)  # of the network that imitates the law
CUT_PENALTY = 1e-3  # of the mean cost a step, for a half range of input that the actuators cut off
LARGEST_GRADIENT = 1.0  # norm, in units of the mean |return|
FINAL_RATE = 0.1  # share of the rate at the end
JUDGES = 256  # starts on which the policies before and after are compared


@dataclass(frozen=True)
class Refinement:
    """What a refinement did.

    Args:
        kept: whether the refined policy was the better one.
        before: mean return before, on common starts of the model.
        after: mean return after.
        steps: steps of the model it took.
    """

    kept: bool
    before: float
    after: float
    steps: int


class SmoothStep:
    """A step of the plant and its reward with derivatives, for torch.

    Args:
        plant: the nominal model.
    """

    def __init__(self, plant: AbstractPlant) -> None:
        import casadi as ca

        self.plant = plant
        varied = plant.step_function(parameters=True)
        reward = plant.reward_function()
        x, u = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu)
        p = ca.SX.sym("p", len(plant.parameter_names))
        joint, gain = ca.vertcat(x, u), reward(x, u)
        after = varied(x, u, p)
        slopes = ca.densify(ca.jacobian(ca.vertcat(after, gain), joint))
        self._tape = ExpressionTape.from_function(ca.Function("smooth", [x, u, p], [after, gain, ca.vec(slopes)]))

    def __call__(self, x: Tensor, u: Tensor, free: Tensor, p: np.ndarray) -> tuple[Tensor, Tensor]:
        """Advance one period.

        Args:
            x: states (n, nx), with their history.
            u: inputs (n, nu), after the filter.
            free: 1 where the filter left an input alone (n, 1).
            p: parameters (n, np).

        Returns:
            Next states (n, nx) and rewards (n,), differentiable in x and u.
        """
        n, rows, columns = len(x), self.plant.nx + 1, self.plant.nx + self.plant.nu
        after, gain, slopes = self._tape.evaluate(x.detach().numpy(), u.detach().numpy(), p)
        # CasADi stacks columns; a bound of the inputs can make a derivative that is not finite at one point.
        matrix = torch.from_numpy(np.nan_to_num(slopes.reshape(n, columns, rows).transpose(0, 2, 1)))
        change = torch.cat([x - x.detach(), free * (u - u.detach())], 1)
        value = torch.from_numpy(np.concatenate([after, gain.reshape(n, 1)], 1))
        result = value + (matrix @ change[:, :, None])[:, :, 0]
        return result[:, :-1], result[:, -1]


class SmoothLaw:
    """The law's own value with the derivative of a network that imitates it.

    Args:
        policy: whose base is the law.
        phi: features of states seen (n, n_features).
        base: the law's scaled inputs there (n, nu).
        generator: source of the batches.
    """

    def __init__(self, policy: ExtendedActor, phi: Tensor, base: Tensor, generator: torch.Generator) -> None:
        self.policy = policy
        self.middle, self.half = (policy.u_max + policy.u_min) / 2.0, (policy.u_max - policy.u_min) / 2.0
        self.network = residual_net(phi.shape[1], WIDTHS, base.shape[1], 0, False, torch.float32)
        adam = torch.optim.Adam(self.network.parameters(), IMITATION_RATE)
        for update in range(IMITATION_UPDATES):
            for group in adam.param_groups:
                group["lr"] = IMITATION_RATE * (1.0 - update / IMITATION_UPDATES)
            rows = torch.randint(len(phi), (IMITATION_BATCH,), generator=generator)
            adam.zero_grad()
            nn.functional.mse_loss(self.network(phi[rows]), base[rows]).backward()
            adam.step()
        self.network.requires_grad_(False)

    def __call__(self, x: Tensor, seen: Tensor) -> Tensor:
        """The law at states.

        Args:
            x: states (n, nx).
            seen: their features (n, n_features).

        Returns:
            Inputs (n, nu) [physical units].
        """
        with torch.no_grad():
            value = self.policy.base(x.detach()).double()
        like = self.half * self.network(seen.float()).double()
        return value + (like - like.detach())


def refine(
    policy: ExtendedActor,
    task: Task,
    belief: Belief,
    seen: tuple[Tensor, Tensor],
    rng: np.random.Generator,
    generator: torch.Generator,
    iterations: int,
    batch: int,
    rate: float,
) -> Refinement:
    """Refine a policy in place.

    Args:
        policy: the policy, in double precision; its residual is changed where that pays.
        task: model, filter and starts.
        belief: what the parameters may be.
        seen: features of states (n, n_features) and the law's scaled inputs there (n, nu), for its derivative.
        rng: source of starts and parameters.
        generator: source of the imitation's batches.
        iterations: steps of Adam.
        batch: episodes of each.
        rate: rate of Adam, which falls to a tenth of it.

    Returns:
        What was done.
    """
    assert task.plant is not None
    plant, length = task.plant, int(task.plant.episode_steps)
    old = {name: tensor.clone() for name, tensor in policy.learned.state_dict().items()}
    judges = task.starts(rng, JUDGES), belief.draw(rng, JUDGES)

    def judge() -> float:
        return float(evaluate(policy, plant, judges[0], length, judges[1], task.filter).returns.mean())

    before = judge()
    law, step = SmoothLaw(policy, *seen, generator), SmoothStep(plant)
    policy.learned.requires_grad_(True)
    weights = list(policy.learned.parameters())
    adam = torch.optim.Adam(weights, rate)
    scale = 1.0 / max(abs(before), 1e-12)
    for iteration in range(iterations):
        for group in adam.param_groups:
            group["lr"] = rate * FINAL_RATE ** (iteration / iterations)
        adam.zero_grad()
        start, p = task.starts(rng, batch), belief.draw(rng, batch)
        (-scale * _return(policy, law, step, task, start, p)).backward()
        norm = nn.utils.clip_grad_norm_(weights, LARGEST_GRADIENT)
        if bool(norm.isfinite()):
            adam.step()
    policy.learned.requires_grad_(False)
    after = judge()
    kept = bool(np.isfinite(after)) and not after < before
    if not kept:
        policy.learned.load_state_dict(old)
    return Refinement(kept, before, after, length * (iterations * batch + 2 * JUDGES))


def _return(policy: ExtendedActor, law: SmoothLaw, step: SmoothStep, task: Task, start: Any, p: np.ndarray) -> Tensor:
    """Mean return of an episode less the penalty of what is cut off; one that has tripped stays where it is."""
    plant = step.plant
    x, total = torch.from_numpy(np.array(start)), torch.zeros((), dtype=torch.float64)
    running = ~torch.from_numpy(plant.trip(start))
    cut = torch.zeros((), dtype=torch.float64)
    cost = torch.zeros((), dtype=torch.float64)
    for _ in range(int(plant.episode_steps)):
        seen = policy.features(x)
        u = law(x, seen) + policy.reach * torch.tanh(policy.learned(seen))
        wanted = u.detach().numpy()
        safe = (
            wanted if task.filter is None else np.asarray(task.filter(x.detach().numpy(), task.limited(wanted)), float)
        )
        limited = torch.from_numpy(task.limited(wanted))
        free = torch.from_numpy(~task.changed(wanted, safe))[:, None].double()
        applied = u + (torch.from_numpy(safe) - u.detach()) * (1.0 - free)
        after, reward = step(x, applied, free, p)
        usable = running & after.detach().isfinite().all(1) & reward.detach().isfinite()
        total = total + torch.where(running & reward.detach().isfinite(), reward, 0.0).mean()
        cost = cost + reward.detach().nan_to_num(0.0).abs().mean()
        cut = cut + (((u - limited) / law.half).square().sum(1) * usable).mean()
        x = torch.where(usable[:, None], after, x.detach())
        running = usable & ~torch.from_numpy(plant.trip(x.detach().numpy()))
    return total - CUT_PENALTY * cost / int(plant.episode_steps) * cut
