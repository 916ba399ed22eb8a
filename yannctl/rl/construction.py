"""Builds the learner of a run: its networks in single precision, its algorithm, its distribution."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from yannctl.errors import ModelError
from yannctl.yann.extension import ExtendedActor
from yannctl.yann.five_layer import FiveLayerActor

from .ddpg import Ddpg
from .device import device_of
from .dsact import Dsact
from .networks import Actor, CentreLaw, Critic, Prior
from .published import PublishedActor, PublishedCritic, PublishedDdpg
from .settings import TrainingSettings
from .stochastic import AbstractPolicy, ClampedGaussian, TanhGaussian
from .task import Task
from .td3 import Td3
from .trained import Noise

ALGORITHMS = ("dsact", "td3", "ddpg")
Learner = Dsact | Td3 | Ddpg
NODES = 16  # of each region in the published form: the pendulum of the paper
LQR = 'algorithm="ddpg", critic=encode_critic(ocp, kind="lqr"), critic_base="everywhere"'


def make_policy_network(actor: nn.Module | None, task: Task, seed: int, settings: TrainingSettings) -> ExtendedActor:
    """The policy in double precision: the law plus a learned part that is zero, frozen.

    Args:
        actor: the exact law, or None for the middle of the input box.
        task: sizes and boxes.
        seed: of the initial weights.
        settings: all numbers.

    Returns:
        The policy.

    Raises:
        ModelError: for the published form without an explicit law.
    """
    law = copy.deepcopy(actor) if actor is not None else CentreLaw(task.u_min, task.u_max)
    if settings.actor == "published":
        source = getattr(law, "source", None)
        if source is None:
            raise ModelError("actor", "the published form needs an explicit law", remedy="give encode_actor(law)")
        law = law if isinstance(law, FiveLayerActor) else FiveLayerActor(source.law)
        made = ExtendedActor(law, task.bounds, (NODES,), seed, kind="published", dtype=torch.float64)
    else:
        hidden = (settings.width,) * settings.depth
        made = ExtendedActor(law, task.bounds, hidden, seed, settings.authority, dtype=torch.float64)
    made.requires_grad_(False)
    return made


def make_actor(algorithm: str, policy: ExtendedActor, settings: TrainingSettings) -> Actor:
    """The policy network, whose residual is a single-precision copy of the extended actor's.

    Args:
        algorithm: one of `ALGORITHMS`.
        policy: the extended actor.
        settings: all numbers.

    Returns:
        The network.
    """
    residual = copy.deepcopy(policy.learned).float()
    assert isinstance(residual, nn.Sequential)
    return Actor(residual, settings.authority, getattr(settings, algorithm).std)


def make_critic(
    algorithm: str, n_features: int, nu: int, settings: TrainingSettings, generator: torch.Generator, prior: bool
) -> Critic:
    """The critics: two with two outputs for DSAC-T, two with one for TD3, one for DDPG.

    Args:
        algorithm: one of `ALGORITHMS`.
        n_features: number of features.
        nu: number of inputs.
        settings: all numbers.
        generator: source of the initial weights.
        prior: whether their mean starts at a prior's value.

    Returns:
        The network.
    """
    n_critics, n_out = {"dsact": (2, 2), "td3": (2, 1), "ddpg": (1, 1)}[algorithm]
    critic = Critic(n_features, nu, settings.width, n_critics, n_out, generator, settings.depth, settings.layer_norm)
    if prior:
        critic.start_at_prior()
    return critic


def make_policy(policy: ExtendedActor, half: Tensor, settings: TrainingSettings) -> AbstractPolicy:
    """The distribution of DSAC-T's policy.

    Args:
        policy: the extended actor.
        half: half ranges of the inputs (nu,) [physical units].
        settings: all numbers.

    Returns:
        The distribution.

    Raises:
        ModelError: for a tanh-Gaussian that would have to start at a law or reach only part of the box.
    """
    if settings.dsact.policy == "clamped":
        return ClampedGaussian()
    if not isinstance(policy.base, CentreLaw) or settings.authority != 0.5:
        raise ModelError(
            "policy",
            "a tanh-Gaussian cannot start at a law",
            remedy="use policy 'clamped', or learn from scratch with authority 0.5",
        )
    return TanhGaussian(half)


def make_learner(
    algorithm: str,
    policy: ExtendedActor,
    half: Tensor,
    settings: TrainingSettings,
    generator: torch.Generator,
    prior: Prior | None,
    drawing: torch.Generator | None = None,
) -> Learner | Any:
    """Build the learner of a run.

    Args:
        algorithm: one of `ALGORITHMS`.
        policy: the extended actor it trains.
        half: half ranges of the inputs (nu,) [physical units].
        settings: all numbers.
        generator: source of the initial weights.
        prior: the exact critic, or None.
        drawing: source of all noise, on the device; None: `generator`.

    Returns:
        The learner, on the device of the settings.

    Raises:
        ModelError: for a GPU that is not there, or that has no form of what is wanted.
    """
    device = device_of(settings.device)
    if device.type != "cpu" and (prior is not None or policy.kind == "published"):
        name = "actor" if policy.kind == "published" else "critic_base"
        raise ModelError(name, f"got {getattr(settings, name)!r}, which has no form for a GPU", remedy="use device cpu")
    if policy.kind == "published":
        return _published(algorithm, policy, len(half), settings, generator, prior)
    actor = make_actor(algorithm, policy, settings)
    critic = make_critic(algorithm, policy.features.size, len(half), settings, generator, prior is not None)
    shape = make_policy(policy, half, settings)
    noise = Noise(drawing or generator)
    return assemble(algorithm, actor.to(device), critic.to(device), shape, settings, noise, prior)


def _published(
    algorithm: str,
    policy: ExtendedActor,
    nu: int,
    settings: TrainingSettings,
    generator: torch.Generator,
    prior: Prior | None,
) -> Any:
    """The published learner: it does what every `Learner` does, but its parts fit no other."""
    if algorithm != "ddpg" or prior is None:
        got = f"{algorithm} {'with' if prior is not None else 'without'} a critic"
        raise ModelError("actor", f"the published form is DDPG with the LQR critic, got {got}", remedy=LQR)
    learned = copy.deepcopy(policy.learned).float().requires_grad_(True)
    nx = policy.features.nx
    critic = PublishedCritic(nx, nu, settings.width, generator)
    return PublishedDdpg(PublishedActor(learned, nx), critic, settings.ddpg, settings.gamma, prior)


def assemble(
    algorithm: str,
    actor: Actor,
    critic: Critic,
    policy: AbstractPolicy,
    settings: TrainingSettings,
    noise: Noise,
    prior: Prior | None,
    steady: bool | None = None,
) -> Learner:
    """Put a learner together from its parts.

    Args:
        algorithm: one of `ALGORITHMS`.
        actor: the policy network.
        critic: the critics.
        policy: the distribution (DSAC-T only).
        settings: all numbers.
        noise: source of all noise.
        prior: the exact critic, or None.
        steady: as in `AbstractLearner`.

    Returns:
        The learner.
    """
    if algorithm == "ddpg":
        return Ddpg(actor, critic, settings.ddpg, settings.gamma, noise, prior, settings.compile, steady)
    if algorithm == "td3":
        return Td3(actor, critic, settings.td3, settings.gamma, noise, prior, settings.compile, steady)
    return Dsact(actor, critic, policy, settings.dsact, settings.gamma, noise, prior, settings.compile, steady)
