"""Does a module equal its law? Checked where an affine piece cannot hide a wrong weight, at random, and proved.

`error_bound` bounds the error of this package's forms over all of every region, from vertices and not from samples.
Inside each region the points are its corners pulled halfway to the centre: they span the region, so two affine maps
that agree there agree on all of it. Corners, facets and random points then test the choice of the region.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw

from .actor import GatherActor
from .error_bound import error_bound
from .five_layer import FiveLayerActor
from .lattice import LatticeActor
from .parts import law_scale

CHUNK = 16384
BOUND_MARGIN = 4  # a bound counts the worst of everything at once: so many tolerances of the samples are fine


@dataclass(frozen=True)
class Verification:
    """What a comparison found.

    Args:
        ok: True when the largest error is within the tolerance, no value is missing and the bound does not object.
        max_error: largest absolute error [output unit].
        max_relative_error: largest error relative to the largest |output|, or for a critic to each value.
        tolerance: what `ok` allows: absolute for an actor, relative for a critic.
        where: point of the largest error, empty when nothing was compared.
        region: region of that point, -1 for a critic.
        n_points: points compared.
        n_skipped: points that rounding put outside all regions, or where the problem is infeasible.
        message: one sentence.
        bound: proved bound on |module - law| over all regions [output unit], inf where the proof failed or did not
            end, None where there is none: for a critic, and for modules that are not an exact actor of this package.
        bound_message: one sentence about it, empty for None.
        bound_holds: True where the bound is small enough to be the whole proof, False where it shows a wrong weight,
            None where nothing follows from it.
        bound_region: region where the bound is reached, -1 for none.
    """

    ok: bool
    max_error: float
    max_relative_error: float
    tolerance: float
    where: tuple[float, ...]
    region: int
    n_points: int
    n_skipped: int
    message: str
    bound: float | None = None
    bound_message: str = ""
    bound_holds: bool | None = None
    bound_region: int = -1

    def __repr__(self) -> str:
        bound = "" if self.bound is None else f", bound {self.bound:.1e} over whole regions"
        at = "" if self.ok else f" at {tuple(round(value, 6) for value in self.where)}, region {self.region}"
        found = f"largest error {self.max_error:.1e} of {self.n_points} points{at}{bound}, allowed {self.tolerance:.1e}"
        return f"Verification({'holds' if self.ok else 'FAILS'}: {found})"

    def to_json(self) -> dict:
        """Return the fields as numbers, texts and lists; an infinite bound or error is a text."""
        fields = {**asdict(self), "where": list(self.where)}
        return {name: str(value) if value in (np.inf, -np.inf) else value for name, value in fields.items()}


def verify(
    actor: nn.Module,
    law: PwaLaw,
    n_random: int = 100_000,
    n_facet: int = 20_000,
    seed: int = 0,
    tolerance: float | None = None,
    prove: bool = True,
) -> Verification:
    """Compare an actor with its law, `max |actor(x) - law(x)|`, at points rounded to the actor's type.

    Points: every region's corners and the centres of its facets, its corners pulled halfway inwards (so a wrong weight
    of an affine piece shows however small the region), points on facets, and random ones in the box and the regions.

    Args:
        actor: module `actor(x (batch, ntheta)) -> (batch, n_out)`.
        law: the explicit law.
        n_random: random points spread over the regions; half as many more fall anywhere in the box.
        n_facet: random points on facets.
        seed: seed of the random points.
        tolerance: largest error that is ok [output unit]; None for the actor's own `tolerance()`, or for
            `2 (n + 2) eps max(|F| |x| + |g|)` where it has none.
        prove: also bound the error over all regions, where the actor is one of this package's forms; `ok` asks for a
            bound within 4 tolerances in double precision, and of a lattice in any; of another network in single
            precision a larger bound decides nothing, as rounding may take a neighbour.

    Returns:
        Result of the comparison.
    """
    dtype = next((t.dtype for t in (*actor.buffers(), *actor.parameters()) if t.is_floating_point()), torch.float64)
    allowed = _tolerance(actor, law, dtype) if tolerance is None else tolerance
    points = verification_points(law, n_random, n_facet, np.random.default_rng(seed))
    points = torch.as_tensor(points).to(dtype).to(torch.float64).numpy()
    wanted = law(points)
    inside = np.isfinite(wanted).all(axis=1)
    skipped, points, wanted = int((~inside).sum()), points[inside], wanted[inside]
    if not len(points):
        return Verification(False, np.inf, np.inf, allowed, (), -1, 0, skipped, "no point to compare")
    error = np.abs(_outputs(actor, points, dtype) - wanted).max(axis=1)
    error[np.isnan(error)] = np.inf
    at = int(error.argmax())
    worst = float(error[at])
    bound = error_bound(actor, law) if prove else None
    small = bound is not None and bound.value <= BOUND_MARGIN * allowed
    holds = None if bound is None or not (small or bound.decides) else small
    message = f"largest error {worst:.3g} of {allowed:.3g} allowed at {len(points)} points"
    if holds is False and bound is not None:
        message += f"; over whole regions: {bound.message}, {BOUND_MARGIN * allowed:.3g} allowed"
    return Verification(
        ok=worst <= allowed and holds is not False,
        max_error=worst,
        max_relative_error=worst / max(float(np.abs(wanted).max()), np.finfo(float).tiny),
        tolerance=allowed,
        where=tuple(float(value) for value in points[at]),
        region=int(law.locate(points[at])),
        n_points=len(points),
        n_skipped=skipped,
        message=message,
        bound=None if bound is None else bound.value,
        bound_message="" if bound is None else bound.message,
        bound_holds=holds,
        bound_region=-1 if bound is None else bound.region,
    )


def _tolerance(actor: nn.Module, law: PwaLaw, dtype: torch.dtype) -> float:
    """Ask an actor of this package what rounding explains; for others, that of one affine map."""
    if isinstance(actor, GatherActor | FiveLayerActor | LatticeActor):
        return actor.tolerance()
    return 2 * (law.ntheta + 2) * torch.finfo(dtype).eps * law_scale(law)


@torch.no_grad()
def _outputs(actor: nn.Module, points: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Evaluate an actor in parts, so that wide networks fit into memory."""
    parts = [actor(part.to(dtype)).to(torch.float64) for part in torch.as_tensor(points).split(CHUNK)]
    return torch.cat(parts).numpy()


