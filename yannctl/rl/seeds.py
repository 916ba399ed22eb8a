"""Several seeds in one network: their weights get a leading dimension, so one pass of small matrices serves them all.

At 64 units a pass is mostly overhead, and sixteen seeds cost little more than a few. Nothing is shared between seeds:
each has its own environment, memory, random numbers and gate; the loss is the sum over seeds, whose gradient for each
is its own; Adam acts element by element, so it is exact for each. A seed therefore learns what it would have learned
alone, up to the rounding of differently ordered sums.
"""

import copy
import time
from collections.abc import Sequence
from typing import cast

import gymnasium
import torch
from torch import Tensor, nn
from tqdm import tqdm

from yannctl.errors import ModelError

from .construction import Learner, assemble, make_policy
from .model_training import refuse_model
from .networks import Actor, Critic
from .progress import progress_row
from .replay import as_batch
from .run import Run
from .safeguard import Wanted, safeguard_of
from .settings import TrainingSettings
from .task import another, task_of
from .trained import Noise
from .training import TrainingResult


class StackedLinear(nn.Module):
    """One linear layer a seed, (seeds, batch, in) -> (seeds, batch, out).

    Args:
        layers: the layer of each seed.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate every seed's layer on its own rows."""
        return torch.baddbmm(self.bias, x, self.weight.transpose(-1, -2))


def stack_actors(actors: Sequence[Actor]) -> Actor:
    """One actor with the weights of all.

    Args:
        actors: the actor of each seed.

    Returns:
        An actor on (seeds, batch, .); its parameters are in the same order.
    """
    stacked = copy.deepcopy(actors[0])
    for name, module in actors[0].named_modules():
        if isinstance(module, nn.Linear):
            layers = [cast("nn.Linear", actor.get_submodule(name)) for actor in actors]
            parent, _, last = name.rpartition(".")
            setattr(stacked.get_submodule(parent), last, StackedLinear(layers))
    return stacked


def stack_critics(critics: Sequence[Critic]) -> Critic:
    """One batch of critics with the weights of all: the first critic of every seed, then the second of every seed.

    Args:
        critics: the critics of each seed.

    Returns:
        Critics on (seeds, batch, .).
    """
    stacked = copy.deepcopy(critics[0])
    for name in ("weights", "biases"):
        for i, own in enumerate(getattr(stacked, name)):
            parts = [getattr(critic, name)[i].detach() for critic in critics]
            own.data = torch.stack(parts, 1).reshape(-1, *own.shape[1:])
    return stacked


def places(network: nn.Module, seeds: int) -> Tensor:
    """Where each seed's own flat weights stand among the stacked ones.

    Args:
        network: the stacked network.
        seeds: number of seeds.

    Returns:
        Indices (seeds, weights of one).
    """
    parts, start = [], 0
    for parameter in network.parameters():
        index = torch.arange(start, start + parameter.numel())
        copies = parameter.shape[0] // seeds if isinstance(network, Critic) else 1
        parts.append(index.view(copies, seeds, -1).transpose(0, 1).reshape(seeds, -1))
        start += parameter.numel()
    return torch.cat(parts, 1)


