"""Why did the controller do that? The region, its active constraints, its gains, and what learning changed."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from yannctl.errors import ModelError
from yannctl.mpqp.condensation import constraint_rows, predict
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw

from .extension import ExtendedActor
from .parts import LawReference


@dataclass(frozen=True)
class Explanation:
    """One decision in numbers; `str()` puts it into words.

    Args:
        x: state by name [physical units].
        u: input that is applied, by name [physical units].
        region: index of the region, or of the nearest one.
        inside: False where no region holds x and the nearest one is continued.
        active: names of the constraints that hold with equality here.
        gain: row of each output, `{output: {state: gain}}`.
        offset: constant of each output.
        margin: distance to the nearest facet in fractions of the half range; negative outside.
        nearest_facet: which row of the region that is.
        base: what the law alone would apply, by name [physical units].
        learned_change: what the learned part adds to base, by name [physical units].
        filter_change: what limits and filters around the policy then add, by name [physical units].
    """

    x: dict[str, float]
    u: dict[str, float]
    region: int
    inside: bool
    active: tuple[str, ...]
    gain: dict[str, dict[str, float]]
    offset: dict[str, float]
    margin: float
    nearest_facet: int
    base: dict[str, float]
    learned_change: dict[str, float]
    filter_change: dict[str, float]

    def to_json(self) -> dict:
        """Return the fields as numbers, texts, lists and dictionaries."""
        return {**asdict(self), "active": list(self.active)}

    def __str__(self) -> str:
        state = ", ".join(f"{name} = {value:.6g}" for name, value in self.x.items())
        lines = [f"At {state}:"]
        held = ", ".join(self.active) if self.active else "no constraint"
        if self.inside:
            lines.append(
                f"region {self.region} applies, where {held} {'are' if len(self.active) > 1 else 'is'} active;"
            )
            lines.append(_law_text(self))
            lines.append(f"the nearest facet (row {self.nearest_facet}) is {self.margin:.3g} half ranges away;")
        else:
            lines.append(f"no region holds this state; region {self.region} is nearest ({held} active) and goes on;")
            lines.append(_law_text(self))
            lines.append(f"the state lies {-self.margin:.3g} half ranges beyond its facet (row {self.nearest_facet});")
        proposed = {name: self.base[name] + change for name, change in self.learned_change.items()}
        lines.append(_told("the learned part", self.learned_change, proposed))
        if any(self.filter_change.values()):
            lines.append(_told("the filter", self.filter_change, self.u))
        return "\n".join(lines)


def _law_text(found: Explanation) -> str:
    """Write the law of each output, without terms that are zero, and its value."""
    texts = []
    for output, row in found.gain.items():
        terms = [f"{gain:+.6g} {name}" for name, gain in row.items() if gain]
        terms += [f"{found.offset[output]:+.6g}"] if found.offset[output] and terms else []
        text = " ".join(terms).removeprefix("+").replace(" +", " + ").replace(" -", " - ")
        texts.append(
            f"{output} = {text} = {found.base[output]:.6g}" if terms else f"{output} = {found.base[output]:.6g}"
        )
    return f"its law is {', '.join(texts)};"


def _told(who: str, changes: dict[str, float], result: dict[str, float]) -> str:
    """Say who changed which input, and to what."""
    text = ", ".join(f"{name} by {change:+.6g} to {result[name]:.6g}" for name, change in changes.items() if change)
    return f"{who} changes {text or 'nothing'}."


def explain(controller: Any, x: ArrayLike, ocp: Ocp | None = None, applied: ArrayLike | None = None) -> Explanation:
    """Explain one decision.

    Region `i = argmin_i max_j (H_i x - k_i)_j`, margin `min_j (k_i - H_i x)_j`, change `u - (F_i x + g_i)`.

    Of controllers around a controller (attribute `inner`), those with a `filter(x, u)` and those with limits `u_min`,
    `u_max` are followed; what others add, such as a limit of the rate, which depends on the past, is seen in `applied`.

    Args:
        controller: a `PwaLaw`, an actor of this package (exact or extended), or a controller that holds one as
            `actor`, `policy`, `module` or `law`, also inside limits and filters.
        x: (ntheta,) state [physical units].
        ocp: the problem that was condensed, to name its constraints by step; without it they are named by content.
        applied: (n_out,) input that was really sent, where it is known [physical units].

    Returns:
        The explanation.

    Raises:
        ModelError: if no explicit law stands behind the controller, or x is not one state.
    """
    law, module = law_behind(controller)
    theta = np.asarray(x, dtype=float)
    if theta.shape != (law.ntheta,):
        raise ModelError(
            "x", f"got shape {theta.shape}, expected ({law.ntheta},)", remedy="explain one state at a time"
        )
    region, margins = _locate(law, theta)
    base = law.F[region] @ theta + law.g[region]
    with torch.no_grad():
        change = module.change(torch.as_tensor(theta)).numpy() if isinstance(module, ExtendedActor) else 0.0 * base
    change = np.asarray(change, dtype=float)
    sent = _filtered(controller, theta, base + change) if applied is None else np.asarray(applied, dtype=float)
    if sent.shape != base.shape:
        raise ModelError("applied", f"got shape {sent.shape}, expected {base.shape}")
    names, outputs = tuple(law.theta_names or ()), tuple(law.out_names or ())
    margin = float(margins.min(initial=np.inf))
    return Explanation(
        x=_by_name(names, theta),
        u=_by_name(outputs, sent),
        region=region,
        inside=bool(-margin <= law.settings.locate_tolerance),
        active=_active_names(law, region, ocp),
        gain={output: _by_name(names, law.F[region, index]) for index, output in enumerate(outputs)},
        offset=_by_name(outputs, law.g[region]),
        margin=margin,
        nearest_facet=int(margins.argmin()) if margins.size else -1,
        base=_by_name(outputs, base),
        learned_change=_by_name(outputs, change),
        filter_change=_by_name(outputs, sent - (base + change)),
    )


def _filtered(controller: Any, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Pass a proposed input through what stands around the policy, from the inside out."""
    inner = getattr(controller, "inner", None)
    if inner is not None:
        u = _filtered(inner, x, u)
    if isinstance(controller, PwaLaw | nn.Module):
        return u
    last_word = getattr(controller, "filter", None)
    if callable(last_word):
        return np.asarray(last_word(x[None], u[None]), dtype=float).reshape(u.shape)
    low, high = getattr(controller, "u_min", None), getattr(controller, "u_max", None)
    return u if low is None or high is None else np.clip(u, low, high)


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _locate(law: PwaLaw, theta: np.ndarray) -> tuple[int, np.ndarray]:
    """Find the region, or the nearest one, and the margin of each of its rows."""
    violation = law.H @ theta - law.k
    worst = [
        violation[start:end].max(initial=-np.inf)
        for start, end in zip(law.row_start[:-1], law.row_start[1:], strict=True)
    ]
    index = int(law.locate(theta))
    region = index if index >= 0 else int(np.argmin(worst))
    return region, -violation[law.row_start[region] : law.row_start[region + 1]]


