r"""DSAC-T: distributional soft actor-critic with three refinements (Duan et al., arXiv 2310.05858, TPAMI 47(5), 2025).

The losses follow the authors' code of February 2024 (Jingliang-Duan/DSAC-v2, `dsac_v2.py`), whose learned standard
deviation is the true one on a constant target; the form of July 2025 settles at 0.7 of it. They are pure functions of
tensors, in the paper's order: value targets, critic loss, policy loss, temperature loss. Shapes: q and sigma are
(2, batch), everything else (batch,); with several seeds stacked (2, seeds, batch) and (seeds, batch), and then a loss
is the sum over seeds, so that each has its own gradient.

The policy's distribution is `stochastic.ClampedGaussian`, which can start bitwise at a law, or the paper's own,
`stochastic.TanhGaussian`; each documents the units of its log pi. The critic is trained on the action really applied.

Where paper and code differ: the weight omega is (running mean of sigma)^2 as in the code, not the running mean of
sigma^2 of eq. 25, and it multiplies the mean and the sigma term alike; policy, temperature and all three targets wait
for the delay.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from yannctl.errors import ModelError

from .cloning import Cloning, add_cloning
from .networks import Actor, Adam, Critic, Prior
from .replay import Batch
from .stochastic import AbstractPolicy, gaussian_entropy
from .trained import Average, Noise, Trained, all_finite, with_prior

BOUND_FACTOR = 3.0  # xi, paper eq. 23: the sampled target is clipped at xi mean sigma around Q
SIGMA_BIAS = 0.1  # keeps the divisions by sigma^2 and sigma^3 finite; authors' code
WEIGHT_BIAS = 0.1  # added to the weight omega; authors' code
NOISE_CLIP = 3.0  # the return sample uses eps clipped to +-3; authors' code


@dataclass(frozen=True)
class DsactSettings:
    """Settings of DSAC-T.

    Args:
        actor_rate: Adam rate of the policy.
        critic_rate: Adam rate of the critics.
        alpha_rate: Adam rate of log alpha.
        alpha: entropy temperature at the start, on scaled rewards.
        std: standard deviation of the exploration, in half ranges of the input: the policy starts with it and, unless
            `target_entropy` says otherwise, the temperature holds it on average. 0.3 is measured: with the paper's
            0.089 one pendulum seed in four stayed at a return of -200.
        target_rate: Polyak rate of the three target networks (paper 0.005).
        statistics_rate: rate tau_b of the running mean of sigma (paper 0.005).
        average_rate: rate of the running average of the policy's weights, the gate's second candidate.
        delay: the policy, alpha and the targets move once every so many critic steps (paper 2).
        policy: "clamped" (a Gaussian before the clamp, can start at a law) or "tanh" (the paper's tanh-Gaussian).
        target_entropy: H an input [nat], in the units of the policy's log pi; None: that of `std` for "clamped", the
            paper's -1 for "tanh".
    """

    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    alpha_rate: float = 1e-3
    alpha: float = 0.01
    std: float = 0.3
    target_rate: float = 0.01
    statistics_rate: float = 0.005
    average_rate: float = 0.002
    delay: int = 2
    policy: str = "clamped"
    target_entropy: float | None = None

    def __post_init__(self) -> None:
        if self.policy not in ("clamped", "tanh"):
            raise ModelError("policy", f"got {self.policy!r}, expected 'clamped' or 'tanh'")

    def entropy(self, nu: int) -> float:
        """Target entropy H of all inputs together [nat].

        Args:
            nu: number of inputs.

        Returns:
            H.
        """
        one = self.target_entropy
        if one is None:
            one = gaussian_entropy(self.std) if self.policy == "clamped" else -1.0
        return nu * one


def value_targets(
    reward: Tensor, live: Tensor, q: Tensor, sigma: Tensor, log_prob: Tensor, noise: Tensor, alpha: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Targets of the mean and of the sampled return (paper eq. 18 to 20), from the lower of the two target critics.

    y_q = r + gamma live (Q_i - alpha log pi),  y_z = y_q + gamma live sigma_i clip(eps, 3),  i = argmin_i Q_i.

    Args:
        reward: scaled rewards (batch,).
        live: 0 where x1 is terminal, 1 otherwise, also at a time limit (batch,).
        q: target critics at x1 and the target policy's action (2, batch).
        sigma: their standard deviations (2, batch).
        log_prob: log pi of that action (batch,).
        noise: standard normal eps (batch,).
        alpha: temperature.
        gamma: discount factor.

    Returns:
        y_q and y_z, each (batch,).
    """
    lower = q[0] <= q[1]
    q_low = torch.where(lower, q[0], q[1])
    sigma_low = torch.where(lower, sigma[0], sigma[1])
    y_q = reward + gamma * live * (q_low - alpha * log_prob)
    return y_q, y_q + gamma * live * sigma_low * noise.clamp(-NOISE_CLIP, NOISE_CLIP)


def critic_loss(q: Tensor, sigma: Tensor, y_q: Tensor, y_z: Tensor, sigma_mean: Tensor) -> Tensor:
    """Surrogate whose gradient is the paper's eq. 26 with the authors' biases, summed over the critics.

    g = (m^2 + 0.1) E[ -(y_q - Q)/(sigma^2 + 0.1) dQ - (delta^2 - sigma^2)/(sigma^3 + 0.1) dsigma ],
    delta = clip(y_z - Q, +-3 m).

    Args:
        q: critics at the data (n_critics, batch).
        sigma: their standard deviations (n_critics, batch).
        y_q: target of the mean (batch,).
        y_z: sampled target (batch,) or (n_critics, batch).
        sigma_mean: running mean m of sigma (n_critics,).

    Returns:
        Scalar; only its gradient means anything.
    """
    with torch.no_grad():
        bound = BOUND_FACTOR * sigma_mean[..., None]
        delta = (y_z - q).clamp(-bound, bound)
        square = sigma * sigma
        toward_q = (y_q - q) / (square + SIGMA_BIAS)
        toward_sigma = (delta * delta - square) / (square * sigma + SIGMA_BIAS)
        weight = (sigma_mean * sigma_mean + WEIGHT_BIAS)[..., None] / q.shape[-1]
        toward_q, toward_sigma = weight * toward_q, weight * toward_sigma
    return -(toward_q * q + toward_sigma * sigma).sum()


def policy_loss(q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """E[ alpha log pi - min_i Q_i ] (paper eq. 22).

    Args:
        q: critics at a sampled action (2, batch).
        log_prob: its log pi (batch,).
        alpha: temperature.

    Returns:
        Scalar.
    """
    return (alpha * log_prob - torch.minimum(q[0], q[1])).mean(-1).sum()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """-log alpha (E[log pi] + H), whose gradient raises alpha while the policy is too certain.

    Args:
        log_alpha: log alpha (1,).
        log_prob: log pi of sampled actions (batch,).
        target_entropy: H [nat].

    Returns:
        Scalar.
    """
    return -(log_alpha * (log_prob.detach().mean(-1, keepdim=True) + target_entropy)).sum()


class Dsact:
    """The learner: two critics, a policy, their targets, a temperature, and one `update`.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: two critics with two outputs each (Q, and sigma before the softplus).
        policy: how noise becomes an action and its log pi.
        settings: rates and constants.
        gamma: discount factor.
        noise: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the networks only correct, or None.
        compiled: whether torch compiles both losses on their first use.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        policy: AbstractPolicy,
        settings: DsactSettings,
        gamma: float,
        noise: Noise,
        prior: Prior | None = None,
        compiled: bool = False,
    ) -> None:
        self.policy, self.settings, self.gamma, self.noise, self.prior = policy, settings, gamma, noise, prior
        self.actor, self.critic = Trained(actor, settings.actor_rate), Trained(critic, settings.critic_rate)
        seeds = len(noise.generators)
        stack = (seeds,) if seeds > 1 else ()
        self.log_alpha = torch.nn.Parameter(torch.full((*stack, 1), math.log(settings.alpha)))
        self.alpha_adam = Adam(self.log_alpha, settings.alpha_rate)
        self.sigma_mean = torch.zeros((2, *stack))
        self.average = Average(self.actor.weights, settings.average_rate)
        self.updates = 0
        self._last = {name: torch.zeros(()) for name in ("critic_loss", "actor_loss", "q", "sigma", "log_prob")}
        self._critic_terms = torch.compile(self._critic_loss) if compiled else self._critic_loss
        self._policy_terms = torch.compile(self._policy_loss) if compiled else self._policy_loss

    def explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """A sample of the policy, inside the box.

        Args:
            phi: features (n, n_features).
            base: the law's scaled action (n, nu).

        Returns:
            Scaled action (n, nu).
        """
        with torch.no_grad():
            a, _ = self.policy.sample(self.actor.network, phi, base, self.noise(base.shape))
            return a.clamp(-1.0, 1.0)

    def update(self, batch: Batch, cloning: Cloning | None = None) -> None:
        """One critic step, and every `delay` of them one step of policy, temperature and targets.

        Args:
            batch: transitions.
            cloning: weights of behaviour cloning while pre-training on recorded data, or None.
        """
        self._critic_step(batch)
        self.updates += 1
        if self.updates % self.settings.delay == 0:
            self._policy_step(batch, cloning)
            self.actor.follow(self.settings.target_rate)
            self.critic.follow(self.settings.target_rate)
            self.average.take(self.updates // self.settings.delay)

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        return {
            **self.actor.tensors("actor"),
            **self.critic.tensors("critic"),
            "average": self.average.value,
            "log_alpha": self.log_alpha.data,
            "sigma_mean": self.sigma_mean,
            **self.alpha_adam.tensors("alpha_adam"),
        }

    @property
    def shown(self) -> dict[str, Tensor]:
        """Means of the last update, which are computed only when they are looked at."""
        return {name: value.mean() for name, value in self._last.items()}

    @shown.setter
    def shown(self, values: dict[str, Tensor]) -> None:
        """Take back values that were saved or repaired."""
        self._last = dict(values)

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        alpha = float(self.log_alpha.data.exp().mean())
        return {name: float(value) for name, value in self.shown.items()} | {"alpha": alpha}

    def finite(self) -> bool:
        """Whether weights and last losses are all finite."""
        weights = self.actor.weights.value.data, self.critic.weights.value.data, self.log_alpha.data
        return all_finite([*weights, self._last["critic_loss"], self._last["actor_loss"]])

    def _critic_step(self, batch: Batch) -> None:
        eps, z = self.noise(batch.base1.shape), self.noise(batch.reward.shape)
        rate = self.settings.statistics_rate if self.updates else 1.0
        loss, q, sigma = self._critic_terms(batch, eps, z, self.log_alpha.data, rate)
        self.critic.descend(loss)
        self._last.update(critic_loss=loss.detach(), q=q, sigma=sigma)

    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        eps = self.noise(batch.base.shape)
        self.critic.network.requires_grad_(False)
        loss, log_prob = self._policy_terms(batch, eps, self.log_alpha.data, cloning)
        self.actor.descend(loss)
        self.critic.network.requires_grad_(True)
        self.log_alpha.grad = None
        temperature_loss(self.log_alpha, log_prob, self.settings.entropy(eps.shape[-1])).backward()
        self.alpha_adam.step()
        self._last.update(actor_loss=loss.detach(), log_prob=log_prob)

    def _critic_loss(
        self, batch: Batch, eps: Tensor, z: Tensor, log_alpha: Tensor, rate: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of the critics, their means, and their mean standard deviations."""
        with torch.no_grad():
            a1, log_prob = self.policy.sample(self.actor.target, batch.phi1, batch.base1, eps)
            q1, sigma1 = self._returns(self.critic.target, batch.x1, batch.phi1, a1.clamp(-1.0, 1.0), batch.weight1)
            y_q, y_z = value_targets(batch.reward, batch.live, q1, sigma1, log_prob, z, log_alpha.exp(), self.gamma)
        q, sigma = self._returns(self.critic.network, batch.x, batch.phi, batch.a, batch.weight)
        now = sigma.detach().mean(-1)
        self.sigma_mean.lerp_(now, rate)
        return critic_loss(q, sigma, y_q, y_z, self.sigma_mean), q.detach(), now

    def _policy_loss(
        self, batch: Batch, eps: Tensor, log_alpha: Tensor, cloning: Cloning | None
    ) -> tuple[Tensor, Tensor]:
        """Loss of the policy, and log pi of its actions."""
        a, log_prob = self.policy.sample(self.actor.network, batch.phi, batch.base, eps)
        q, _ = self._returns(self.critic.network, batch.x, batch.phi, a, batch.weight)
        loss = policy_loss(q, log_prob, log_alpha.exp())
        return add_cloning(loss, torch.minimum(q[0], q[1]), a, batch.a, cloning), log_prob.detach()

    def _returns(self, critic: Critic, x: Tensor, phi: Tensor, a: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the return, each (2, batch)."""
        out = critic(phi, a)
        return with_prior(out[..., 0], self.prior, x, a, weight), softplus(out[..., 1])
