"""Multipliers of the original rows, from the active set of the region that holds theta.

With W the active rows, [H A_W'; A_W 0] [z; lam_W] = [-(f + F theta); b_W + B_W theta]; rows outside W have zero.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from yannctl.errors import ModelError


def multipliers(
    law: Any, points: Float[np.ndarray, "batch ntheta"], index: Int[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch m"]:
    """Return the multipliers at points whose regions are known.

    Args:
        law: a `PwaLaw` that carries its program and active sets.
        points: (batch, ntheta) parameters.
        index: (batch,) regions, -1 where there is none.

    Raises:
        ModelError: the law carries no program or no active sets.
    """
    if law.mpqp is None or (law.n_regions and not law.active):
        raise ModelError("law", "carries no program and active sets", remedy="take the law from solve_mpqp")
    lam = np.full((len(points), len(law.mpqp.b)), np.nan)
    partner = opposite_rows(law)
    for region in np.unique(index[index >= 0]):
        chosen = index == region
        lam[chosen] = _of_region(law, law.active[region], points[chosen], partner)
    return lam


def opposite_rows(law: Any) -> dict[int, int]:
    """Return the partner of each equality row, so that a negative multiplier can be given to it.

    Args:
        law: a `PwaLaw` that carries its program.
    """
    from yannctl.mpqp.presolve import presolve

    settings = law.settings
    pairs = presolve(
        law.mpqp, settings.duplicate_tolerance, settings.regularisation, settings.condition_limit
    ).equalities
    return dict(pairs)


def _of_region(law: Any, active: tuple[int, ...], points: np.ndarray, partner: dict[int, int]) -> np.ndarray:
    """Return the multipliers of one region at its points."""
    mpqp, W = law.mpqp, list(active)
    lam = np.zeros((len(points), len(mpqp.b)))
    if not W:
        return lam
    nz, nw = len(mpqp.H), len(W)
    unit = np.linalg.norm(mpqp.A[W], axis=1)
    rows = mpqp.A[W] / unit[:, None]
    system = np.block([[mpqp.H, rows.T], [rows, np.zeros((nw, nw))]])
    linear = mpqp.f + points @ mpqp.F.T
    right = (mpqp.b[W] + points @ mpqp.B[W].T) / unit
    solution = np.linalg.lstsq(system, np.hstack([-linear, right]).T, rcond=1e-14)[0].T
    lam[:, W] = solution[:, nz:] / unit
    for row, other in partner.items():
        lam[:, other] = np.maximum(-lam[:, row], 0.0)
    return np.maximum(lam, 0.0)