class Stack:
    """The runs of several seeds and the one learner that trains them.

    Args:
        runs: a run a seed, equal but for the seed.

    Raises:
        ModelError: for a run with an exact critic as base, which has no stacked form.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        first = runs[0]
        if first.prior is not None:
            raise ModelError("critic_base", "is not available with stacked seeds", remedy="use 'none'")
        self.runs = list(runs)
        self.learner: Learner = assemble(
            first.algorithm,
            stack_actors([run.learner.actor.network for run in runs]),
            stack_critics([run.learner.critic.network for run in runs]),
            make_policy(first.learning, first.half, first.settings),
            first.settings,
            Noise(*(run.generator for run in runs)),
            None,
        )
        self.actor_places = places(self.learner.actor.network, len(self.runs))
        self.critic_places = places(self.learner.critic.network, len(self.runs))

    def step(self) -> None:
        """One step of every seed's environments, and the updates that follow."""
        first = self.runs[0]
        if first.count.step < first.settings.warmup_steps:
            actions = [run.warmup() for run in self.runs]
        else:
            phi, base = (torch.stack([run.view[part] for run in self.runs]) for part in (1, 2))
            actions = list(self.learner.explore(phi, base))
        for run, action in zip(self.runs, actions, strict=True):
            run.advance(action)
        n = [run.due() for run in self.runs][-1]
        if not n:
            return
        drawn = [run.replay.draw(n, run.settings.batch, run.generator) for run in self.runs]
        scale = torch.tensor([[run.count.reward_scale] for run in self.runs])
        for rows in torch.stack(drawn, 1).unbind(0):
            self.learner.update(as_batch(rows, first.replay.widths, scale, first.replay.proposals))

    def give(self) -> None:
        """Copy every seed's part of the learner into its run."""
        stacked = self.learner.tensors()
        for i, run in enumerate(self.runs):
            for name, own in run.learner.tensors().items():
                own.copy_(self._part(name, stacked[name], i))
            run.learner.updates = self.learner.updates
            run.learner.shown = {name: value.clone() for name, value in self.learner.shown.items()}

    def take(self, i: int) -> None:
        """Copy one run's learner back into the stack, after a rollback.

        Args:
            i: its place.
        """
        stacked = self.learner.tensors()
        for name, own in self.runs[i].learner.tensors().items():
            if name.startswith(("actor", "target_actor", "average", "critic", "target_critic")) and own.dim():
                stacked[name][..., self._places(name)[i]] = own
            elif name == "sigma_mean":
                stacked[name][:, i] = own
            elif own.dim():
                stacked[name].view(*own.shape[:-1], -1)[..., i] = own[..., 0]

    def heal(self) -> None:
        """Roll back every seed whose weights are not finite; the others go on."""
        if self.learner.updates and not self.learner.finite():
            self.give()
            for i, run in enumerate(self.runs):
                if not all(bool(part.isfinite().all()) for part in run.learner.tensors().values()):
                    run.rollback()
                    self.take(i)
            shown = self.learner.shown
            self.learner.shown = {name: value.nan_to_num(0.0, 0.0, 0.0) for name, value in shown.items()}

    def _places(self, name: str) -> Tensor:
        return self.critic_places if "critic" in name else self.actor_places

    def _part(self, name: str, tensor: Tensor, i: int) -> Tensor:
        if not tensor.dim():
            return tensor
        if name.startswith(("actor", "target_actor", "average", "critic", "target_critic")):
            return tensor[..., self._places(name)[i]]
        if name == "log_alpha":
            return tensor[i]
        return tensor[:, i]


def train_seeds(
    actor: nn.Module | None,
    env: gymnasium.Env,
    seeds: Sequence[int],
    algorithm: str = "dsact",
    steps: int = 4000,
    settings: TrainingSettings | None = None,
    progress: bool = False,
    assurance: Wanted = "auto",
) -> list[TrainingResult]:
    """Train several seeds at once in one stacked network; each result is what `train` gives for its seed, to rounding.

    Args:
        actor: the exact law, or None to learn from scratch.
        env: the environment; every seed gets one of its own.
        seeds: at least two different seeds.
        algorithm: "dsact", "td3" or "ddpg".
        steps: environment steps of each seed.
        settings: all numbers of the runs; None for the recipe. Nothing is written to disk.
        progress: whether to show a progress bar (only on a terminal).
        assurance: the certified filter, as in `train`.

    Returns:
        A result a seed.

    Raises:
        ModelError: for arguments that do not fit together.
        TrainingError: if an environment returns NaN, or a seed diverges again and again.
    """
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise ModelError("seeds", f"got {list(seeds)}, expected at least two different ones")
    settings, threads, started = settings or TrainingSettings(), torch.get_num_threads(), time.perf_counter()
    refuse_model(settings, "stacked seeds")
    torch.set_num_threads(settings.threads)
    try:
        guard = safeguard_of(env, task_of(env), assurance)
        stack = Stack([Run(actor, None, another(env), algorithm, seed, settings, guard) for seed in seeds])
        history: list[list] = [[] for _ in seeds]
        events: list[list] = [[] for _ in seeds]
        for _ in tqdm(range(0, steps, settings.environments), unit="step", disable=None if progress else True):
            stack.step()
            stack.heal()
            if stack.runs[0].count.step % settings.gate_every < settings.environments and stack.learner.updates:
                stack.give()
                for i, run in enumerate(stack.runs):
                    events[i].append(run.test())
                    history[i].append(progress_row(run, events[i][-1], time.perf_counter() - started, 0))
        stack.give()
        for run in stack.runs:
            run.export()
    finally:
        torch.set_num_threads(threads)
    seconds = time.perf_counter() - started
    return [
        TrainingResult(run.deployed, run.learning, history[i], events[i], seconds, guard)
        for i, run in enumerate(stack.runs)
    ]
