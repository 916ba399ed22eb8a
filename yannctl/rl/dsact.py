r"""DSAC-T: distributional soft actor-critic with three refinements (Duan et al., arXiv 2310.05858, TPAMI 47(5), 2025).

The losses follow the authors' code of February 2024 (Jingliang-Duan/DSAC-v2, `dsac_v2.py`), whose learned standard
deviation is the true one on a constant target; the form of July 2025 settles at 0.7 of it. They are pure functions of
tensors, in the paper's order: value targets, critic loss, policy loss, temperature loss. Shapes: q and sigma are
(2, batch), everything else (batch,).

**How a stochastic policy starts exactly at the law.** A tanh-Gaussian cannot: atanh is infinite at the input bound,
where the law saturates, and tanh(atanh(a)) is not a bit for bit. Here the policy is a Gaussian *before* the clamp,

    v = mean(x) + std(x) eps,    a = clamp(v, -1, 1),    mean(x) = law(x) + f(phi(x)),    f = 0 at the start,

so that the deterministic action clamp(mean) is bitwise the law. The clamp belongs to the plant: v is the action of the
maximum-entropy problem, its density is the plain Gaussian's and **no Jacobian is needed**:

    log pi = sum_j ( -eps_j^2 / 2 - log std_j - log(2 pi) / 2 )    in scaled units (half ranges).

The target entropy is that of a standard deviation asked for in half ranges, H = log(std) + log(2 pi e) / 2 an input;
the paper's H = -1 is std = 0.089, in every plant alike. The critic is trained on a, the action really applied. The
gradient of the clamp: `networks.InwardClamp`.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .networks import Actor, Adam, Critic, FlatWeights, Prior, inward_clamp
from .replay import Batch

BOUND_FACTOR = 3.0  # xi, paper eq. 23: the sampled target is clipped at xi mean sigma around Q
SIGMA_BIAS = 0.1  # keeps the divisions by sigma^2 and sigma^3 finite; authors' code
WEIGHT_BIAS = 0.1  # added to the weight omega; authors' code
NOISE_CLIP = 3.0  # the return sample uses eps clipped to +-3; authors' code
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class DsactSettings:
    """Settings of DSAC-T.

    Args:
        actor_rate: Adam rate of the policy.
        critic_rate: Adam rate of the critics.
        alpha_rate: Adam rate of log alpha.
        alpha: entropy temperature at the start, on scaled rewards.
        std: standard deviation of the exploration, in half ranges of the input: the policy starts with it and the
            temperature holds it on average. 0.3 is measured: with the paper's 0.089 one pendulum seed in four stayed
            at a return of -200.
        target_rate: Polyak rate of the three target networks (paper 0.005).
        statistics_rate: rate tau_b of the running mean of sigma (paper 0.005).
        average_rate: rate of the running average of the policy's weights, the gate's second candidate.
        delay: the policy, alpha and the targets move once every so many critic steps (paper 2).
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


def gaussian_log_density(noise: Tensor, log_std: Tensor) -> Tensor:
    """Give log pi of v = mean + std eps, summed over the inputs.

    Args:
        noise: the standard normal eps (batch, nu).
        log_std: logarithm of the standard deviation (batch, nu).

    Returns:
        (batch,).
    """
    return (-0.5 * noise * noise - log_std - HALF_LOG_2PI).sum(-1)


def gaussian_entropy(std: float) -> float:
    """Entropy H = log(std) + log(2 pi e) / 2 of one input's exploration [nat].

    Args:
        std: standard deviation.

    Returns:
        H.
    """
    return math.log(std) + HALF_LOG_2PI + 0.5


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
        bound = BOUND_FACTOR * sigma_mean[:, None]
        delta = (y_z - q).clamp(-bound, bound)
        square = sigma * sigma
        toward_q = (y_q - q) / (square + SIGMA_BIAS)
        toward_sigma = (delta * delta - square) / (square * sigma + SIGMA_BIAS)
        weight = (sigma_mean * sigma_mean + WEIGHT_BIAS)[:, None] / q.shape[-1]
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
    return (alpha * log_prob - torch.minimum(q[0], q[1])).mean()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """-log alpha (E[log pi] + H), whose gradient raises alpha while the policy is too certain.

    Args:
        log_alpha: log alpha (1,).
        log_prob: log pi of sampled actions (batch,).
        target_entropy: H [nat].

    Returns:
        Scalar.
    """
    return -log_alpha.squeeze() * (log_prob.detach().mean() + target_entropy)


