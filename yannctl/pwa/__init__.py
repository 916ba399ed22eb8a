"""Step 5: `solve_mpqp(mpqp)` makes the explicit law `PwaLaw` of a multi-parametric quadratic program.

`law` is the datum, `exploration` the arrow; `audit` checks that the regions leave no hole, `plots` draws them.
Compiled kernels are imported on first use, so importing this folder costs little.
"""

from typing import TYPE_CHECKING, Any

from .critical_region import Region
from .law import PwaLaw
from .settings import Settings

if TYPE_CHECKING:
    from .exploration import solve_mpqp

__all__ = ["PwaLaw", "Region", "Settings", "solve_mpqp"]


def __getattr__(name: str) -> Any:
    """Import the solver on first use."""
    if name == "solve_mpqp":
        from .exploration import solve_mpqp

        globals()[name] = solve_mpqp
        return solve_mpqp
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
