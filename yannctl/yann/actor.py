"""PwaLaw → exact torch module; the gather form is the reference, the others are checked against it.

Source: the gather of the region's law is Braniff and Tian's Y-wise affine network (arXiv:2505.07054) with its step,
indicator and suppression layers replaced by the choice of the least violated region, which leaves no gaps.
"""

from typing import Any

import torch
from torch import nn

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw

from .five_layer import FiveLayerActor
from .lattice import LatticeActor
from .parts import LawReference, PiecewiseAffine, affine, check_law, flatten_batch, law_scale


class GatherActor(nn.Module):
    """The law as a choice of region and one affine map: `u = F_i x + g_i`, `i = argmin_i max_j (H_i x - k_i)_j`.

    Inside the feasible set the float64 result is bitwise `law(theta)`; outside, the nearest region's law goes on.
    `du/dx = F_i` almost everywhere.

    Args:
        law: the explicit law.
        dtype: floating type of the weights and of the result.
    """

    def __init__(self, law: PwaLaw, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        check_law(law)
        self.law = PiecewiseAffine(law.row_start, law.H, law.k, law.F, law.g, dtype)
        self.source = LawReference(law)

    @property
    def n_weights(self) -> int:
        """Numbers the evaluation reads: `q (n + 1) + p m (n + 1)`."""
        return sum(int(part.numel()) for part in (self.law.H, self.law.k, self.law.F, self.law.g))

    def tolerance(self) -> float:
        """Error that rounding explains: `2 (n + 2) eps max(|F| |x| + |g|)` [input unit]."""
        return 2 * (self.law.ntheta + 2) * torch.finfo(self.law.F.dtype).eps * law_scale(self.source.law)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the law.

        Args:
            x: (..., ntheta) parameters [physical units].

        Returns:
            (..., n_out) inputs [physical units].
        """
        theta = flatten_batch(x, self.law.ntheta, self.law.F.dtype)
        index, _ = self.law.locate(theta)
        return affine(self.law.F[index], self.law.g[index], theta).reshape(*x.shape[:-1], self.law.g.shape[1])


def encode_actor(law: PwaLaw | Any, form: str = "gather", dtype: torch.dtype = torch.float64) -> nn.Module:
    """Compile an explicit law into an exact neural network.

    `actor(x) = F_i x + g_i` for `x` in region `i`.

    Args:
        law: the explicit law.
        form: "gather" (reference: no gaps, nearest region outside), "five_layer" (the published network: step,
            indicator, first match, suppressed law, sum; 0 outside) or "lattice" (maximum of minima of the distinct
            laws: few weights, continuous whatever its weights become; only for continuous laws; `actor.compiled()`
            is the fastest form on a processor, `torch.compile(actor)` on a GPU).
        dtype: floating type of the weights and of the result.

    Returns:
        Module `actor(x (..., ntheta)) -> u (..., n_out)` [physical units], with `n_weights` and `tolerance()`.

    Raises:
        ModelError: for an unknown form, no law at all, a law without regions, or a form that cannot hold this law.
    """
    forms = {"gather": GatherActor, "five_layer": FiveLayerActor, "lattice": LatticeActor}
    if form not in forms:
        raise ModelError("form", f"got {form!r}, expected one of {', '.join(map(repr, forms))}")
    check_law(law)
    return forms[form](law, dtype)