def law_behind(controller: Any) -> tuple[PwaLaw, nn.Module | None]:
    """Find the explicit law behind a controller, and the network if there is one.

    Args:
        controller: what `explain` takes.

    Returns:
        The law, and the module or None.

    Raises:
        ModelError: if there is no law.
    """
    if isinstance(controller, PwaLaw):
        return controller, None
    if isinstance(controller, ExtendedActor):
        return law_behind(controller.base)[0], controller
    if isinstance(controller, nn.Module):
        source = getattr(controller, "source", None)
        if isinstance(source, LawReference):
            return source.law, controller
    for name in ("actor", "policy", "module", "law", "inner"):
        inner = getattr(controller, name, None)
        if inner is not None and inner is not controller and (name == "inner" or isinstance(inner, PwaLaw | nn.Module)):
            return law_behind(inner)
    raise ModelError(
        "controller",
        f"no explicit law stands behind {type(controller).__name__}",
        remedy="give a PwaLaw, an actor from encode_actor or extend, or a controller that holds one",
    )


def _active_names(law: PwaLaw, region: int, ocp: Ocp | None) -> tuple[str, ...]:
    """Name the active constraints of a region."""
    if not law.active or law.mpqp is None:
        return tuple(f"row {row}" for row in law.active[region]) if law.active else ()
    names = constraint_names(ocp) if ocp is not None else ()
    if len(names) == law.mpqp.n_rows:
        return tuple(names[row] for row in law.active[region])
    return tuple(_content(law, row) for row in law.active[region])


def _content(law: PwaLaw, row: int) -> str:
    """Name a row by what it says: a bound on one decision, or its number."""
    A, b, B = law.mpqp.A[row], law.mpqp.b[row], law.mpqp.B[row]
    entries = np.flatnonzero(A)
    if len(entries) != 1 or B.any():
        return f"row {row}"
    index = int(entries[0])
    outputs = law.out_names or ()
    name = outputs[index] if index < len(outputs) else f"variable z{index} of the QP"
    return f"{name} {'<=' if A[index] > 0 else '>='} {b / A[index]:.6g}"


def constraint_names(ocp: Ocp) -> tuple[str, ...]:
    """Name the rows of `condense(ocp)` in their order: inputs, states, terminal set, slacks; upper before lower.

    Args:
        ocp: the optimal control problem.

    Returns:
        One name a row.

    Raises:
        ModelError: for a problem with parameters beside the state or with blocked moves, whose rows are others.
    """
    if not ocp.plain:
        raise ModelError("ocp", "rows are named only for theta = x_0 and a move a step", remedy="leave ocp away")
    prediction = predict(ocp)
    rows = constraint_rows(ocp, prediction)
    names = [
        f"{name} {sign} {value:.6g} at step {step}"
        for labels, bound, sign, steps in (
            (ocp.lin.u_names, ocp.u_max, "<=", range(ocp.N)),
            (ocp.lin.u_names, ocp.u_min, ">=", range(ocp.N)),
            (ocp.lin.x_names, ocp.x_max, "<=", range(1, ocp.N + 1)),
            (ocp.lin.x_names, ocp.x_min, ">=", range(1, ocp.N + 1)),
        )
        for step in steps
        for name, value in zip(labels, bound, strict=True)
        if np.isfinite(value)
    ]
    names += [f"terminal row {index} at step {ocp.N}" for index in range(len(rows.A) - len(names))]
    if ocp.soft is None or not ocp.bounded_states.size:
        return tuple(name for name, row in zip(names, rows.A, strict=True) if row.any())
    bounded = [ocp.lin.x_names[index] for index in ocp.bounded_states]
    return (*names, *(f"no excess of {name} at step {step}" for step in range(1, ocp.N + 1) for name in bounded))
