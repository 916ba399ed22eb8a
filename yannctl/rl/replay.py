"""Replay memory: one preallocated table, a row a transition, so that many batches are one gather.

A row holds x, phi(x), a, proposed, base(x), r, live, w(x), x1, phi(x1), base(x1), w(x1) in single precision: base is
the exact law's action, w the weight of the exact critic; `live` is 0 only where x1 is terminal. A time limit ends the
episode but not the task, so it leaves live = 1 and the value is bootstrapped. `a` is the input really applied, after
clipping and after any safety filter; `proposed` is what the learner had asked for.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


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
    """

    def __init__(self, capacity: int, nx: int, n_features: int, nu: int, proposals: bool = False) -> None:
        self.proposals = proposals
        self.widths = (nx, n_features, nu, nu, nu, 1, 1, 1, nx, n_features, nu, 1)
        self.table = torch.zeros(capacity, sum(self.widths))
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, len(self.table))

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
        self.table[torch.arange(self.added, self.added + len(rows)) % len(self.table)] = rows
        self.added += len(rows)

    def latest(self, n: int) -> Tensor:
        """Give the last rows in the order they came.

        Args:
            n: how many, if there are so many.

        Returns:
            (m, width), m <= n.
        """
        return self.table[torch.arange(self.added - min(n, len(self)), self.added) % len(self.table)]

    def fill(self, rows: np.ndarray) -> None:
        """Take all rows a run has added so far, of which the memory keeps the last.

        Args:
            rows: (added, width).
        """
        self.added = len(rows)
        kept = torch.from_numpy(np.array(rows[-len(self.table) :], np.float32)).reshape(-1, self.table.shape[1])
        places = torch.arange(self.added - len(kept), self.added) % len(self.table)
        self.table[places] = kept

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

    def batches(self, n: int, size: int, reward_scale: float, generator: torch.Generator) -> Iterator[Batch]:
        """Draw batches with replacement.

        Args:
            n: number of batches.
            size: transitions in each.
            reward_scale: factor on the rewards.
            generator: source of the draw.

        Yields:
            The batches.
        """
        for rows in self.draw(n, size, generator).unbind(0):
            yield as_batch(rows, self.widths, reward_scale, self.proposals)


def as_batch(rows: Tensor, widths: tuple[int, ...], reward_scale: float | Tensor, proposals: bool = False) -> Batch:
    """Cut rows into their columns.

    With `proposals` the action of every second one is what had been asked for: what a filter and the actuators make of
    it is part of the plant, and both leave an applied input as it is, so the two have the same value. With applied
    inputs alone nothing is known beyond the filter's border, and a policy runs away to where the critics err.

    Args:
        rows: (..., size, width).
        widths: widths of the columns.
        reward_scale: factor on the rewards, one or (..., 1).
        proposals: as above.

    Returns:
        The batch.
    """
    x, phi, a, proposed, base, reward, live, weight, x1, phi1, base1, weight1 = rows.split(widths, -1)
    scaled = reward.squeeze(-1) * reward_scale
    if proposals:
        a = a.clone()
        a[..., 1::2, :] = proposed[..., 1::2, :]
    weights = weight.squeeze(-1), weight1.squeeze(-1)
    return Batch(x, phi, a, proposed, base, scaled, live.squeeze(-1), x1, phi1, base1, *weights)
