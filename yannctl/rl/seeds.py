"""Several seeds in one network: their weights get a leading dimension, so one pass of small matrices serves them all.

At 64 units a pass is mostly overhead, and sixteen seeds cost little more than a few. Nothing is shared between seeds:
each has its own environment, memory, random numbers and gate; the loss is the sum over seeds, whose gradient for each
is its own; Adam acts element by element, so it is exact for each. A seed therefore learns what it would have learned
alone, up to the rounding of differently ordered sums.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gymnasium
import torch
from torch import Tensor, nn
from tqdm import tqdm

from yannctl.errors import ModelError

from .construction import Learner, assemble, make_policy
from .device import CPU, device_of, generator_on
from .episodes import stream_seed
from .model_training import refuse_model
from .progress import progress_row
from .replay import AbstractDrawing, Batch, as_batch
from .run import Run
from .safeguard import Wanted, safeguard_of
from .settings import TrainingSettings
from .stacked_networks import places, stack_actors, stack_critics
from .task import another, task_of
from .trained import Noise
from .training import TrainingResult
from .updates import Updates

STACK_STREAM = 6  # of the first seed, apart from all that a run draws


@dataclass(frozen=True)
class StackedDrawing(AbstractDrawing):
    """How batches are drawn that hold as many transitions of every seed.

    Args:
        runs: the run of each seed, with its own memory and random numbers.
        table: on a GPU the memories of all (seeds, capacity, width), of which each run has its part.
    """

    runs: tuple[Run, ...]
    table: Tensor | None = None

    def batches(self, n: int, reward_scale: Tensor, generator: torch.Generator) -> Iterator[Batch]:
        """Draw batches (seeds, batch, .), each seed with the random numbers of its own run."""
        first = self.runs[0]
        drawn = [run.replay.draw(n, run.settings.batch, run.generator) for run in self.runs]
        for rows in torch.stack(drawn, 1).unbind(0):
            yield as_batch(rows, first.replay.widths, reward_scale, self._proposed_from)

    def one(self, reward_scale: Tensor, generator: torch.Generator) -> Batch:
        """Draw one batch (seeds, batch, .), as `AbstractDrawing.one` says; all seeds have as many transitions."""
        assert self.table is not None
        (seeds, capacity, width), first = self.table.shape, self.runs[0]
        share = torch.rand(
            seeds, first.settings.batch, generator=generator, device=self.table.device, dtype=torch.float64
        )
        own = torch.arange(seeds, device=self.table.device)[:, None] * capacity
        index = own + (share * first.replay.filled.value).long()
        rows = self.table.view(-1, width).index_select(0, index.view(-1)).view(seeds, -1, width)
        return as_batch(rows, first.replay.widths, reward_scale, self._proposed_from)

    @property
    def _proposed_from(self) -> int | None:
        return 1 if self.runs[0].replay.proposals else None


class Stack:
    """The runs of several seeds and the one learner that trains them.

    On a GPU learner, memories and their random numbers are there, and one stream of those serves all seeds.

    Args:
        runs: a run a seed, equal but for the seed, on the CPU.
        device: where the learner is.

    Raises:
        ModelError: for a run with an exact critic as base, which has no stacked form.
    """

    def __init__(self, runs: Sequence[Run], device: torch.device = CPU) -> None:
        first = runs[0]
        if first.prior is not None:
            raise ModelError("critic_base", "is not available with stacked seeds", remedy="use 'none'")
        self.runs, n = tuple(runs), len(runs)
        drawing = generator_on(device, stream_seed(first.seed, STACK_STREAM, n))
        self.learner: Learner = assemble(
            first.algorithm,
            stack_actors([run.learner.actor.network for run in runs]).to(device),
            stack_critics([run.learner.critic.network for run in runs]).to(device),
            make_policy(first.learning, first.half, first.settings),
            first.settings,
            Noise(*(run.generator for run in runs)) if drawing is None else Noise(drawing, seeds=n),
            None,
        )
        table = None
        if drawing is not None:
            table = torch.zeros(n, *first.replay.table.shape, device=device)
            for run, part in zip(runs, table, strict=True):
                run.replay = run.replay.lying_at(part)
        self.drawing = StackedDrawing(self.runs, table)
        self.updates = Updates(self.learner, drawing or first.generator, (n, 1))
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
        if n:
            self.updates.make(n, self.drawing, torch.tensor([[run.count.reward_scale] for run in self.runs]))

    def give(self) -> None:
        """Copy every seed's part of the learner into its run."""
        shown = self.learner.shown
        stacked = {name: tensor.cpu() for name, tensor in self.learner.tensors().items()}
        for i, run in enumerate(self.runs):
            for name, own in run.learner.tensors().items():
                own.copy_(self._part(name, stacked[name], i))
            run.learner.updates = self.learner.updates
            run.learner.shown = {name: value.clone() for name, value in shown.items()}

    def take(self, i: int) -> None:
        """Copy one run's learner back into the stack, after a rollback.

        Args:
            i: its place.
        """
        stacked, device = self.learner.tensors(), self.learner.device
        for name, kept in self.runs[i].learner.tensors().items():
            own = kept.to(device)
            if name.startswith(("actor", "target_actor", "average", "critic", "target_critic")) and own.dim():
                stacked[name][..., self._places(name)[i].to(device)] = own
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
        settings: all numbers of the runs; None for the recipe. Nothing is written to disk. With `device` "cuda" all
            seeds draw from one stream of random numbers, so a result depends on which seeds are trained together.
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
        device, alone = device_of(settings.device), settings.changed({"device": "cpu"})
        runs = [Run(actor, None, another(env), algorithm, seed, alone, guard) for seed in seeds]
        stack = Stack(runs, device)
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