def verification_points(law: PwaLaw, n_random: int, n_facet: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the points `verify` compares at.

    Args:
        law: the explicit law.
        n_random: random points spread over the regions; half as many more fall anywhere in the box.
        n_facet: random points on facets.
        rng: source of random numbers.

    Returns:
        (points, ntheta) points.
    """
    parts = [rng.uniform(law.theta_min, law.theta_max, (n_random // 2, law.ntheta))]
    inside = -(-n_random // max(law.n_regions, 1))
    facets = -(-n_facet // max(len(law.k), 1))
    for index in range(law.n_regions):
        corners = np.asarray(law.vertices(index), dtype=float)
        if not len(corners):
            continue
        centre = corners.mean(axis=0)
        parts += [corners, (corners + centre) / 2, centre[None], _mix(corners, inside, rng)]
        rows = slice(law.row_start[index], law.row_start[index + 1])
        on_row = np.abs(corners @ law.H[rows].T - law.k[rows]) <= law.settings.locate_tolerance
        touching = [corners[column] for column in on_row.T if column.any()]
        parts += [on_facet.mean(axis=0, keepdims=True) for on_facet in touching]
        parts += [_mix(on_facet, facets, rng) for on_facet in touching]
    return np.vstack(parts)


def _mix(corners: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw random points of the hull of some corners."""
    weights = rng.exponential(size=(count, len(corners)))
    return (weights / weights.sum(axis=1, keepdims=True)) @ corners


def verify_critic(critic: nn.Module, ocp: Ocp, n: int = 1000, seed: int = 0, tolerance: float = 1e-7) -> Verification:
    """Compare a critic with the online problem whose first input is fixed, at random parameters and inputs.

    `-min { cost of the problem from x | u_0 = u }`, relative to `max(|Q|, 1e-9 max |Q|)`.

    Args:
        critic: module `critic(x, u)`.
        ocp: the optimal control problem.
        n: random pairs, x (the whole `ocp.theta`) in the parameter box and u within its bounds, every fifth on one.
        seed: seed of the random pairs.
        tolerance: largest relative error that is ok.

    Returns:
        Result of the comparison; `where` is x followed by u.
    """
    from .online import first_input_fixed

    rng = np.random.default_rng(seed)
    low = np.concatenate([ocp.theta_min, ocp.parameters.low])
    high = np.concatenate([ocp.theta_max, ocp.parameters.high])
    x = rng.uniform(low, high, (n, len(low)))
    u = rng.uniform(ocp.u_min, ocp.u_max, (n, ocp.nu))
    u[::5] = np.where(rng.random(u[::5].shape) < 0.5, ocp.u_min, ocp.u_max)
    wanted = first_input_fixed(ocp, x, u)
    with torch.no_grad():
        got = -critic(torch.as_tensor(x), torch.as_tensor(u)).to(torch.float64).numpy()
    both = np.isfinite(wanted) & np.isfinite(got)
    disagree = np.flatnonzero(np.isfinite(wanted) != np.isfinite(got))
    if not both.any():
        return Verification(False, np.inf, np.inf, tolerance, (), -1, 0, n, "no feasible pair to compare")
    size = np.maximum(np.abs(wanted), 1e-9 * np.abs(wanted[both]).max())
    error = np.where(both, np.abs(np.where(both, got, 0.0) - np.where(both, wanted, 0.0)), 0.0)
    relative = np.where(both, error / np.where(both, size, 1.0), 0.0)
    worst = int(disagree[0]) if disagree.size else int(relative.argmax())
    text = f"largest relative error {relative.max():.3g} of {tolerance:.3g} allowed at {int(both.sum())} pairs"
    if disagree.size:
        text += f"; {disagree.size} pairs are feasible for one side only"
    ok = not disagree.size and bool(relative.max() <= tolerance)
    place = tuple(float(value) for value in (*x[worst], *u[worst]))
    largest = float(relative.max())
    return Verification(
        ok, float(error.max()), largest, tolerance, place, -1, int(both.sum()), int(n - both.sum()), text
    )
