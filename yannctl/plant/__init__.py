"""The contract of plants: what an author writes, and everything that is made from it."""

from .abstract_plant import AbstractPlant, Expression, vector
from .contract import check_plant
from .rollout import Rollout

__all__ = ["AbstractPlant", "Expression", "Rollout", "check_plant", "vector"]