class Dsact:
    """The learner: two critics, a policy, their targets, a temperature, and one `update`.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: two critics with two outputs each (Q, and sigma before the softplus).
        settings: rates and constants.
        gamma: discount factor.
        generator: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the networks only correct, or None.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        settings: DsactSettings,
        gamma: float,
        generator: torch.Generator,
        prior: Prior | None = None,
    ) -> None:
        self.settings, self.gamma, self.generator, self.prior = settings, gamma, generator, prior
        self.actor, self.critic = actor, critic
        self.target_actor, self.target_critic = copy.deepcopy(actor), copy.deepcopy(critic)
        self.actor_weights, self.critic_weights = FlatWeights(actor), FlatWeights(critic)
        self.target_actor_weights = FlatWeights(self.target_actor)
        self.target_critic_weights = FlatWeights(self.target_critic)
        self.log_alpha = torch.nn.Parameter(torch.full((1,), math.log(settings.alpha)))
        self.actor_adam = Adam(self.actor_weights.value, settings.actor_rate)
        self.critic_adam = Adam(self.critic_weights.value, settings.critic_rate)
        self.alpha_adam = Adam(self.log_alpha, settings.alpha_rate)
        self.sigma_mean = torch.zeros(2)
        self.average = self.actor_weights.value.data.clone()
        self.updates = 0
        self.shown = {name: torch.zeros(()) for name in ("critic_loss", "actor_loss", "q", "sigma", "log_prob")}

    def explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """A sample of the policy, clamped to the box.

        Args:
            phi: features (1, n_features).
            base: the law's scaled action (1, nu).

        Returns:
            Scaled action (1, nu).
        """
        with torch.no_grad():
            mean, log_std = self.actor.distribution(phi, base)
            return (mean + log_std.exp() * self._noise(mean.shape)).clamp(-1.0, 1.0)

    def update(self, batch: Batch) -> None:
        """One critic step, and every `delay` of them one step of policy, temperature and targets."""
        self._critic_step(batch)
        self.updates += 1
        if self.updates % self.settings.delay == 0:
            self._policy_step(batch)
            self.target_actor_weights.follow(self.actor_weights, self.settings.target_rate)
            self.target_critic_weights.follow(self.critic_weights, self.settings.target_rate)
            # An average over the first steps would remember the start too long, so its rate falls from 1.
            steps = self.updates // self.settings.delay
            self.average.lerp_(self.actor_weights.value.data, max(self.settings.average_rate, 1.0 / steps))

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        return {
            "actor": self.actor_weights.value.data,
            "critic": self.critic_weights.value.data,
            "target_actor": self.target_actor_weights.value.data,
            "target_critic": self.target_critic_weights.value.data,
            "average": self.average,
            "log_alpha": self.log_alpha.data,
            "sigma_mean": self.sigma_mean,
            **self.actor_adam.tensors("actor_adam"),
            **self.critic_adam.tensors("critic_adam"),
            **self.alpha_adam.tensors("alpha_adam"),
        }

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        alpha = math.exp(float(self.log_alpha.data))
        return {name: float(value) for name, value in self.shown.items()} | {"alpha": alpha}

    def finite(self) -> bool:
        """Whether weights and last losses are all finite."""
        weights = (self.actor_weights.value.data, self.critic_weights.value.data, self.log_alpha.data)
        losses = (self.shown["critic_loss"], self.shown["actor_loss"])
        return bool(torch.stack([*(part.sum() for part in weights), *losses]).isfinite().all())

    def _critic_step(self, batch: Batch) -> None:
        with torch.no_grad():
            mean, log_std = self.target_actor.distribution(batch.phi1, batch.base1)
            noise = self._noise(mean.shape)
            a1 = (mean + log_std.exp() * noise).clamp(-1.0, 1.0)
            q1, sigma1 = self._returns(self.target_critic, batch.x1, batch.phi1, a1, batch.weight1)
            log_prob = gaussian_log_density(noise, log_std)
            z = self._noise(log_prob.shape)
            alpha = self.log_alpha.data.exp()
            y_q, y_z = value_targets(batch.reward, batch.live, q1, sigma1, log_prob, z, alpha, self.gamma)
        q, sigma = self._returns(self.critic, batch.x, batch.phi, batch.a, batch.weight)
        now = sigma.detach().mean(-1)
        self.sigma_mean.lerp_(now, self.settings.statistics_rate if self.updates else 1.0)
        loss = critic_loss(q, sigma, y_q, y_z, self.sigma_mean)
        self.critic_weights.zero_grad()
        loss.backward()
        self.critic_adam.step()
        self.shown.update(critic_loss=loss.detach(), q=q.detach().mean(), sigma=now.mean())

    def _policy_step(self, batch: Batch) -> None:
        mean, log_std = self.actor.distribution(batch.phi, batch.base)
        noise = self._noise(mean.shape)
        log_prob = gaussian_log_density(noise, log_std)
        self.critic.requires_grad_(False)
        q, _ = self._returns(self.critic, batch.x, batch.phi, inward_clamp(mean + log_std.exp() * noise), batch.weight)
        loss = policy_loss(q, log_prob, self.log_alpha.data.exp())
        self.actor_weights.zero_grad()
        loss.backward()
        self.critic.requires_grad_(True)
        self.actor_adam.step()
        self.log_alpha.grad = None
        temperature_loss(self.log_alpha, log_prob, mean.shape[-1] * gaussian_entropy(self.settings.std)).backward()
        self.alpha_adam.step()
        self.shown.update(actor_loss=loss.detach(), log_prob=log_prob.detach().mean())

    def _returns(self, critic: Critic, x: Tensor, phi: Tensor, a: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the return, each (2, batch)."""
        out = critic(phi, a)
        q = out[..., 0] if self.prior is None else out[..., 0] + self.prior(x, a, weight)
        return q, softplus(out[..., 1])

    def _noise(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator)
