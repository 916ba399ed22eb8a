"""The multi-parametric QP and what makes one: an optimal control problem, or a CVXPY problem."""

from .condensation import condense
from .cvxpy_import import from_cvxpy
from .problem import MpQp

__all__ = ["MpQp", "condense", "from_cvxpy"]
