"""`PwaLaw`: a piecewise affine law u = F_i theta + g_i on polyhedral regions H_i theta <= k_i, as flat arrays."""

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from .critical_region import RegionList
from .evaluation import apply, apply_online, build_tree, check_arrays, locate, points_of
from .settings import Settings

if TYPE_CHECKING:
    from .search_tree import SearchTree

_KEPT = ("origin", "facet_notes")  # what stays known of a law with the same regions


@dataclass(frozen=True, eq=False)
class PwaLaw:
    """A piecewise affine law with its value function, in the units of theta.

    Region i is {theta: H[s:e] theta <= k[s:e]} with s, e = row_start[i], row_start[i+1]; there
    u = F_i theta + g_i and V = theta'P_i theta/2 + p_i'theta + c_i. Rows have unit norm in scaled theta,
    theta_s = (theta - centre)/half_range, so `H theta - k` is a distance in scaled theta.

    Args:
        row_start: (n_regions+1,) first row of each region.
        H: (q, ntheta) facet normals of all regions.
        k: (q,) right-hand sides.
        F: (n_regions, n_out, ntheta) gains.
        g: (n_regions, n_out) offsets.
        theta_min: (ntheta,) lower corner of the parameter box.
        theta_max: (ntheta,) upper corner of the parameter box.
        P: (n_regions, ntheta, ntheta) curvature of the value function; zero when not given.
        p: (n_regions, ntheta) slope of the value function; zero when not given.
        c: (n_regions,) constant of the value function; zero when not given.
        active: sorted active rows of each region, empty when unknown.
        theta_names: names of the parameters, theta_0, ... when not given.
        out_names: names of the outputs, u_0, ... when not given.
        status: "complete", "partial", "infeasible" or "unbounded".
        message: what happened and what to do about it.
        mpqp: the program the law solves, None for a law made by hand.
        settings: the tolerances it was solved with.
        unmerged: the law this one was merged from, None for any other; it answers `value` and `multipliers`.
    """

    row_start: Int[np.ndarray, " n_regions_1"]
    H: Float[np.ndarray, "q ntheta"]
    k: Float[np.ndarray, " q"]
    F: Float[np.ndarray, "n_regions n_out ntheta"]
    g: Float[np.ndarray, "n_regions n_out"]
    theta_min: Float[np.ndarray, " ntheta"]
    theta_max: Float[np.ndarray, " ntheta"]
    P: Float[np.ndarray, "n_regions ntheta ntheta"] | None = None
    p: Float[np.ndarray, "n_regions ntheta"] | None = None
    c: Float[np.ndarray, " n_regions"] | None = None
    active: tuple[tuple[int, ...], ...] = ()
    theta_names: tuple[str, ...] | None = None
    out_names: tuple[str, ...] | None = None
    status: str = "complete"
    message: str = ""
    mpqp: Any = field(default=None, repr=False)
    settings: Settings = field(default=Settings(), repr=False)
    unmerged: Any = field(default=None, repr=False)
    _lookup: ClassVar[Any] = None  # the search tree, once there is one; never an argument
    _untreeable: ClassVar[bool] = False
    origin: ClassVar[Any] = None  # an `Origin` when the law comes from the solver; never an argument
    facet_notes: ClassVar[Any] = None  # what a file keeps of that: (centre, neighbour, code) of each facet

    def __post_init__(self) -> None:
        n, n_out, ntheta = self.F.shape
        fill = {
            "P": np.zeros((n, ntheta, ntheta)) if self.P is None else self.P,
            "p": np.zeros((n, ntheta)) if self.p is None else self.p,
            "c": np.zeros(n) if self.c is None else self.c,
            "theta_names": tuple(self.theta_names or (f"theta_{i}" for i in range(ntheta))),
            "out_names": tuple(self.out_names or (f"u_{i}" for i in range(n_out))),
        }
        for name, value in fill.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "row_start", np.require(self.row_start, np.int64, ["C", "W"]))
        for name in ("H", "k", "F", "g", "P", "p", "c", "theta_min", "theta_max"):
            object.__setattr__(self, name, np.require(getattr(self, name), float, ["C", "W"]))
        check_arrays(self)

    def __repr__(self) -> str:
        counted = f", {self.n_laws} laws" if "law_index" in self.__dict__ else ""  # counting the laws may take long
        names = f"({', '.join(self.theta_names or ())}) -> ({', '.join(self.out_names or ())})"
        return f"PwaLaw({self.status}, {self.n_regions} regions{counted}, {self.ntheta} -> {self.n_out}, {names})"

    # -- sizes ---------------------------------------------------------------------------------------------------------
    @property
    def n_regions(self) -> int:
        """Number of critical regions, before equal laws are merged."""
        return self.F.shape[0]

    @property
    def ntheta(self) -> int:
        """Number of parameters."""
        return self.F.shape[2]

    @property
    def n_out(self) -> int:
        """Number of outputs of the law."""
        return self.F.shape[1]

    @cached_property
    def law_index(self) -> Int[np.ndarray, " n_regions"]:
        """(n_regions,) number of each region's law; equal laws (to `settings.law_tolerance`) share a number."""
        from .merging import number_laws

        return number_laws(self)

    @property
    def n_laws(self) -> int:
        """Number of distinct pairs (F, g)."""
        return int(self.law_index.max()) + 1 if self.n_regions else 0

    @property
    def regions(self) -> RegionList:
        """The regions, as a lazy sequence of `Region`."""
        return RegionList(self)

    # -- evaluation ----------------------------------------------------------------------------------------------------
    def __call__(self, theta: ArrayLike, online: bool = False) -> Float[np.ndarray, "*batch n_out"]:
        """Return u = F_i theta + g_i with i = locate(theta), NaN where no region holds theta.

        Args:
            theta: (..., ntheta) parameters.
            online: whether the program is solved where no region holds theta, as in a partial law; that takes some
                10 microseconds a point, and leaves NaN where it is infeasible.

        Returns:
            (..., n_out) outputs.

        Raises:
            ModelError: theta is no array of real numbers or its last dimension is not ntheta.
        """
        if online:
            return apply_online(self, theta)
        lookup = self._lookup
        if (
            lookup is not None
            and type(theta) is np.ndarray
            and (theta.shape, theta.dtype) == lookup.point
            and theta.flags.carray  # other layouts would be compiled for anew
        ):
            return lookup.one(theta)
        return apply(self, theta, self.settings.locate_tolerance)

    def extrapolate(self, theta: ArrayLike) -> Float[np.ndarray, "*batch n_out"]:
        """Return the law of the region with the least violation, even where no region holds theta.

        Args:
            theta: (..., ntheta) parameters; inside the regions the result equals `law(theta)` bit for bit.

        Returns:
            (..., n_out) outputs.
        """
        return apply(self, theta, np.inf)

    def locate(self, theta: ArrayLike) -> Int[np.ndarray, "*batch"]:
        """Return the region with the least violation max(H_i theta - k_i), -1 where it exceeds the tolerance.

        Args:
            theta: (..., ntheta) parameters.

        Returns:
            (...,) indices of regions; the lowest index wins a tie.
        """
        points, batch = points_of(self, theta)
        return locate(self, points, self.settings.locate_tolerance).reshape(batch)

    def value(self, theta: ArrayLike) -> Float[np.ndarray, "*batch"]:
        """Return the optimal cost V = theta'P_i theta/2 + p_i'theta + c_i, NaN where no region holds theta.

        Args:
            theta: (..., ntheta) parameters.

        Returns:
            (...,) optimal costs.
        """
        from .kernels import value_many

        if self.unmerged is not None:
            return self.unmerged.value(theta)
        points, batch = points_of(self, theta)
        out = np.empty(len(points))
        value_many(points, locate(self, points, self.settings.locate_tolerance), self.P, self.p, self.c, out)
        return out.reshape(batch)

    def multipliers(self, theta: ArrayLike) -> Float[np.ndarray, "*batch m"]:
        """Return the multipliers lam >= 0 of every row of the program, H z + f + F theta + A'lam = 0.

        Args:
            theta: (..., ntheta) parameters.

        Returns:
            (..., m) multipliers, NaN where no region holds theta.

        Raises:
            ModelError: the law carries no program or no active sets.
        """
        from .kkt import multipliers

        if self.unmerged is not None:
            return self.unmerged.multipliers(theta)
        points, batch = points_of(self, theta)
        lam = multipliers(self, points, locate(self, points, self.settings.locate_tolerance))
        return lam.reshape(*batch, lam.shape[1])

    @property
    def tree(self) -> "SearchTree | None":
        """The search tree that `law(theta)` goes down, None while regions are scanned."""
        return None if self._lookup is None else self._lookup.tree

    def with_tree(self, progress: bool = False) -> "PwaLaw":
        """Return the same law with a search tree: the same numbers in every bit, found without scanning the regions.

        Building takes 1 to 100 times as long as solving did, most with four parameters and more. `save` writes the tree
        too. A law with more than 6 parameters or with too many corners stays without one (`law.tree` is None). Without
        this call the tree of a law with up to 4 parameters is built when scanning one batch would take longer than
        building. Single points never start it, so that a control loop is not held up: call this before the loop.

        Args:
            progress: whether a line is shown while kernels are compiled, some 10 seconds once per machine.
        """
        if self._lookup is not None:
            return self
        law = replace(self)
        law.__dict__.update({name: self.__dict__[name] for name in _KEPT if name in self.__dict__})
        build_tree(law, progress)
        return law

    # -- geometry ------------------------------------------------------------------------------------------------------
    def vertices(self, i: int) -> Float[np.ndarray, "nv ntheta"]:
        """Return the corners of region i.

        Args:
            i: index of the region.

        Returns:
            (nv, ntheta) vertices in the units of theta; in the order around the polygon for two parameters.
        """
        from .regions import vertices

        return vertices(self, i)

    def merged(self) -> "PwaLaw":
        """Return the same law on fewer regions: those with equal laws whose union is convex become one, two or more.

        `value` and `multipliers` differ between merged regions; the law carries the one it was made of
        (`unmerged`), which answers them.
        """
        from .merging import merge

        return merge(self)

    def audit(self) -> Any:
        """Return the closure audit: beyond each facet lies a region, the border, or a point proved infeasible."""
        from .audit import audit

        return audit(self)

    # -- files ---------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike) -> None:
        """Write the law to a safetensors file with a JSON header.

        Args:
            path: file to write; an existing one is replaced in one step.
        """
        from .files import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "PwaLaw":
        """Read a law written by `save`.

        Args:
            path: file to read.

        Raises:
            FileFormatError: there is no such file, or it is damaged, of another version, or not a law.
        """
        from .files import load

        return load(path)

    def to_casadi(self, name: str = "law") -> Any:
        """Return a `casadi.Function` theta -> u that follows the evaluation rule, the nearest region outside all.

        Args:
            name: name of the function.
        """
        from .exchange import to_casadi

        return to_casadi(self, name)

    def to_torch(self, form: str = "gather") -> Any:
        """Return the law as a `torch.nn.Module` theta -> u: `yannctl.yann.encode_actor(law, form)` in float64.

        Args:
            form: "gather" (the same bits as the law, the nearest region outside all), "five_layer" or "lattice".
        """
        from .exchange import to_torch

        return to_torch(self, form)

    def with_status(self, status: str, message: str) -> "PwaLaw":
        """Return the same law with another status.

        Args:
            status: one of "complete", "partial", "infeasible", "unbounded".
            message: what happened and what to do about it.
        """
        law = replace(self, status=status, message=message)
        law.__dict__.update(
            {name: self.__dict__[name] for name in ("_lookup", "_untreeable", *_KEPT) if name in self.__dict__}
        )
        return law
