"""Adaptors to the solvers underneath: quadratic programs (DAQP), linear programs (HiGHS), Riccati equations."""

from .lp import LinearProgram, LpResult, farkas_vector, solve_lp
from .qp import QpResult, QpSettings, QuadraticProgram, solve_qp
from .riccati import check_stabilisable, solve_riccati

__all__ = [
    "LinearProgram",
    "LpResult",
    "QpResult",
    "QpSettings",
    "QuadraticProgram",
    "check_stabilisable",
    "farkas_vector",
    "solve_lp",
    "solve_qp",
    "solve_riccati",
]
