"""Where a linear model may be believed: the validity weight of an exact critic, and the range of a learned change."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .critic import ExactCritic, LqrCritic
from .extension import ExtendedActor

VALID_RESIDUAL = 0.01  # residual of the model, in half ranges of the state, at which the weight has fallen to 1/e


class ModelValidity(nn.Module):
    """Weight `w(x) = exp(-(r(x)/residual)^2)` of the linear model behind a critic, for `extend(critic, weight=...)`.

    `r(x) = max_j |plant(x, law(x)) - lin(x, law(x))|_j / half range_j`: how far one step of the nominal plant under the
    law is from the critic's own prediction. It is 1 at the operating point and 0 where the model says nothing.

    Args:
        plant: the nominal model.
        law: the exact law, x (..., nx) -> u (..., nu).
        critic: the critic whose linear model is judged.
        residual: r at which the weight has fallen to 1/e.

    Raises:
        ModelError: a critic without a linear model of one step, or a residual that is not positive.
    """

    half_range: torch.Tensor

    def __init__(
        self, plant: AbstractPlant, law: nn.Module, critic: nn.Module, residual: float = VALID_RESIDUAL
    ) -> None:
        super().__init__()
        if not isinstance(critic, ExactCritic | LqrCritic):
            text = f"got {type(critic).__name__}, whose linear model is unknown"
            raise ModelError("critic", text, remedy="use encode_critic")
        model = critic.law.model
        if model.x_ref.shape[0] != plant.nx:
            text = f"has {model.x_ref.shape[0]} parameters, the plant {plant.nx} states"
            raise ModelError("critic", text, remedy="weigh a critic of the state alone")
        if not residual > 0:
            raise ModelError("residual", f"got {residual}, expected a positive fraction of the half range")
        # Held in a list, so that neither becomes part of the critic that this weight is given to.
        self._parts = [law, model]
        self.plant, self.residual, self.angles = plant, float(residual), list(plant.angles)
        half = (np.asarray(plant.x_max, float) - np.asarray(plant.x_min, float)) / 2
        self.register_buffer("half_range", torch.as_tensor(np.where(np.isfinite(half), half, np.pi)), persistent=False)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the weight.

        Args:
            x: (..., nx) states [physical units].

        Returns:
            (...,) weights in [0, 1].
        """
        law, model = self._parts
        states = x.reshape(-1, self.plant.nx).to(model.A.dtype)
        u = law(states)
        gap = self.plant.step_tape.torch(states, u.to(states.dtype)) - (model.x_ref + model(states, u)[0])
        if self.angles:
            wrapped = torch.remainder(gap[:, self.angles] + torch.pi, 2 * torch.pi) - torch.pi
            gap = gap.index_copy(1, torch.as_tensor(self.angles), wrapped)
        size = (gap.abs() / self.half_range).amax(dim=1)
        return torch.exp(-((size / self.residual) ** 2)).reshape(x.shape[:-1])


@dataclass(frozen=True)
class RangeSchedule:
    """How far a learned part may change the law, rising with what has been accepted so far.

    `authority = levels[i]` from `counts[i]` on. Another authority scales the present change too, so a policy that has
    learned something is another one afterwards: test it again before it is deployed.

    Args:
        counts: rising counts, e.g. of accepted policies or of steps; the first is 0.
        levels: authority from each count on, fractions of the input range in (0, 1].

    Raises:
        ModelError: counts that do not rise from 0, or levels of another number or outside (0, 1].
    """

    counts: tuple[int, ...] = (0, 1, 2)
    levels: tuple[float, ...] = (0.1, 0.25, 0.5)

    def __post_init__(self) -> None:
        if not self.counts or self.counts[0] != 0 or any(b <= a for a, b in pairwise(self.counts)):
            raise ModelError("counts", f"got {self.counts}, expected numbers that rise from 0")
        if len(self.levels) != len(self.counts):
            raise ModelError("levels", f"got {len(self.levels)} levels for {len(self.counts)} counts")
        for index, level in enumerate(self.levels):
            if not 0 < level <= 1:
                raise ModelError("levels", f"got {level}, expected a fraction in (0, 1]", index=index)

    def authority(self, count: int) -> float:
        """Return the authority at a count.

        Args:
            count: what `counts` counts.
        """
        return next(level for start, level in zip(self.counts[::-1], self.levels[::-1], strict=True) if count >= start)

    def apply(self, policy: ExtendedActor, count: int) -> bool:
        """Set the authority of a policy.

        Args:
            policy: the policy.
            count: what `counts` counts.

        Returns:
            True when it changed.
        """
        before, policy.authority = policy.authority, self.authority(count)
        return policy.authority != before
