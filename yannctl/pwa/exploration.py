"""`solve_mpqp`: all critical regions of a multi-parametric QP, by facet flips from a few starting points.

Exploration crosses every facet of every region found; where no flip leads on, an online QP just beyond the facet says
which rows are active there, or that nothing is feasible. A closure check at the end looks for what is left open.
References: Bemporad, Morari, Dua and Pistikopoulos, Automatica 38(1), 2002; Tondel, Johansen and Bemporad, Automatica
39(3), 2003; Spjotvold et al., Automatica 42(12), 2006.
"""

import sys
import time
from functools import cache
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.mpqp.presolve import ReducedProgram, presolve
from yannctl.mpqp.problem import MpQp
from yannctl.ocp import Ocp

from .assembly import assemble, empty_law
from .compilation import announce
from .kernels_closure import scan
from .kernels_explore import explore
from .kernels_store import INFEASIBLE, N_REGIONS, N_ROWS, NEXT, OPEN
from .law import PwaLaw
from .online import OnlineQp, feasible_points
from .settings import Settings
from .workspace import grow, make_program, make_store, make_work, nothing_ahead, store_bytes

_STEPS = (1.0, 10.0, 100.0, 1000.0)  # multiples of settings.step tried beyond an open facet
THIN = -4  # beyond the facet lies a gap thinner than the radius tolerance


class Exploration:
    """The state of one solve: store of regions, work arrays, limits.

    Args:
        reduced: the program in least-distance form.
        settings: tolerances and limits.
        progress: whether a progress bar is shown.
        n_jobs: number of workers that evaluate regions ahead of the exploration.
    """

    def __init__(self, reduced: ReducedProgram, settings: Settings, progress: bool = False, n_jobs: int = 1) -> None:
        self.reduced = reduced
        self.settings = settings
        self.program = make_program(reduced, settings)
        self.work = make_work(self.program, settings)
        self.store = make_store(self.program, min(256, settings.max_regions))
        self.ahead = nothing_ahead(self.program)
        self.lookahead = _workers(self.program, settings, n_jobs) if n_jobs > 1 else None
        self.online = OnlineQp(reduced, settings.multiplier_tolerance)
        self.parent = np.zeros(self.program.M.shape[0] + 1, dtype=np.int64)
        self.centre = np.zeros(self.program.S.shape[1])
        self.deadline = time.monotonic() + settings.max_seconds
        self.stopped = ""
        self.checked_rows = 0
        self.unresolved = 0
        self.bar = _bar() if progress else None

    @property
    def n_regions(self) -> int:
        """Number of regions found so far."""
        return int(self.store.counts[N_REGIONS])

    def add(self, theta: np.ndarray) -> int:
        """Return the region of the rows active at theta, added if new; -1 when they have none, -3 when infeasible.

        Args:
            theta: scaled parameter.
        """
        support = self.online.support(theta)
        if support is None:
            return INFEASIBLE
        while True:
            region = self._kernel(0, support, theta)
            if region != -3:
                return max(region, -1)
            if not self._make_room():
                return -1

    def known(self, theta: np.ndarray, tolerance: float) -> bool:
        """Tell whether a scaled parameter is infeasible or lies in a region found so far.

        Args:
            theta: scaled parameter.
            tolerance: violation that is forgiven.
        """
        support = self.online.support(theta)
        if support is None:
            return True
        region = self._kernel(0, support, theta, only_look=True)
        if region >= 0 and self.holds(region, theta, tolerance):
            return True
        store = self.store
        return bool(scan(store.row_start, store.H, store.k, self.n_regions, theta, tolerance) >= 0)

    def _kernel(
        self,
        until: int,
        support: np.ndarray | None = None,
        theta: np.ndarray | None = None,
        only_look: bool = False,
    ) -> int:
        """Run the kernel once: up to region `until`, or for the active rows of one point."""
        support, count = (self.parent, -1) if support is None else (support, len(support))
        theta = self.centre if theta is None else theta
        most = -1 if only_look else self.settings.vertex_parameters
        arrays = (self.program, self.store, self.ahead, self.work, self.parent, self.centre)
        return int(explore(*arrays, until, most, support, count, theta))

    def holds(self, region: int, theta: np.ndarray, tolerance: float) -> bool:
        """Tell whether a region holds a scaled parameter.

        Args:
            region: its index.
            theta: scaled parameter.
            tolerance: violation that is forgiven.
        """
        rows = slice(self.store.row_start[region], self.store.row_start[region + 1])
        return bool((self.store.H[rows] @ theta - self.store.k[rows]).max() <= tolerance)

    def run(self) -> None:
        """Explore until nothing is left or a limit is met; interruptible between chunks."""
        chunk, until = 64, 0
        while not self._limited():
            begin = time.monotonic()
            if self.store.counts[NEXT] >= until:
                until = self._next_stop(chunk)
            if self._kernel(until) == -3:
                self._make_room()
            elif self.store.counts[NEXT] >= self.n_regions and not self._close_facets():
                return
            spent = max(time.monotonic() - begin, 1e-6)
            chunk = int(np.clip(chunk * self.settings.chunk_seconds / spent, 16, 4 * chunk))
            self._show()

    def _next_stop(self, chunk: int) -> int:
        """Return the region up to which the kernel runs next; with workers, once they have evaluated its flips."""
        if self.lookahead is None:
            return int(self.store.counts[NEXT]) + chunk
        self.ahead, until = self.lookahead.evaluate(self.store, self.work, self.parent, self.centre)
        return until

    def _make_room(self) -> bool:
        """Let the store grow; return False, and say why in `stopped`, where a limit forbids it."""
        if self.n_regions >= self.settings.max_regions:
            self.stopped = f"max_regions = {self.settings.max_regions}"
        elif 2 * store_bytes(self.store) > self.settings.max_bytes:
            self.stopped = f"max_bytes = {self.settings.max_bytes}"
        else:
            self.store = grow(self.store, self.settings.max_regions)
        return not self.stopped

    def _show(self) -> None:
        """Bring the progress bar up to date."""
        if self.bar is not None:
            facets = self.store.neighbour[self.store.row_start[self.store.counts[NEXT]] : self.store.counts[N_ROWS]]
            self.bar.set_postfix(open_facets=int((facets == OPEN).sum()), refresh=False)
            self.bar.update(self.n_regions - self.bar.n)

    def _limited(self) -> bool:
        if not self.stopped and time.monotonic() > self.deadline:
            self.stopped = f"max_seconds = {self.settings.max_seconds:g}"
        return bool(self.stopped)

    def _close_facets(self) -> bool:
        """Look beyond the facets no flip could cross with online QPs; return whether new regions turned up."""
        before = self.n_regions
        end = int(self.store.counts[N_ROWS])
        for row in self.checked_rows + np.flatnonzero(self.store.neighbour[self.checked_rows : end] == OPEN):
            self.store.neighbour[row] = self.beyond(self.store.centre[row], self.store.H[row])
            if self._limited():
                return True
        self.checked_rows = end
        return self.n_regions > before

    def beyond(self, point: np.ndarray, normal: np.ndarray) -> int:
        """Return what lies beyond a point of a facet: a region, INFEASIBLE, or THIN.

        Args:
            point: point of the facet.
            normal: its outward normal.
        """
        near = point + self.settings.step * normal
        infeasible = 0
        for factor in _STEPS:
            theta = point + factor * self.settings.step * normal
            if not self.online.inside(theta):
                return THIN
            region = self.add(theta)
            if region == INFEASIBLE:
                infeasible += 1
                if infeasible == 2:
                    return INFEASIBLE
            elif region >= 0 and self.holds(region, near, 0.3 * self.settings.step):
                return region
        return THIN

    def find_start(self) -> str:
        """Add a first region; return "" or why there is none."""
        n = self.program.S.shape[1]
        if any(self.online.inside(theta) and self.add(theta) >= 0 for theta in _offsets(self.settings.seeds, n)):
            return ""
        points = feasible_points(self.reduced, seed=0)
        if not points:
            return "no parameter in the box is feasible; widen the bounds or soften the state constraints"
        weights = np.random.default_rng(0).dirichlet(np.full(len(points), 0.5), 4 * self.settings.seeds)
        for theta in np.vstack([np.full(len(points), 1 / len(points)), weights]) @ np.array(points):
            if self.add(theta) >= 0:
                return ""
        return "the feasible parameters form a set without interior; widen the bounds or soften the state constraints"

    def close(self) -> None:
        """Release the progress bar and the workers."""
        if self.bar is not None:
            self.bar.close()
        if self.lookahead is not None:
            self.lookahead.close()


