"""Replay memory: one preallocated table, a row a transition, so that many batches are one gather.

A row holds x, phi(x), a, proposed, base(x), r, live, w(x), x1, phi(x1), base(x1), w(x1) in single precision: base is
the exact law's action, w the weight of the exact critic; `live` is 0 only where x1 is terminal. A time limit ends the
episode but not the task, so it leaves live = 1 and the value is bootstrapped. `a` is the input really applied, after
clipping and after any safety filter; `proposed` is what the learner had asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .device import CPU, Dial


class Batch(NamedTuple):
    """Transitions, one a row; actions and law in scaled units, rewards already scaled.

    Args:
        x: states (batch, nx).
        phi: features of x (batch, n_features).
        a: applied action (batch, nu).
        proposed: what the learner had asked for (batch, nu).
        base: the law's action at x (batch, nu).
        reward: (batch,).
        live: 0 where x1 is terminal, else 1 (batch,).
        x1: next states (batch, nx).
        phi1: features of x1.
        base1: the law's action at x1.
        weight: weight of the exact critic at x (batch,).
        weight1: the same at x1.
    """

    x: Tensor
    phi: Tensor
    a: Tensor
    proposed: Tensor
    base: Tensor
    reward: Tensor
    live: Tensor
    x1: Tensor
    phi1: Tensor
    base1: Tensor
    weight: Tensor
    weight1: Tensor


class Replay:
    """Ring buffer of transitions.

    Args:
        capacity: number of transitions kept.
        nx: number of states.
        n_features: number of features.
        nu: number of inputs.
        proposals: whether every second transition of a batch is drawn as it was proposed (`as_batch`).
        device: where the table lies.
    """

    def __init__(
        self, capacity: int, nx: int, n_features: int, nu: int, proposals: bool = False, device: torch.device = CPU
    ) -> None:
        self.proposals = proposals
        self.widths = (nx, n_features, nu, nu, nu, 1, 1, 1, nx, n_features, nu, 1)
        self.table = torch.zeros(capacity, sum(self.widths), device=device)
        self.filled = Dial(0.0, True, device, dtype=torch.float64)  # its length, for `sample`
        self.added = 0

    @property
    def added(self) -> int:
        """Transitions ever added."""
        return self._added

    @added.setter
    def added(self, number: int) -> None:
        self._added = number
        self.filled.set(float(len(self)))

    def __len__(self) -> int:
        return min(self._added, len(self.table))

    def add(self, row: Tensor) -> None:
        """Append one step.

        Args:
            row: x, phi, a, proposed, base, reward, live, weight, x1, phi1, base1, weight1 in a line (width,).
        """
        self.table[self.added % len(self.table)] = row
        self.added += 1

    def extend(self, rows: Tensor) -> None:
        """Append several steps.

        Args:
            rows: no more than the memory holds, each as for `add` (n, width).
        """
        places = torch.arange(self.added, self.added + len(rows), device=self.table.device) % len(self.table)
        self.table[places] = rows.to(self.table.device)
        self.added += len(rows)

    def latest(self, n: int) -> Tensor:
        """Give the last rows in the order they came.

        Args:
            n: how many, if there are so many.

        Returns:
            (m, width), m <= n, on the CPU.
        """
        places = torch.arange(self.added - min(n, len(self)), self.added) % len(self.table)
        return self.table[places.to(self.table.device)].cpu()

    def fill(self, rows: np.ndarray) -> None:
        """Take all rows a run has added so far, of which the memory keeps the last.

        Args:
            rows: (added, width).
        """
        self.added = len(rows)
        kept = torch.from_numpy(np.array(rows[-len(self.table) :], np.float32)).reshape(-1, self.table.shape[1])
        places = torch.arange(self.added - len(kept), self.added) % len(self.table)
        self.table[places.to(self.table.device)] = kept.to(self.table.device)

    def draw(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """Draw rows with replacement, in one gather.

        Args:
            n: number of batches.
            size: transitions in each.
            generator: source of the draw.

        Returns:
            (n, size, width).
        """
        index = torch.randint(len(self), (n * size,), generator=generator)
        return self.table.index_select(0, index).view(n, size, self.table.shape[1])

    def sample(self, size: int, generator: torch.Generator) -> Tensor:
        """Draw rows with replacement without asking the host how many there are, so that a graph can repeat it.

        Args:
            size: number of rows.
            generator: source of the draw, on the table's device.

        Returns:
            (size, width).
        """
        share = torch.rand(size, generator=generator, device=self.table.device, dtype=torch.float64)
        return self.table.index_select(0, (share * self.filled.value).long())

    def lying_at(self, table: Tensor) -> "Replay":
        """The same memory, still empty, on another table.

        Args:
            table: zeros (capacity, width), on any device.
        """
        other = Replay(0, *self.widths[:3], self.proposals, table.device)
        other.table = table
        return other

    def drawing(self, size: int) -> "Drawing":
        """How batches are drawn from this memory alone.

        Args:
            size: transitions in each.
        """
        return Drawing((self,), (size,), 1 if self.proposals else None)


class AbstractDrawing(ABC):
    """How batches are drawn; equal ones are drawn alike."""

    @abstractmethod
    def batches(self, n: int, reward_scale: Any, generator: torch.Generator) -> Iterator[Batch]:
        """Draw batches with replacement.

        Args:
            n: number of batches.
            reward_scale: factor on the rewards.
            generator: source of the draw.

        Yields:
            The batches.
        """

    @abstractmethod
    def one(self, reward_scale: Any, generator: torch.Generator) -> Batch:
        """Draw one batch in the form that a graph can repeat.

        Args:
            reward_scale: factor on the rewards.
            generator: source of the draw, on the memories' device.

        Returns:
            The batch.
        """


@dataclass(frozen=True)
class Drawing(AbstractDrawing):
    """How batches are drawn from one memory or several of the same columns.

    Args:
        memories: the memories.
        sizes: how many transitions of a batch come from each.
        proposed: the first of the transitions that are taken as proposed, every second from there (`as_batch`).
    """

    memories: tuple[Replay, ...]
    sizes: tuple[int, ...]
    proposed: int | None = None

    def batches(self, n: int, reward_scale: float, generator: torch.Generator) -> Iterator[Batch]:
        """Draw batches with replacement, as `AbstractDrawing.batches` says."""
        drawn = [m.draw(n, size, generator) for m, size in zip(self.memories, self.sizes, strict=True)]
        for rows in (drawn[0] if len(drawn) == 1 else torch.cat(drawn, 1)).unbind(0):
            yield as_batch(rows, self.memories[0].widths, reward_scale, self.proposed)

    def one(self, reward_scale: float | Tensor, generator: torch.Generator) -> Batch:
        """Draw one batch, as `AbstractDrawing.one` says."""
        drawn = [m.sample(size, generator) for m, size in zip(self.memories, self.sizes, strict=True)]
        rows = drawn[0] if len(drawn) == 1 else torch.cat(drawn)
        return as_batch(rows, self.memories[0].widths, reward_scale, self.proposed)


def as_batch(
    rows: Tensor, widths: tuple[int, ...], reward_scale: float | Tensor, proposed_from: int | None = None
) -> Batch:
    """Cut rows into their columns.

    With `proposed_from` the action of every second one is what had been asked for: what a filter and the actuators make
    of it is part of the plant, and both leave an applied input as it is, so the two have the same value. With applied
    inputs alone nothing is known beyond the filter's border, and a policy runs away to where the critics err.

    Args:
        rows: (..., size, width).
        widths: widths of the columns.
        reward_scale: factor on the rewards, one or (..., 1).
        proposed_from: the first row whose action is the proposed one; None: all are the applied ones.

    Returns:
        The batch.
    """
    x, phi, a, proposed, base, reward, live, weight, x1, phi1, base1, weight1 = rows.split(widths, -1)
    scaled = reward.squeeze(-1) * reward_scale
    if proposed_from is not None:
        a = a.clone()
        a[..., proposed_from::2, :] = proposed[..., proposed_from::2, :]
    weights = weight.squeeze(-1), weight1.squeeze(-1)
    return Batch(x, phi, a, proposed, base, scaled, live.squeeze(-1), x1, phi1, base1, *weights)
