r"""DSAC-T: distributional soft actor-critic with three refinements (Duan et al., arXiv 2310.05858, TPAMI 47(5), 2025).

The losses follow the authors' code of February 2024 (Jingliang-Duan/DSAC-v2, `dsac_v2.py`), whose learned standard
deviation is the true one on a constant target; the form of July 2025 settles at 0.7 of it. They are pure functions of
tensors, in the paper's order: value targets, critic gradient, policy loss, temperature. Shapes: q and sigma are
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

from .cloning import Cloning, add_cloning, cloning_gradient, critic_weight
from .descent import adam
from .learner import AbstractLearner, check_rates
from .networks import Actor, Critic, Prior, heads_of
from .replay import Batch
from .stochastic import AbstractPolicy, gaussian_entropy
from .trained import Noise, all_finite, with_prior

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
        check_rates("dsact", self, "std", "alpha")

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
    (q_one, q_two), discount = q.unbind(), gamma * live
    lower = q_one <= q_two
    y_q = reward + discount * (torch.where(lower, q_one, q_two) - alpha * log_prob)
    return y_q, y_q + discount * torch.where(lower, *sigma.unbind()) * noise.clamp(-NOISE_CLIP, NOISE_CLIP)


def critic_gradient(q: Tensor, sigma: Tensor, y_q: Tensor, y_z: Tensor, sigma_mean: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's eq. 26 with the authors' biases: the gradient in Q and sigma, to be summed over the critics.

    g_Q = -(m^2 + 0.1) (y_q - Q)/(sigma^2 + 0.1) / batch,
    g_sigma = -(m^2 + 0.1) (delta^2 - sigma^2)/(sigma^3 + 0.1) / batch,    delta = clip(y_z - Q, +-3 m).

    Args:
        q: critics at the data (n_critics, batch).
        sigma: their standard deviations (n_critics, batch).
        y_q: target of the mean (batch,).
        y_z: sampled target (batch,) or (n_critics, batch).
        sigma_mean: running mean m of sigma (n_critics,).

    Returns:
        g_Q and g_sigma, each (n_critics, batch).
    """
    bound = BOUND_FACTOR * sigma_mean[..., None]
    delta = (y_z - q).clamp(-bound, bound)
    square = sigma * sigma
    weight = (sigma_mean * sigma_mean + WEIGHT_BIAS)[..., None] / -q.shape[-1]
    toward_q = weight * (y_q - q) / (square + SIGMA_BIAS)
    toward_sigma = weight * (delta * delta - square) / (square * sigma + SIGMA_BIAS)
    return toward_q, toward_sigma


