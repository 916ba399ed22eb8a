"""The multi-parametric QP and what makes one: an optimal control problem, or a CVXPY problem."""

from .condensation import condense
from .cvxpy_import import from_cvxpy
from .path_tracking import condense_path_tracking, path_error_model
from .problem import MpQp

__all__ = ["MpQp", "condense", "condense_path_tracking", "from_cvxpy", "path_error_model"]
