"""Which certified loop speaks about a plant, or why none does.

A proof holds for one class of plant, its sample period, its input limits and its parameters; parameters that the proof
covers by intervals may lie anywhere inside them. Whatever does not fit is named, and no filter is given.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .analytic_certificate import AnalyticCertificate, certify_barrier, certify_stopping
from .certificate import Certificate
from .runaway_set import runaway_barrier
from .safe_set import AbstractSafeSet
from .safety_filter import SafetyFilter
from .targets import TARGETS, certified, reactor_barrier, robot_stopping_set

_ROUNDING = 1e-12  # relative, between the ends of an interval computed in two ways
Interval = tuple[float, float]
Proved = Certificate | AnalyticCertificate


@dataclass(frozen=True, eq=False)
class Coverage:
    """The filter of a plant, or the reason why there is none.

    Args:
        name: name of the loop in `TARGETS`, empty for none.
        filter: its filter, or None.
        certificate: its certificate; None where there is no filter, or a proved set without a certificate.
        reason: one line: what is covered, or what is not.
    """

    name: str
    filter: SafetyFilter | None
    certificate: Proved | None
    reason: str


@dataclass(frozen=True)
class _Proof:
    """What a proof asks of a plant.

    `made_for` gives the plant the proof is about, with this plant's own values of what the proof takes as it is;
    `free` names fields that do not enter the motion; `build` gives set, certificate, intervals of the covered fields,
    and the hard limits it keeps.
    """

    made_for: Callable[[Any], AbstractPlant]
    free: tuple[str, ...]
    build: Callable[[Any], tuple[AbstractSafeSet, Proved | None, dict[str, Interval], str]]


def cover(
    plant: AbstractPlant, name: str | None = None, ranges: tuple[np.ndarray, np.ndarray] | None = None
) -> Coverage:
    """Find the certified loop that speaks about a plant.

    Args:
        plant: the plant as it is known.
        name: one of `TARGETS`, whatever limits the plant itself declares; None for the one that keeps its hard limits.
        ranges: ends (np,), (np,) of the uncertain parameters that the real plant may have; None for those of `plant`.

    Returns:
        The filter, or why there is none.

    Raises:
        ModelError: an unknown name.
    """
    if name is not None and name not in TARGETS:
        raise ModelError("filter", f"no certified loop is called {name!r}", remedy=f"one of {', '.join(TARGETS)}")
    kind = type(plant).__name__
    if name is None and not plant.hard_states:
        return Coverage("", None, None, f"{kind} declares no hard limit that a certified set keeps")
    wanted = [key for key, (of, _) in _PROOFS.items() if of == kind and name in (None, key)]
    wanted = wanted[:1]  # the widest set of a plant comes first; a smaller one is taken by name only
    reasons = [f"no certified loop is for {kind}" if name is None else f"{name} is not for {kind}"]
    for key in wanted:
        proof = _PROOFS[key][1]
        gap = _differs(plant, proof)
        if not gap:
            safe_set, certificate, intervals, note = proof.build(plant)
            gap = _outside(plant, proof, intervals, ranges)
            if not gap and name is None:
                gap = _unkept(plant, certificate)
            if not gap:
                made = SafetyFilter(safe_set, safe_action=safe_set.action(_somewhere(safe_set, certificate)))
                return Coverage(key, made, certificate, note)
        reasons.append(f"{key}: {gap}")
    return Coverage("", None, None, reasons[-1])


def _differs(plant: AbstractPlant, proof: _Proof) -> str:
    """What of the data sheet is not the proof's: names, period, input limits."""
    about = proof.made_for(plant)
    for what in ("x_names", "u_names", "x_units", "u_units"):
        if tuple(getattr(plant, what)) != tuple(getattr(about, what)):
            return f"it is for {what} {getattr(about, what)}"
    if plant.dt != about.dt:
        return f"it is for a sample period of {about.dt:g}, this is {plant.dt:g}"
    if not (np.array_equal(plant.u_min, about.u_min) and np.array_equal(plant.u_max, about.u_max)):
        return f"it is for inputs in {about.u_min} to {about.u_max}"
    return ""


def _outside(
    plant: AbstractPlant, proof: _Proof, intervals: dict[str, Interval], ranges: tuple[np.ndarray, np.ndarray] | None
) -> str:
    """Which field of the plant, or end of its range, the proof does not cover."""
    about = proof.made_for(plant)
    ends = {name: (float(low), float(high)) for name, low, high in zip(plant.parameter_names, *ranges, strict=True)} \
        if ranges is not None else {}  # fmt: skip
    for field in fields(plant):  # type: ignore[arg-type]  # every plant is a dataclass
        name, value = field.name, getattr(plant, field.name)
        if name in proof.free or not isinstance(value, int | float):
            continue
        low, high = ends.get(name, (value, value))
        low, high = min(low, value), max(high, value)
        wanted = intervals.get(name, (getattr(about, name),) * 2)
        slack = _ROUNDING * max(abs(wanted[0]), abs(wanted[1]))
        if low < wanted[0] - slack or high > wanted[1] + slack:
            ours = f"{value:g}" if low == high else f"{low:g} to {high:g}"
            theirs = f"{wanted[0]:g}" if wanted[0] == wanted[1] else f"{wanted[0]:g} to {wanted[1]:g}"
            return f"its proof covers {name} = {theirs}, here {ours}"
    return ""


