"""Expressions flattened into tapes: one source for the numpy, torch and C form of a plant."""

from .expression_tape import ExpressionTape
from .opcodes import Op

__all__ = ["ExpressionTape", "Op"]
