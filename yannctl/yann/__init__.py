"""PwaLaw and Ocp → exact neural networks; `extend` makes them learn, `verify` compares them.

| name | what it does |
| --- | --- |
| `encode_actor(law, form)` | the explicit law as a torch module: gather, five_layer or lattice |
| `encode_critic(ocp, kind)` | the return of the optimal control problem as a torch module |
| `extend(module, plant)` | adds a learned part that starts at exactly nothing |
| `verify(actor, law)`, `verify_critic(critic, ocp)` | compare with the law, and with the online problem |
| `error_bound(actor, law)` | proves a bound on their difference over whole regions |
| `value_bounds(law, theta)` | the optimal cost between two bounds, by duality |
| `explain(controller, x)` | why this input: region, active constraints, gains, what learning changed |
"""

from .actor import GatherActor, encode_actor
from .bound_parts import ErrorBound
from .compiled import CompiledLattice
from .critic import AbstractCritic, ExactCritic, LqrCritic, encode_critic
from .duality import ValueBounds, value_bounds
from .error_bound import error_bound
from .explanation import Explanation, explain
from .extension import ExtendedActor, ExtendedCritic, extend
from .features import Bounds, Features
from .five_layer import FiveLayerActor
from .lattice import LatticeActor
from .residual import Saturation, residual_net
from .validity import ModelValidity, RangeSchedule
from .verification import Verification, verify, verify_critic

__all__ = [
    "AbstractCritic",
    "Bounds",
    "CompiledLattice",
    "ErrorBound",
    "ExactCritic",
    "Explanation",
    "ExtendedActor",
    "ExtendedCritic",
    "Features",
    "FiveLayerActor",
    "GatherActor",
    "LatticeActor",
    "LqrCritic",
    "ModelValidity",
    "RangeSchedule",
    "Saturation",
    "ValueBounds",
    "Verification",
    "encode_actor",
    "encode_critic",
    "error_bound",
    "explain",
    "extend",
    "residual_net",
    "value_bounds",
    "verify",
    "verify_critic",
]
