"""Named tasks on which any controllers are compared, on common random numbers."""

from .catalogue import NAMES, make_scenario, variants
from .comparison import Comparison, Row, compare, summarise
from .scenario import Condition, Scenario, World, draw_world
from .simulation import Runs, simulate

__all__ = [
    "NAMES",
    "Comparison",
    "Condition",
    "Row",
    "Runs",
    "Scenario",
    "World",
    "compare",
    "draw_world",
    "make_scenario",
    "simulate",
    "summarise",
    "variants",
]
