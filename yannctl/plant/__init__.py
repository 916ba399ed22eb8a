"""The contract of plants: what an author writes, and everything that is made from it."""

from .abstract_plant import AbstractPlant, Expression, vector
from .actuated_plant import ActuatedPlant
from .contract import check_plant
from .linear_plant import LinearPlant, from_control
from .ranges import Range
from .rollout import Rollout

__all__ = [
    "AbstractPlant",
    "ActuatedPlant",
    "Expression",
    "LinearPlant",
    "Range",
    "Rollout",
    "check_plant",
    "from_control",
    "vector",
]