def _unkept(plant: AbstractPlant, certificate: Proved | None) -> str:
    """Which hard limit of the plant lies inside the certified box; an analytic set is built from the plant's own."""
    if not isinstance(certificate, Certificate):
        return ""
    domain = certificate.domain
    for i in plant.hard_states:
        if domain.x_min[i] < plant.x_min[i] or domain.x_max[i] > plant.x_max[i]:
            return f"it keeps {plant.x_names[i]} within {domain.x_min[i]:g} to {domain.x_max[i]:g} only"
    return ""


def _somewhere(safe_set: AbstractSafeSet, certificate: Proved | None) -> np.ndarray:
    """A state at which the set's own input is a safe one to fall back on."""
    polytope = isinstance(certificate, Certificate)
    return certificate.found.vertices.mean(axis=0) if polytope else np.zeros(safe_set.nx)


def _polytopic(name: str) -> Callable[[Any], tuple[AbstractSafeSet, Proved | None, dict[str, Interval], str]]:
    def build(plant: Any) -> tuple[AbstractSafeSet, Proved | None, dict[str, Interval], str]:
        certificate = certified(name)[1]
        domain, said = certificate.domain, certificate.statement
        ends = zip(said.p_names, domain.p_min.tolist(), domain.p_max.tolist(), strict=True)
        return certificate.safe_set(), certificate, {key: (low, high) for key, low, high in ends}, said.note

    return build


def _barrier(plant: Any) -> tuple[AbstractSafeSet, Proved | None, dict[str, Interval], str]:
    barrier, certificate = _certified_barrier(plant.dt, plant.Tc_max)
    ends = {name: (float(barrier.p_min[i]), float(barrier.p_max[i])) for i, name in enumerate(("k0", "UA"))}
    return barrier, certificate, ends, f"T <= {barrier.T_max:g} K for k0 and UA +-10 %, feed as stated, no sensor error"


@cache
def _certified_barrier(dt: float, Tc_max: float) -> tuple[AbstractSafeSet, AnalyticCertificate]:
    """The reactor's barrier with its certificate; the proof takes a moment, and depends on nothing else."""
    from yannctl.models import CSTR

    barrier = reactor_barrier(dt=dt, Tc_max=Tc_max)
    return barrier, certify_barrier(barrier, CSTR(dt=dt, Tc_max=Tc_max))


def _stopping(plant: Any) -> tuple[AbstractSafeSet, Proved | None, dict[str, Interval], str]:
    stopping = robot_stopping_set(plant.bend)
    low, high = _robot(plant).parameter_ranges
    ends = dict(zip(plant.parameter_names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    note = f"|ey| <= {stopping.half_width:g} m for the lags and gains of the data sheet; no side slip, no sensor error"
    return stopping, certify_stopping(stopping, _robot(plant)), ends, note


def _runaway(plant: Any) -> tuple[AbstractSafeSet, Proved | None, dict[str, Interval], str]:
    own = plant.nominal
    low, high = own.parameter_ranges
    ends = dict(zip(own.parameter_names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return runaway_barrier(own), None, ends, f"T <= {own.T_max:g} K for the parameters' declared ranges, feed as stated"


def _pendulum(plant: Any) -> AbstractPlant:
    from yannctl.models import Pendulum

    return Pendulum()


def _reactor(plant: Any) -> AbstractPlant:
    from yannctl.models import CSTR

    return CSTR(dt=plant.dt, Tc_max=plant.Tc_max)


def _slow_reactor(plant: Any) -> AbstractPlant:
    from yannctl.models import CSTR

    return CSTR(dt=certified("reactor-point")[1].statement.dt)


def _robot(plant: Any) -> AbstractPlant:
    from yannctl.models import DifferentialDrive

    return DifferentialDrive(bend=plant.bend)


def _own(plant: Any) -> AbstractPlant:
    return plant.nominal


_REACTOR_FREE = ("set_point", "cost", "integrator", "dt", "Tc_max")
_PROOFS: dict[str, tuple[str, _Proof]] = {
    "pendulum-upright": ("Pendulum", _Proof(_pendulum, ("integrator", "task"), _polytopic("pendulum-upright"))),
    "reactor-limit": ("CSTR", _Proof(_reactor, _REACTOR_FREE, _barrier)),
    "reactor-point": ("CSTR", _Proof(_slow_reactor, _REACTOR_FREE, _polytopic("reactor-point"))),
    "robot-stop": (
        "DifferentialDrive",
        _Proof(_robot, ("sharpness", "wavelength", "bend", "v_ref", "integrator"), _stopping),
    ),
    "runaway-limit": ("RunawayReactor", _Proof(_own, ("integrator",), _runaway)),
}
