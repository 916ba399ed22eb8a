"""The certified filter in the training loop: which one, what it did, and how a policy looks behind it.

Where a proof covers the plant, every input that training sends has passed its filter: exploration is as wide as the
filter allows and no wider. The gate runs both policies behind the same filter, and so does whoever deploys the result.
"""

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from yannctl.assurance import AbstractSafeSet, AnalyticCertificate, Certificate, CertifiedPolytope, SafetyFilter
from yannctl.assurance.coverage import cover
from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant

from .environment import PlantEnvironment
from .task import Task

Wanted = str | Certificate | AnalyticCertificate | AbstractSafeSet | SafetyFilter | None
MAX_DRAWS = 10_000  # starts drawn for one inside the set


@dataclass(frozen=True, eq=False)
class Safeguard:
    """The filter of a run, or the reason why there is none.

    Args:
        filter: the certified filter, or None.
        name: name of its loop, "given" for one that the caller made, "none".
        reason: one line: what it covers, or why there is none.
        certificate: the certificate it comes from, or None.
        task: the task before the filter, whose actuator limits act first; None for none.
        redraw: whether starts outside the set are drawn again: only a simulation can.
    """

    filter: SafetyFilter | None = None
    name: str = "none"
    reason: str = "switched off"
    certificate: Certificate | AnalyticCertificate | None = None
    task: Task | None = None
    redraw: bool = False

    def line(self) -> str:
        """One line for a log."""
        return f"no filter: {self.reason}" if self.filter is None else f"filter {self.name}: {self.reason}"

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Filter proposals, as an environment's `filter` does.

        Args:
            x: states (n, nx) [physical units].
            u: proposed inputs (n, nu).

        Returns:
            Inputs to apply (n, nu).
        """
        return self.apply(x, u)[0]

    def apply(self, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filter proposals and tell which states lie outside the certified set.

        Args:
            x: states (n, nx) [physical units].
            u: proposed inputs (n, nu).

        Returns:
            Inputs to apply (n, nu), the proposals themselves without a filter, and truth values (n,).
        """
        if self.filter is None or self.task is None:
            return u, np.zeros(len(u), bool)
        decision = self.filter.decide(x, self.task.limited(u))
        return decision.u, decision.outside

    def residual_share(self, x: np.ndarray, u: np.ndarray, x1: np.ndarray) -> float:
        """Share of the certified error bound W that a measured step used; 0 where no certificate states a W.

        Above 1 the certificate no longer speaks about this plant; above 0.8 `assurance.ResidualMonitor` alarms.

        Args:
            x: state before the step (nx,).
            u: input applied (nu,).
            x1: state after it (nx,).

        Returns:
            The share.
        """
        if self.filter is None or not isinstance(self.certificate, Certificate):
            return 0.0
        if not self.filter.safe_set.contains(x[None])[0]:
            return 0.0
        return float(self.certificate.inclusion.residual_share(x[None], u[None], x1[None])[0])

    def inside(self, x: np.ndarray) -> bool:
        """Whether a start lies in the set; True for every start without a filter, or where none can be drawn again.

        Args:
            x: state (nx,).
        """
        return self.filter is None or not self.redraw or bool(self.filter.safe_set.contains(x[None])[0])

    def guarded(self, task: Task) -> Task:
        """A task as it is behind the filter: its filter, and only starts inside its set.

        Args:
            task: the task of the environment.

        Returns:
            The task itself without a filter.
        """
        return task if self.filter is None else replace(task, filter=self, draw_starts=self._starts)

    def _starts(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw starts of the task that lie in the set, (n, nx)."""
        assert self.filter is not None
        assert self.task is not None
        found = np.zeros((0, self.task.nx))
        for _ in range(MAX_DRAWS):
            x = self.task.starts(rng, n)
            found = np.vstack([found, x[self.filter.safe_set.contains(x)]])
            if len(found) >= n:
                return found[:n]
        raise ModelError("filter", "no start of the environment lies in its set", remedy="choose another filter")


class FilteredPolicy(nn.Module):
    """A policy behind its certified filter: u = filter(x, policy(x)), with recovery outside the set; no gradient.

    Args:
        policy: the raw policy, x (..., nx) -> u (..., nu).
        safeguard: the filter.
    """

    def __init__(self, policy: nn.Module, safeguard: Safeguard) -> None:
        super().__init__()
        self.policy, self.safeguard = policy, safeguard

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate policy and filter.

        Args:
            x: states (..., nx) [physical units].

        Returns:
            Inputs (..., nu), in the type of the policy's.
        """
        proposed = self.policy(x)
        states = x.detach().double().cpu().numpy().reshape(-1, x.shape[-1])
        u, _ = self.safeguard.apply(states, proposed.double().cpu().numpy().reshape(len(states), -1))
        return torch.from_numpy(u).to(proposed).reshape(proposed.shape)


def safeguard_of(env: gymnasium.Env, task: Task, wanted: Wanted = "auto") -> Safeguard:
    """Choose the filter of a training run.

    "auto" takes the environment's own filter, else the certified loop whose proof covers the plant as the environment
    runs it and keeps the plant's hard limits, else none, and says why.

    Args:
        env: the environment.
        task: its sizes and nominal plant.
        wanted: "auto", "none", a name in `assurance.TARGETS`, or a filter, safe set or certificate.

    Returns:
        The filter or the reason why there is none.

    Raises:
        ModelError: a filter that was asked for by name and does not cover the plant, or does not fit it.
    """
    if wanted is None or wanted == "none":
        return Safeguard()
    redraw = isinstance(env.unwrapped, PlantEnvironment)
    own: Any = getattr(env.unwrapped, "filter", None)
    if wanted == "auto" and own is not None:
        if not isinstance(own, SafetyFilter):
            return Safeguard(reason="the environment has a filter of its own, about which nothing is proved here")
        wanted = own
    if not isinstance(wanted, str):
        return _given(wanted, task, redraw)
    if task.plant is None:
        return _refused(wanted, "the environment has no plant model")
    if reason := _uncovered(env):
        return _refused(wanted, reason)
    found = cover(task.plant, None if wanted == "auto" else wanted, _ranges(env, task.plant))
    if found.filter is None:
        return _refused(wanted, found.reason)
    return Safeguard(found.filter, found.name, found.reason, found.certificate, task, redraw)


def _given(wanted: Any, task: Task, redraw: bool) -> Safeguard:
    """A filter, set or certificate that the caller brings: what it says of itself must fit."""
    safe_set = wanted.safe_set() if isinstance(wanted, Certificate | AnalyticCertificate) else wanted
    made = safe_set if isinstance(safe_set, SafetyFilter) else SafetyFilter(safe_set)
    certificate: Certificate | AnalyticCertificate | None = None
    if isinstance(wanted, AnalyticCertificate):
        certificate = wanted
    elif isinstance(made.safe_set, CertifiedPolytope):
        certificate = made.safe_set.certificate
    said = None if certificate is None else certificate.statement
    seen = task.nx if made.states is None else made.safe_set.nx
    if (made.safe_set.nx, made.safe_set.nu) != (seen, task.nu):
        text = f"is for {made.safe_set.nx} states and {made.safe_set.nu} inputs, the plant has {task.nx} and {task.nu}"
        raise ModelError("filter", text)
    if not (np.all(made.safe_set.u_min >= task.u_min) and np.all(made.safe_set.u_max <= task.u_max)):
        raise ModelError("filter", "relies on inputs that the plant's limits do not allow")
    if said is not None and task.plant is not None:
        plant = task.plant
        if said.x_names != tuple(plant.x_names) or said.u_names != tuple(plant.u_names) or said.dt != plant.dt:
            text = f"is for {said.plant} ({', '.join(said.x_names)}) sampled every {said.dt:g}"
            raise ModelError("filter", text, remedy="give the certificate of this plant")
    reason = said.note if said is not None else "brought by the caller, who answers for what it covers"
    return Safeguard(made, "given", reason, certificate, task, redraw)


def _refused(wanted: str, reason: str) -> Safeguard:
    if wanted != "auto":
        raise ModelError("filter", f"{wanted!r} covers nothing here: {reason}", remedy="use 'auto' or 'none'")
    return Safeguard(reason=reason)


def _uncovered(env: gymnasium.Env) -> str:
    """What the environment does to the plant that no shipped proof covers."""
    if not isinstance(env.unwrapped, PlantEnvironment):
        return ""
    variation = env.unwrapped.variation
    if variation.disturb:
        return "disturbances are switched on, which the proofs do not cover"
    if variation.noise > 0:
        return "sensor noise is switched on, which the proofs do not cover"
    return ""


def _ranges(env: gymnasium.Env, plant: AbstractPlant) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the parameters the real plant of an environment may have, as far as it tells."""
    inner: Any = env.unwrapped
    ends = [getattr(inner, "true_ranges", None)]
    if isinstance(true := getattr(inner, "plant", None), AbstractPlant):
        ends.append((true.parameters, true.parameters))  # a specimen: the truth, where `plant` here is the data sheet
    if isinstance(inner, PlantEnvironment) and inner.variation.randomise:
        ends.append(plant.parameter_ranges)
    known = [pair for pair in ends if pair is not None]
    return np.min([low for low, _ in known], axis=0), np.max([high for _, high in known], axis=0)
