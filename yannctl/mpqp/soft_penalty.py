"""The smallest exact L1 weight of the soft state bounds, from the explicit solution of the hard problem.

At a solution of the hard problem the slack e_{k,i} = 0 stays optimal iff `λ_upper + λ_lower <= γ^k ρ` (stationarity in
e), so the penalty is exact on the whole feasible set iff ρ is at least the largest such sum divided by γ^k. On each
critical region λ is affine in θ, so the maximum is attained at a vertex of a region (Hovd and Stoican, 2014).
"""

from typing import TYPE_CHECKING

import numpy as np

from yannctl.errors import ModelError
from yannctl.ocp import Ocp
from yannctl.types import Float, Int

from .problem import MpQp

if TYPE_CHECKING:
    from yannctl.pwa import PwaLaw

MARGIN = 1.05  # ρ above the computed bound, so that the soft and the hard law agree robustly
_REMEDY = "give soft_weight=… to Ocp (a bound on the state multipliers per unit of state), or shrink Θ"


def exact_soft_weight(hard: MpQp, slack: Int[np.ndarray, " m"], ocp: Ocp) -> float:
    """Compute `ρ = 1.05 max over regions, vertices, (k, i) of (λ_upper + λ_lower) / γ^k`.

    Where no state bound is ever active, any ρ > 0 is exact, and the weight is that of the quadratic term at 1 % of the
    narrowest range of x_0 in Θ.

    Args:
        hard: the condensed hard problem.
        slack: index of the slack of each row, −1 for rows that stay hard.
        ocp: the problem, for γ and the number of slacks a step.

    Returns:
        ρ. [cost/state]

    Raises:
        ModelError: when the hard problem is infeasible on all of Θ or its explicit solution is incomplete.
    """
    from yannctl.pwa import solve_mpqp

    soft = np.flatnonzero(slack >= 0)
    law = solve_mpqp(hard)
    if law.status != "complete":
        text = f"the exact weight needs the complete explicit solution of the hard problem, which is {law.status} "
        raise ModelError("soft_weight", text + f"({law.message})", remedy=_REMEDY)
    step = slack[soft] // len(ocp.bounded_states) + 1
    per_slack = np.zeros((ocp.N * len(ocp.bounded_states), len(soft)))
    per_slack[slack[soft], np.arange(len(soft))] = ocp.gamma ** -step.astype(float)
    largest = 0.0
    for i in range(law.n_regions):
        multipliers = region_multipliers(law, i)[:, soft]
        largest = max(largest, float((multipliers @ per_slack.T).max(initial=0.0)))
    floor = 0.01 * ocp.soft_quadratic * float((hard.theta_max - hard.theta_min)[: ocp.nx].min())
    return MARGIN * largest if largest > 0.0 else floor


def region_multipliers(law: "PwaLaw", region: int) -> Float[np.ndarray, "vertices m"]:
    """Evaluate the multipliers of one region at its vertices.

    On the active rows W: `λ_W = −(A_W H⁻¹ A_W')⁻¹ (b_W + B_W θ + A_W H⁻¹ (f + F θ))`.

    Args:
        law: an explicit solution.
        region: index of the region.

    Returns:
        λ (vertices, m), zero on inactive rows.
    """
    problem, theta = law.mpqp, law.vertices(region)
    W = list(law.active[region])
    out = np.zeros((len(theta), problem.n_rows))
    if W and len(theta):
        A = problem.A[W]
        inverse = np.linalg.solve(problem.H, A.T)
        right = problem.b[W] + theta @ problem.B[W].T + (problem.f + theta @ problem.F.T) @ inverse
        out[:, W] = np.maximum(-np.linalg.lstsq(A @ inverse, right.T, rcond=None)[0].T, 0.0)
    return out
