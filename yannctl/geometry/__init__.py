"""Polyhedra and invariant sets, and the checks that turn a caller's numbers into arrays."""

from .invariance import maximal_admissible_set
from .polyhedron import Polyhedron

__all__ = ["Polyhedron", "maximal_admissible_set"]
