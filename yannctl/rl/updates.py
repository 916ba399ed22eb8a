"""Drawing batches and updating with them: one by one on the CPU, as CUDA graphs on a GPU.

At 64 units a GPU is done with a kernel sooner than the host has asked for the next, and a read of its memory makes the
host wait. So on a GPU nothing is read between updates, memory and random numbers lie there too, and an update, its
batch included, is recorded once as a graph (`torch.cuda.CUDAGraph`) and then asked for as a whole. What the host alone
knows (rates, scale of the rewards, number of transitions) it writes to fixed places before (`device.Dial`).
"""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from .cloning import Cloning
from .device import Dial
from .replay import AbstractDrawing


class Updates:
    """Makes the updates of one learner.

    Args:
        learner: the learner.
        generator: source of the draws, on the learner's device.
        scales: shape of the factor on the rewards.
        graphs: whether to record graphs; None: on a GPU.
    """

    def __init__(
        self, learner: Any, generator: torch.Generator, scales: tuple[int, ...] = (), graphs: bool | None = None
    ) -> None:
        self.learner, self.generator = learner, generator
        self.scale = Dial(0.0, learner.steady, learner.device, scales)
        self.graphs = learner.device.type == "cuda" if graphs is None else graphs
        self._recorded: dict[Hashable, Recorded | None] = {}

    def make(
        self, n: int, drawing: AbstractDrawing, reward_scale: float | Tensor, cloning: Cloning | None = None
    ) -> None:
        """Make some updates.

        Args:
            n: their number.
            drawing: how their batches are drawn.
            reward_scale: factor on the rewards.
            cloning: as in `AbstractLearner.update`.
        """
        learner = self.learner
        if not learner.steady:
            for batch in drawing.batches(n, reward_scale, self.generator):
                learner.update(batch, cloning)
            return
        self.scale.set(reward_scale)
        for _ in range(n):
            if self.graphs and learner.updates:  # the first update of all is unlike the rest
                self._repeat(drawing, cloning)
            else:
                learner.update(drawing.one(self.scale.value, self.generator), cloning)

    def _repeat(self, drawing: AbstractDrawing, cloning: Cloning | None) -> None:
        """One update by its graph; of each kind the first is made without, which also warms up, and then recorded."""
        learner, kind = self.learner, (drawing, cloning, self.learner.policy_due)
        if kind not in self._recorded:
            learner.update(drawing.one(self.scale.value, self.generator), cloning)
            self._recorded[kind] = None
            return
        graph = self._recorded[kind]
        learner.prepare()
        if graph is None:
            graph = self._recorded[kind] = Recorded(self, drawing, cloning)
        graph.replay()
        learner.updates += 1


class Recorded:
    """One kind of update as a graph.

    Args:
        updates: whose it is.
        drawing: how its batch is drawn.
        cloning: as in `AbstractLearner.update`.
    """

    def __init__(self, updates: Updates, drawing: AbstractDrawing, cloning: Cloning | None) -> None:
        self.learner, self.graph = updates.learner, torch.cuda.CUDAGraph()
        before = self.learner.last
        self.graph.register_generator_state(updates.generator)
        with torch.cuda.graph(self.graph):
            self.learner.move(drawing.one(updates.scale.value, updates.generator), cloning)
        after = self.learner.last
        self.shown = {name: value for name, value in after.items() if value is not before[name]}

    def replay(self) -> None:
        """Make the update; what it shows lies where it lay when it was recorded."""
        self.graph.replay()
        self.learner.shown = self.learner.last | self.shown
