"""Exact base plus a learned residual that starts at nothing: at the first step the policy is the law, bit for bit.

`u = sat(pi0(x) + authority (u_max - u_min) tanh f(x))` and `critic(x, u) = w(x) critic0(x, u) + scale q(x, u)`, with
the last layer of f and q zero. Sources: residual policy learning (arXiv:1812.06298); inverting gradients, Hausknecht
and Stone (arXiv:1511.04143); per-region branches, Braniff and Tian (arXiv:2508.16474), with the outgoing weights of
each +- pair tied, without which their zero start does not hold.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from yannctl.errors import ModelError

from .actor import GatherActor
from .critic import AbstractCritic
from .features import Features, HasBounds
from .five_layer import FiveLayerActor
from .parts import flatten_batch
from .per_region import PerRegionNet
from .published import PublishedAdditions, PublishedFeatures
from .residual import Saturation, residual_net

STAGES = ("none", "learned", "all")


def _tensor(array: object, dtype: torch.dtype) -> torch.Tensor:
    return torch.as_tensor(np.atleast_1d(np.array(array, dtype=float))).to(dtype)


def _base_dtype(base: nn.Module) -> torch.dtype:
    """Floating type of a module, from its first floating buffer or parameter."""
    for tensor in (*base.buffers(), *base.parameters()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float64


def _train_stage(module: "ExtendedActor | ExtendedCritic", stage: str) -> None:
    """Freeze and free the parts of a module; the validity weight, if it learns, goes with the learned part."""
    if stage not in STAGES:
        raise ModelError("stage", f"got {stage!r}, expected one of {', '.join(map(repr, STAGES))}")
    module.requires_grad_(stage != "none")
    module.base.requires_grad_(stage == "all")


class ExtendedActor(nn.Module):
    """The law plus a learned change: `u = sat(pi0(x) + authority (u_max - u_min) tanh f(x))`.

    The limits are the input bounds, widened where pi0 itself lies an ulp beyond them, so the start is bitwise pi0.
    `state_dict` names begin with `base.` (the law) or `learned.`.

    Attributes that files and exporters read: `base`, `learned` (`nn.Sequential` or `PerRegionNet`), `features`
    (`angles`, `others`, `centre`, `half_range`), `u_min`, `u_max`, `authority`, `kind`, `hidden`, `layer_norm`,
    `saturation`.

    Args:
        base: the exact actor.
        plant: bounds and angles: a plant or `Bounds`.
        hidden: widths of the hidden layers; for "per_region" tanh units of each region's branch.
        seed: seed of the initial weights.
        authority: largest |change| as a fraction of the input range.
        layer_norm: normalise the hidden layers.
        kind: "residual", "per_region" for one branch a region, or "published" for the published additions to a
            five-layer actor (`published`; `hidden` is the number of nodes a region, `authority` does not limit them).
        saturation: how gradients pass the limits.
        dtype: floating type of the learned part, or None for the base's.
    """

    u_min: torch.Tensor
    u_max: torch.Tensor
    reach: torch.Tensor

    def __init__(
        self,
        base: nn.Module,
        plant: HasBounds,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
        authority: float = 1.0,
        layer_norm: bool = False,
        kind: str = "residual",
        saturation: str = "inverting",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if saturation not in ("inverting", "one_sided"):
            raise ModelError("saturation", f"got {saturation!r}, expected 'inverting' or 'one_sided'")
        self.base = base
        own = _base_dtype(base)
        dtype = dtype or own
        self.saturation = saturation
        self.kind, self.hidden, self.layer_norm = kind, tuple(int(width) for width in hidden), bool(layer_norm)
        self.features: Any = Features(plant.x_min, plant.x_max, plant.angles, dtype, plant.periods)
        nu = int(np.size(plant.u_min))
        self.register_buffer("u_min", _tensor(plant.u_min, own), persistent=False)
        self.register_buffer("u_max", _tensor(plant.u_max, own), persistent=False)
        self.register_buffer("reach", torch.zeros_like(self.u_max), persistent=False)
        self.authority = authority
        self.learned: nn.Module
        if kind == "per_region":
            if not isinstance(base, GatherActor):
                raise ModelError("kind", f"per_region needs a gather actor, got {type(base).__name__}")
            self.learned = PerRegionNet(base.law.n_regions, self.features.size, hidden, nu, seed, dtype)
        elif kind == "published":
            if not isinstance(base, FiveLayerActor) or len(self.hidden) != 1:
                raise ModelError("kind", f"published needs a five_layer actor and one width, got {type(base).__name__}")
            self.features = PublishedFeatures(base, plant)
            regions = base.first_match.out_features
            self.learned = PublishedAdditions(regions, base.ntheta, self.hidden[0], nu, seed, dtype)
        elif kind == "residual":
            self.learned = residual_net(self.features.size, hidden, nu, seed, layer_norm, dtype)
        else:
            raise ModelError("kind", f"got {kind!r}, expected 'residual', 'per_region' or 'published'")

    @property
    def authority(self) -> float:
        """Largest |change| as a fraction of the input range, in (0, 1]; set it again as trust grows."""
        return self._authority

    @authority.setter
    def authority(self, value: float) -> None:
        if not 0 < value <= 1:
            raise ModelError("authority", f"got {value}, expected a fraction in (0, 1]")
        self._authority = float(value)
        self.reach = torch.as_tensor(self._authority, dtype=self.u_min.dtype, device=self.u_min.device) * (
            self.u_max - self.u_min
        )

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the proposed change `authority (u_max - u_min) tanh f(x)`, before the limits.

        Args:
            x: (..., nx) state [physical units].

        Returns:
            (..., nu) change of the input [physical units].
        """
        seen = self.features(x)
        if isinstance(self.learned, PublishedAdditions) and isinstance(self.features, PublishedFeatures):
            flat = seen.reshape(-1, seen.shape[-1])
            added = self.learned(flat[:, : self.features.nx], flat[:, self.features.nx :])
            return (self.u_max - self.u_min) / 2 * added.reshape(*x.shape[:-1], len(self.u_min)).to(self.reach.dtype)
        if isinstance(self.learned, PerRegionNet) and isinstance(self.base, GatherActor):
            flat = flatten_batch(x, self.base.law.ntheta, self.base.law.F.dtype)
            region, _ = self.base.law.locate(flat)
            raw = self.learned(seen.reshape(-1, seen.shape[-1]), region).reshape(*x.shape[:-1], len(self.u_min))
        else:
            raw = self.learned(seen)
        return self.reach * torch.tanh(raw).to(self.reach.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the policy.

        Args:
            x: (..., nx) state [physical units].

        Returns:
            (..., nu) input [physical units].
        """
        start = self.base(x)
        fixed = start.detach()
        lower, upper = torch.minimum(self.u_min, fixed), torch.maximum(self.u_max, fixed)
        return Saturation.apply(start + self.residual(x), lower, upper, self.saturation == "inverting")

    @torch.no_grad()
    def change(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate what the learned part changes, after the limits: `u - pi0(x)`.

        Args:
            x: (..., nx) state [physical units].

        Returns:
            (..., nu) change of the input [physical units].
        """
        return self(x) - self.base(x)

    def train_stage(self, stage: str) -> None:
        """Choose what training may change: "none" (e.g. an actor while the critic warms up), "learned" or "all".

        Args:
            stage: one of the three; "all" adds the base's own parameters, which only a lattice has.
        """
        _train_stage(self, stage)

    def freeze_base(self, frozen: bool = True) -> None:
        """Stop, or allow, the training of the base's weights.

        Args:
            frozen: True to stop.
        """
        self.base.requires_grad_(not frozen)

    def learned_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the learned part alone."""
        return list(self.learned.parameters())


class ExtendedCritic(AbstractCritic):
    """The exact return plus a learned one: `w(x) critic0(x, u) + scale q(x, u)`.

    Args:
        base: the exact critic.
        plant: bounds and angles: a plant or `Bounds`.
        hidden: widths of the hidden layers.
        seed: seed of the initial weights.
        layer_norm: normalise the hidden layers.
        weight: validity of the base, `weight(x (..., nx)) -> (...,)` in [0, 1], or None for 1 everywhere.
        scale: size of the learned part in units of the return.
        dtype: floating type of the learned part, or None for the base's.
    """

    def __init__(
        self,
        base: AbstractCritic,
        plant: HasBounds,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
        layer_norm: bool = False,
        weight: Callable[[torch.Tensor], torch.Tensor] | None = None,
        scale: float = 1.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        own = _base_dtype(base)
        dtype = dtype or own
        self.scale = float(scale)
        self.weight = weight
        self.features = Features(plant.x_min, plant.x_max, plant.angles, dtype, plant.periods)
        self.inputs = Features(plant.u_min, plant.u_max, (), dtype)
        self.learned = residual_net(self.features.size + self.inputs.size, hidden, 1, seed, layer_norm, dtype)

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Evaluate the return.

        Args:
            x: (..., nx) state [physical units].
            u: (..., nu) input [physical units].

        Returns:
            (...,) return.
        """
        value = self.base(x, u)
        if self.weight is not None:
            weight = self.weight(x).to(value.dtype)
            value = torch.where(weight > 0, weight * value, torch.zeros_like(value))
        return value + self.learned_return(x, u).to(value.dtype)

    def learned_return(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Evaluate the learned part `scale q(x, u)`.

        Args:
            x: (..., nx) state [physical units].
            u: (..., nu) input [physical units].

        Returns:
            (...,) return.
        """
        seen, applied = self.features(x), self.inputs(u)
        shape = torch.broadcast_shapes(seen.shape[:-1], applied.shape[:-1])
        joint = torch.cat([seen.expand(*shape, seen.shape[-1]), applied.expand(*shape, applied.shape[-1])], dim=-1)
        return self.scale * self.learned(joint)[..., 0]

    def train_stage(self, stage: str) -> None:
        """Choose what training may change: "none" (e.g. an actor while the critic warms up), "learned" or "all".

        Args:
            stage: one of the three; "all" adds the base's own parameters, which only a lattice has.
        """
        _train_stage(self, stage)

    def freeze_base(self, frozen: bool = True) -> None:
        """Stop, or allow, the training of the base's weights.

        Args:
            frozen: True to stop.
        """
        self.base.requires_grad_(not frozen)

    def learned_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the learned part alone."""
        return list(self.learned.parameters())


def extend(
    base: nn.Module,
    plant: HasBounds,
    hidden: Sequence[int] = (64, 64),
    seed: int = 0,
    *,
    authority: float = 1.0,
    layer_norm: bool = False,
    kind: str = "residual",
    saturation: str = "inverting",
    weight: Callable[[torch.Tensor], torch.Tensor] | None = None,
    scale: float = 1.0,
    dtype: torch.dtype | None = None,
) -> ExtendedActor | ExtendedCritic:
    """Add a learned part to an exact actor or critic; before training the result is bitwise the base.

    Actor: `u = sat(pi0(x) + authority (u_max - u_min) tanh f(x))`; critic: `w(x) critic0(x, u) + scale q(x, u)`.

    Args:
        base: what `encode_actor` or `encode_critic` made.
        plant: bounds and angles: a plant or `Bounds`.
        hidden: widths of the hidden layers.
        seed: seed of the initial weights.
        authority: largest |change| of an actor as a fraction of the input range.
        layer_norm: normalise the hidden layers.
        kind: of an actor: "residual", "per_region" for one branch a region (one hidden width), or "published" for the
            published additions to a five-layer actor.
        saturation: how gradients pass an actor's limits: "inverting" scales them by the room left, "one_sided" only
            stops those that point outwards at a limit.
        weight: validity of a critic's base in [0, 1], or None for 1 everywhere.
        scale: size of a critic's learned part in units of the return.
        dtype: floating type of the learned part, or None for the base's.

    Returns:
        Extended actor or critic, with `freeze_base()` and `learned_parameters()`.

    Raises:
        ModelError: for an unusable option or missing bounds.
    """
    if isinstance(base, AbstractCritic):
        return ExtendedCritic(base, plant, hidden, seed, layer_norm, weight, scale, dtype)
    if weight is not None:
        raise ModelError("weight", "only a critic's base has a validity weight", remedy="leave it out for an actor")
    return ExtendedActor(base, plant, hidden, seed, authority, layer_norm, kind, saturation, dtype)
