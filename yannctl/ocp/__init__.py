"""Step 3: the optimal control problem: linear model, weights, bounds, horizon, and what of it is a parameter."""

from .problem import Ocp

__all__ = ["Ocp"]
