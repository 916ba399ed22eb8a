"""YANN-DDPG as published (Braniff and Tian, arXiv:2508.16474, algorithm 1), for comparison with the package's recipe.

The paper's: an actor of the law's five layers with a two-layer tanh network a region beside it (16 nodes each for the
pendulum), initial weights within 0.01; a critic of the LQR value as embedded quadratic form, whose coefficients are
trained too, with a tanh network 64-64 that starts at zero beside it; DDPG with one critic, targets copied at the start,
random batches of a replay memory, and no exploration noise at all.

Ours, since the paper does not report them: Adam with rates 1e-4 (actor) and 1e-3 (critic), tau 0.005, gamma 0.99, 64
transitions a batch, a memory of 100 000, an update a step, 16 nodes a region for every plant.

What of the paper cannot be taken as printed: "Q = I" of the clipped pendulum gives 9 regions with the printed R, where
Q = diag(1, 0.1), the reward's weights, gives the 7 regions and 32 rows that its parameter counts need. P of the
undiscounted equation beside gamma < 1 is no fixed point of Bellman's equation (0.8 % off at 0.99), so the discounted
one is taken. The reactor's sample time "1/60 s" fits its matrices only as 1/60 h. The counts of critic parameters
(4358, 4545) could not be reconciled with any layout. The proof of the actor's zero start needs tied outgoing weights
(`yann.published`). Costs are minus the rewards, and are not scaled.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .clamp import inward_clamp
from .cloning import Cloning, add_cloning
from .ddpg import DdpgSettings, critic_loss, policy_loss, value_target
from .device import CPU
from .networks import Prior
from .replay import Batch
from .trained import Average, Trained, all_finite, with_prior


class PublishedActor(nn.Module):
    """The additions as a policy network in scaled units: mean(x) = base(x) + n_i(x), bitwise the law at the start.

    Args:
        learned: the additions, single precision.
        nx: number of states, the first columns of the features; the region's one of p follows.
    """

    def __init__(self, learned: nn.Module, nx: int) -> None:
        super().__init__()
        self.learned, self.nx = learned, nx

    def mean(self, phi: Tensor, base: Tensor) -> Tensor:
        """Mean action before the clamp: (batch, nx + p), (batch, nu) -> (batch, nu)."""
        return base + self.learned(phi[:, : self.nx], phi[:, self.nx :])


class PublishedCritic(nn.Module):
    """What is learned beside the LQR value: (z, 1)' D (z, 1) + tanh network(z), z = (scaled x, a); 0 at the start.

    D trains every coefficient of the quadratic form, as published.

    Args:
        nx: number of states.
        nu: number of inputs.
        width: units of both hidden layers.
        generator: source of the initial weights.
    """

    def __init__(self, nx: int, nu: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.nx = nx
        self.form = nn.Parameter(torch.zeros(nx + nu + 1, nx + nu + 1))
        sizes: Sequence[int] = (nx + nu, width, width)
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(m, n)) for n, m in itertools.pairwise(sizes)])
        self.biases = nn.ParameterList([nn.Parameter(torch.empty(m)) for m in sizes[1:]])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1.0 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound, generator=generator)
            nn.init.uniform_(bias, -bound, bound, generator=generator)
        self.last = nn.Parameter(torch.zeros(width))

    def forward(self, phi: Tensor, a: Tensor) -> Tensor:
        """Evaluate it: (batch, nx + p), (batch, nu) -> (1, batch)."""
        z = torch.cat((phi[:, : self.nx], a), 1)
        hidden = z
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = torch.tanh(torch.nn.functional.linear(hidden, weight, bias))
        whole = torch.cat((z, torch.ones_like(z[:, :1])), 1)
        return ((whole @ self.form) * whole).sum(1)[None] + (hidden @ self.last)[None]


class PublishedDdpg:
    """The learner: critic, policy and their targets, one `update`, no noise anywhere; on the CPU only.

    Args:
        actor: the policy network.
        critic: what is learned beside the LQR value.
        settings: rates.
        gamma: discount factor.
        prior: the LQR value, in the rewards' own unit.
    """

    device, steady = CPU, False

    def __init__(
        self, actor: PublishedActor, critic: PublishedCritic, settings: DdpgSettings, gamma: float, prior: Prior
    ) -> None:
        self.settings, self.gamma, self.prior = settings, gamma, prior
        self.actor, self.critic = Trained(actor, settings.actor_rate), Trained(critic, settings.critic_rate)
        self.average = Average(self.actor.weights, settings.average_rate)
        self.updates = 0
        self.shown = {name: torch.zeros(()) for name in ("critic_loss", "actor_loss", "q")}

    def explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """The policy's action itself, clamped to the box.

        Args:
            phi: features (n, n_features).
            base: the law's scaled action (n, nu).

        Returns:
            Scaled action (n, nu).
        """
        with torch.no_grad():
            return self.actor.network.mean(phi, base).clamp(-1.0, 1.0)

    def update(self, batch: Batch, cloning: Cloning | None = None) -> None:
        """One critic step and, every `delay` of them, one step of policy and targets.

        Args:
            batch: transitions.
            cloning: weights of behaviour cloning while pre-training on recorded data, or None.
        """
        with torch.no_grad():
            a1 = self.actor.target.mean(batch.phi1, batch.base1).clamp(-1.0, 1.0)
            q1 = self._value(self.critic.target, batch.x1, batch.phi1, a1, batch.weight1)
            y = value_target(batch.reward, batch.live, q1, self.gamma)
        q = self._value(self.critic.network, batch.x, batch.phi, batch.a, batch.weight)
        loss = critic_loss(q, y)
        _descend(self.critic, loss)
        self.shown |= {"critic_loss": loss.detach(), "q": q.detach().mean()}
        self.updates += 1
        if self.updates % self.settings.delay == 0:
            self._policy_step(batch, cloning)
            self.actor.follow(self.settings.target_rate)
            self.critic.follow(self.settings.target_rate)
            self.average.take(self.average.share(self.updates // self.settings.delay))

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        return {**self.actor.tensors("actor"), **self.critic.tensors("critic"), "average": self.average.value}

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        return {name: float(value) for name, value in self.shown.items()}

    def finite(self) -> bool:
        """Whether weights and last losses are all finite."""
        weights = self.actor.weights.value.data, self.critic.weights.value.data
        return all_finite([*weights, self.shown["critic_loss"], self.shown["actor_loss"]])

    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        a = inward_clamp(self.actor.network.mean(batch.phi, batch.base))
        q = self._value(self.critic.network, batch.x, batch.phi, a, batch.weight)
        loss = add_cloning(policy_loss(q), q[0], a, batch.a, cloning)
        _descend(self.actor, loss)
        self.shown |= {"actor_loss": loss.detach()}

    def _value(self, critic: PublishedCritic, x: Tensor, phi: Tensor, a: Tensor, weight: Tensor) -> Tensor:
        """LQR value and correction, (1, batch)."""
        return with_prior(critic(phi, a), self.prior, x, a, weight)


def _descend(trained: Trained, loss: Tensor) -> None:
    """One Adam step of a network down a loss."""
    trained.descend(torch.autograd.grad(loss, list(trained.network.parameters())))
