"""What the bounds share: the result, a module's numbers, and a linear program's value from its multipliers."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog

from yannctl.solvers.lp import solve_lp

MULTIPLIER = 1e6  # largest multiplier of a row, relative to the objective
EQUAL = 1e-13  # parts of a bound below this, relative to the law's size, are not worth a linear program


@dataclass(frozen=True)
class ErrorBound:
    """What is proved about `max |network - law|` over all regions.

    Args:
        value: the bound [output unit]; inf where nothing is proved.
        rounding: the part of it that is the network's own arithmetic [output unit].
        region: law region where it is reached, -1 for none.
        message: one sentence.
        decides: True where a large value means a wrong weight. In single precision a network that chooses a region may
            be off by more than can be excluded, and an unfinished proof says nothing.
    """

    value: float
    rounding: float
    region: int
    message: str
    decides: bool = True


def proved(value: float, rounding: float, region: int, rival: int = -1, decides: bool = True) -> ErrorBound:
    """Make the bound of a proof that ended.

    Args:
        value: see `ErrorBound`.
        rounding: see `ErrorBound`.
        region: see `ErrorBound`.
        rival: region that may be taken there instead, -1 for none.
        decides: see `ErrorBound`.

    Returns:
        The bound, with a sentence that says where it is reached and why.
    """
    place = f", the largest in region {region}" if region >= 0 else ""
    reason = f" where region {rival} may be taken instead" if rival >= 0 else ""
    text = f"proved: no error above {value:.3g} in any region{place}{reason}"
    return ErrorBound(value, rounding, region, text, decides)


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """Return the exact values of a tensor in double precision.

    Args:
        tensor: weights of a module.

    Returns:
        Array of the same shape.
    """
    return tensor.detach().double().cpu().numpy()


def rounding_unit(dtype: torch.dtype) -> float:
    """Return the largest relative error of one operation.

    Args:
        dtype: floating type.

    Returns:
        Half the distance from 1 to the next number.
    """
    return torch.finfo(dtype).eps / 2


def largest(A: np.ndarray, b: np.ndarray, c: np.ndarray, reach: np.ndarray) -> float:
    """Bound `max c'x  s.t.  A x <= b, |x| <= reach` by multipliers: `b'y + |c - A'y|'reach` for any y >= 0.

    So nothing rests on the solver's tolerances but the word "infeasible". Where it cannot decide, the rows all but
    contradict each other, and the best multipliers are asked for directly.

    Args:
        A: (m, n) rows.
        b: (m,) right-hand sides.
        c: (n,) objective.
        reach: (n,) bound on |x|.

    Returns:
        The bound; -inf where no x satisfies the rows.
    """
    result = solve_lp(c, A, b)
    if result.status == "infeasible":
        return -np.inf
    y = result.multipliers
    if result.status != "optimal":
        m, n = A.shape
        rows = np.block([[-A.T, -np.eye(n)], [A.T, -np.eye(n)]])
        bounds = [(0.0, MULTIPLIER)] * m + [(0.0, None)] * n
        scale = float(np.abs(c).max()) or 1.0
        dual = linprog(np.concatenate([b, reach]), rows, np.concatenate([-c, c]) / scale, bounds=bounds, method="highs")
        if dual.x is None:
            return np.inf
        y = scale * np.maximum(dual.x[:m], 0.0)
    return float(b @ y + np.abs(c - A.T @ y) @ reach)
