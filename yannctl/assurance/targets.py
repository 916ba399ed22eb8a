"""The loops that come with a certificate, ready to be attacked."""

from functools import cache

import numpy as np

from .certificate import Certificate
from .designs import DESIGNS, Design, design
from .falsifier import Target
from .safe_set import PolytopicSet


@cache
def certified(name: str) -> tuple[Design, Certificate]:
    """Give a design and its certificate, computed once a process.

    Args:
        name: one of `DESIGNS`.
    """
    chosen = design(name)
    return chosen, chosen.certify()


def target(name: str) -> Target:
    """Give the loop of a design.

    Args:
        name: one of `TARGETS`.

    Returns:
        The loop.
    """
    chosen, certificate = certified(name)
    vertices, d = certificate.found.vertices, chosen.domain

    def starts(n: int, rng: np.random.Generator) -> np.ndarray:
        """States of the set, most of them near its border."""
        return rng.dirichlet(np.full(len(vertices), 0.2), n) @ vertices * (1 - 1e-9) + 1e-9 * vertices.mean(axis=0)

    return Target(
        name, chosen.step, d.p_min, d.p_max, d.x_min, d.x_max, PolytopicSet(certificate), starts, chosen.statement.dt
    )


TARGETS = tuple(DESIGNS)