def policy_loss(q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """E[ alpha log pi - min_i Q_i ] (paper eq. 22).

    Args:
        q: critics at a sampled action (2, batch).
        log_prob: its log pi (batch,).
        alpha: temperature.

    Returns:
        Scalar.
    """
    return (alpha * log_prob - torch.minimum(*q.unbind())).mean(-1).sum()


def policy_gradient(q: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of `policy_loss` in q and log pi.

    Args:
        q: critics at a sampled action (2, batch).
        alpha: temperature.

    Returns:
        g_Q (2, batch), -1 / batch for the lower critic and 0 for the other, and g_log_pi, alpha / batch.
    """
    share = 1.0 / q.shape[-1]
    lower = (q[0] <= q[1]).to(q.dtype)
    return torch.stack((-share * lower, share * (lower - 1.0))), share * alpha


def temperature_gradient(log_prob: Tensor, target_entropy: float | Tensor) -> Tensor:
    """Gradient of -log alpha (E[log pi] + H) in log alpha, which raises alpha while the policy is too certain.

    Args:
        log_prob: log pi of sampled actions (batch,).
        target_entropy: H [nat].

    Returns:
        (1,).
    """
    return -(log_prob.mean(-1, keepdim=True) + target_entropy)


class Dsact(AbstractLearner):
    """The learner: two critics, a policy, their targets and a temperature.

    Args:
        actor: the policy network; its mean is the law at the start.
        critic: two critics with two outputs each (Q, and sigma before the softplus).
        policy: how noise becomes an action and its log pi.
        settings: rates and constants.
        gamma: discount factor.
        noise: source of all noise of the learner.
        prior: value (x, a, weight) -> (batch,) in scaled rewards that the networks only correct, or None.
        compiled: whether torch compiles both steps on their first use.
        steady: as in `AbstractLearner`.
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
        steady: bool | None = None,
    ) -> None:
        super().__init__(actor, critic, settings, gamma, noise, prior, compiled, steady)
        self.policy, self.nu = policy, actor.head.bias.shape[-1]
        stack = (noise.seeds,) if noise.seeds > 1 else ()
        self.log_alpha = torch.full((*stack, 1), math.log(settings.alpha), device=self.device)
        self.alpha_adam = adam(self.log_alpha, settings.alpha_rate, self.steady)
        self.sigma_mean = torch.zeros((2, *stack), device=self.device)
        self._entropy = self.dial(0.0)
        self._last |= self._zeros("sigma", "log_prob")

    def tensors(self) -> dict[str, Tensor]:
        """Everything the learner carries from one update to the next, as live tensors."""
        own = {"log_alpha": self.log_alpha, "sigma_mean": self.sigma_mean}
        return {**super().tensors(), **own, **self.alpha_adam.tensors("alpha_adam")}

    def metrics(self) -> dict[str, float]:
        """Numbers for the log, from the last update."""
        return super().metrics() | {"alpha": float(self.log_alpha.exp().mean())}

    def prepare(self) -> None:
        """Set the numbers of the next update that the host knows, the target entropy too."""
        super().prepare()
        if self.policy_due:
            self._entropy.set(self.settings.entropy(self.nu))

    def finite(self) -> bool:
        """Whether weights, temperature and last losses are all finite."""
        return super().finite() and all_finite([self.log_alpha])

    def _explore(self, phi: Tensor, base: Tensor) -> Tensor:
        """A sample of the policy, inside the box."""
        actor = self.actor.network
        return self.policy.sample(actor, actor(phi), base, self.noise(base.shape)).a.clamp(-1.0, 1.0)

    def _critic_step(self, batch: Batch) -> None:
        eps, z = self.noise(batch.base1.shape), self.noise(batch.reward.shape)
        rate = self.settings.statistics_rate if self.updates else 1.0
        gradient, q, sigma, loss = self._critic_terms(batch, eps, z, rate)
        self.critic.descend(gradient)
        self._last.update(critic_loss=loss, q=q, sigma=sigma)

    def _policy_step(self, batch: Batch, cloning: Cloning | None) -> None:
        eps = self.noise(batch.base.shape)
        gradient, loss, log_prob = self._policy_terms(batch, eps, cloning)
        self.actor.descend(gradient)
        self.alpha_adam.step(temperature_gradient(log_prob, self._entropy.value))
        self._last.update(actor_loss=loss, log_prob=log_prob)

    def _critic_gradient(
        self, batch: Batch, eps: Tensor, z: Tensor, rate: float
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Gradient of the critics in their parameters, their means, mean deviations, and squared errors."""
        a1, log_prob, *_ = self.policy.sample(self.actor.target, self.actor.target(batch.phi1), batch.base1, eps)
        q1, raw_sigma1 = self.critic.target(batch.phi1, a1).unbind(-1)
        q1, sigma1 = with_prior(q1, self.prior, batch.x1, a1, batch.weight1), softplus(raw_sigma1)
        alpha = self.log_alpha.exp()
        y_q, y_z = value_targets(batch.reward, batch.live, q1, sigma1, log_prob, z, alpha, self.gamma)
        passed = self.critic.network.forward_pass(batch.phi, batch.a)
        raw_q, raw_sigma = passed.out.view(-1, *y_q.shape[:-1], 2, y_q.shape[-1]).unbind(-2)
        q, sigma = with_prior(raw_q, self.prior, batch.x, batch.a, batch.weight), softplus(raw_sigma)
        now = sigma.mean(-1)
        self.sigma_mean.lerp_(now, rate)
        of_q, of_sigma = critic_gradient(q, sigma, y_q, y_z, self.sigma_mean)
        of_out = torch.stack((of_q, of_sigma * torch.sigmoid(raw_sigma)), -2)  # the softplus' slope is the sigmoid
        return self.critic.network.gradient(passed, of_out), q, now, (y_q - q).square()

    def _policy_gradient(
        self, batch: Batch, eps: Tensor, cloning: Cloning | None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Gradient of the policy's loss in its parameters, the loss, and log pi of its actions."""
        actor, alpha = self.actor.network, self.log_alpha.exp()
        passed = actor.forward_pass(batch.phi)
        heads = heads_of(passed.out, batch.phi)
        sample = self.policy.sample(actor, heads, batch.base, eps)
        a, log_prob = sample.a, sample.log_prob
        seen = self.critic.network.forward_pass(batch.phi, a)
        raw, _ = seen.out.view(-1, *log_prob.shape[:-1], 2, log_prob.shape[-1]).unbind(-2)
        q = with_prior(raw, self.prior, batch.x, a, batch.weight)
        of_q, of_log_prob = policy_gradient(q, alpha)
        if cloning is not None:
            weight = critic_weight(torch.minimum(*q.unbind()), cloning)
            of_q, of_log_prob = weight * of_q, weight * of_log_prob
        of_a = self._action_gradient(seen, torch.stack((of_q, torch.zeros_like(of_q)), -2), of_q, batch, a)
        if cloning is not None:
            of_a = of_a + cloning_gradient(a, batch.a)
        gradient = self._actor_gradient(passed, self.policy.gradient(actor, heads, sample, of_a, of_log_prob))
        loss = add_cloning(policy_loss(q, log_prob, alpha), torch.minimum(*q.unbind()), a, batch.a, cloning)
        return gradient, loss, log_prob
