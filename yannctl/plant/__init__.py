"""The contract of plants: what an author writes, and everything that is made from it."""

from .abstract_plant import AbstractPlant, Expression, vector
from .contract import check_plant
from .ranges import Range
from .rollout import Rollout

__all__ = ["AbstractPlant", "Expression", "Range", "Rollout", "check_plant", "vector"]
