"""A bound on |network - law| over all regions that no sampling is part of: affine pieces are largest at vertices.

The numbers a network holds are taken as they are (single precision ones are exact numbers too), and what its
arithmetic rounds is added. Vertices are known to about 1e-11 of the half range.
"""

import numpy as np
from torch import nn

from yannctl.pwa import PwaLaw

from .actor import GatherActor
from .bound_parts import ErrorBound
from .choice_bound import five_layer_bound, gather_bound
from .five_layer import FiveLayerActor
from .lattice import LatticeActor
from .lattice_bound import lattice_bound


def error_bound(actor: nn.Module, law: PwaLaw) -> ErrorBound | None:
    """Bound `max |actor(x) - law(x)|` over all x in the regions that the actor's type can hold.

    Args:
        actor: a module of `encode_actor`.
        law: the explicit law.

    Returns:
        The bound, None for a module of another kind, about which only samples are known.
    """
    corners = [np.asarray(law.vertices(index), dtype=float) for index in range(law.n_regions)]
    if isinstance(actor, LatticeActor):
        return lattice_bound(actor, law, corners)
    if isinstance(actor, GatherActor):
        return gather_bound(actor, law, corners)
    if isinstance(actor, FiveLayerActor):
        return five_layer_bound(actor, law, corners)
    return None