def solve_mpqp(mpqp: MpQp | Any, settings: Settings | None = None, n_jobs: int = 1, progress: bool = False) -> PwaLaw:
    """Solve min_z z'Hz/2 + (f + F theta)'z s.t. A z <= b + B theta for all theta in its box.

    Args:
        mpqp: the program, an `MpQp`.
        settings: tolerances and limits.
        n_jobs: number of workers that evaluate regions ahead of the exploration, by default processes of this machine;
            `joblib.parallel_config(backend="ray")` or `"dask"` puts them on others. The law has the same bits for any
            number. It pays for laws of tens of thousands of regions.
        progress: whether a progress bar is shown on a terminal, and a line while kernels are compiled.

    Returns:
        The law; its status is "complete", "partial" (a limit or Ctrl-C), "infeasible" or "unbounded".

    Raises:
        ModelError: `mpqp` is not an `MpQp`, or the program cannot be used as it is.
    """
    from .closure import repair
    from .unbounded import unbounded_direction

    settings = Settings() if settings is None else settings
    if not isinstance(mpqp, MpQp):
        remedy = "call condense on it first" if isinstance(mpqp, Ocp) else "make one with condense, from_cvxpy or MpQp"
        raise ModelError("mpqp", f"expected an MpQp, got {type(mpqp).__name__}", remedy=remedy)
    if n_jobs < 1:
        raise ModelError("n_jobs", f"must be at least 1, got {n_jobs}")
    if progress:
        announce(explore)
    reduced = presolve(mpqp, settings.duplicate_tolerance, settings.regularisation, settings.condition_limit)
    if reduced.problem:
        return empty_law(mpqp, settings, "infeasible", reduced.problem)
    if reduced.regularisation and (reason := unbounded_direction(mpqp, reduced)):
        return empty_law(mpqp, settings, "unbounded", reason)
    exploration = Exploration(reduced, settings, progress, n_jobs)
    try:
        problem = exploration.find_start()
        if problem:
            return empty_law(mpqp, settings, "infeasible", problem)
        exploration.run()
        repair(exploration)
    except KeyboardInterrupt:
        exploration.stopped = "Ctrl-C"
    finally:
        exploration.close()
    return assemble(mpqp, exploration)


@cache
def _offsets(count: int, n: int) -> np.ndarray:
    """Return points near the middle of the parameter box, farther and farther from it."""
    return np.random.default_rng(0).uniform(-1, 1, (count, n)) * np.geomspace(0.02, 1, count)[:, None]


def _workers(program: Any, settings: Settings, n_jobs: int) -> Any:
    from .lookahead import Lookahead

    return Lookahead(program, settings, n_jobs)


def _bar() -> Any:
    from tqdm import tqdm

    return tqdm(desc="regions", unit=" regions", file=sys.stderr, disable=None)
