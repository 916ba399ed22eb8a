"""Ocp → exact critic: the return of taking u in x and following the optimal law after it.

`Q(x, u) = l(x, u) + gamma [penalty(x+) + V_{N-1}(x+)]`, so `argmax_u critic = argmin_u Q` over the input bounds is the
law of horizon N: the actor's horizon is N, the critic's cost-to-go N - 1. V_{N-1} is compiled once on the state space
and composed with the model, so no problem in (x, u) is ever solved. Source: first-input-fixed value of Gros and
Zanon (arXiv:1904.04152); the "lqr" kind is the critic of Braniff and Tian (arXiv:2508.16474) with discounted weights.
"""

from abc import abstractmethod
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from yannctl.errors import ModelError
from yannctl.ocp import Ocp
from yannctl.pwa import PwaLaw, Settings

from .cost_to_go import at_origin, cost_to_go, held_steps, in_deviations
from .model_step import ModelStep, quadratic, register
from .parts import LawReference, PiecewiseAffine, column_sum

# A bound or a region counts as violated above this, in fractions of the half range: the law's own tolerance, or what
# rounding needs in a shorter type.
FEASIBLE = 1e-9
ROUNDING = 32


class AbstractCritic(nn.Module):
    """What every critic is: `critic(x (..., nx), u (..., nu)) -> (...,)`, the return, larger is better."""

    @abstractmethod
    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Evaluate the return."""


class LqrLaw(nn.Module):
    """The weights of the unconstrained return: the model and the Riccati matrix.

    Args:
        ocp: the optimal control problem.
        dtype: floating type of the buffers.
    """

    P: torch.Tensor

    def __init__(self, ocp: Ocp, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = ModelStep(in_deviations(ocp), ocp.x_ref, ocp.u_ref, dtype)
        register(self, {"P": replace(ocp, terminal="lqr").P}, dtype)


class LqrCritic(AbstractCritic):
    """The unconstrained return: `-(l(x, u) + gamma d+' P d+)`, P from the discounted Riccati equation.

    Args:
        ocp: the optimal control problem.
        dtype: floating type of the weights and of the result.
    """

    def __init__(self, ocp: Ocp, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.gamma = float(ocp.gamma)
        self.law = LqrLaw(ocp, dtype)

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Evaluate the return.

        Args:
            x: (..., nx) state [physical units].
            u: (..., nu) input [physical units].

        Returns:
            (...,) return.
        """
        after, cost = self.law.model(x, u)
        shape = torch.broadcast_shapes(x.shape[:-1], u.shape[:-1])
        return -(cost + self.gamma * quadratic(self.law.P, after)).reshape(shape)


class ExactLaw(nn.Module):
    """The weights of the exact return: the model, the pieces of V_{N-1} and the penalty on the successor.

    Args:
        moved: the problem in deviations, with its soft weight.
        origins: (ntheta,) origin of the parameters and (nu,) of the inputs.
        after: explicit law whose value is V_{N-1}.
        dtype: floating type of the buffers.
    """

    P: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    width: torch.Tensor
    linear: torch.Tensor
    square: torch.Tensor
    du_min: torch.Tensor
    du_max: torch.Tensor

    def __init__(self, moved: Ocp, origins: tuple[np.ndarray, np.ndarray], after: PwaLaw, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = ModelStep(moved, *origins, dtype)
        # The pieces' quadratics take the place of the gains: one row (P, p, c) a region.
        slope, constant = np.asarray(after.p)[:, None, :], np.asarray(after.c)[:, None]
        self.after = PiecewiseAffine(after.row_start, after.H, after.k, slope, constant, dtype)
        hard = moved.soft is None
        none = np.zeros(0)
        arrays = {
            "P": after.P,
            "lower": moved.x_min,
            "upper": moved.x_max,
            "width": ((after.theta_max - after.theta_min) / 2)[: moved.nx],
            "du_min": none if moved.du_min is None else moved.du_min,
            "du_max": none if moved.du_max is None else moved.du_max,
            "linear": 0.0 if hard else moved.soft_weight or 0.0,
            "square": 0.0 if hard else moved.soft_quadratic,
        }
        register(self, arrays, dtype)


class ExactCritic(AbstractCritic):
    """The return of the optimal control problem with its first input fixed.

    `critic(x, u) = -(l(x, u) + gamma [penalty(x+) + V_{N-1}(x+)])`; `-inf` where x+ breaks a hard bound or no input
    sequence follows it. Its gradient is that of the selected piece, exact almost everywhere.

    Where the law has more parameters than the state, so has the critic: x is then `theta = (x_0, u_last, d, reference)`
    in the order of `ocp.parameters`, and the successor's is `(x+, u, d, reference)`. An input that is held for a block
    of steps is held here too, and the value after the block follows.

    Args:
        ocp: the optimal control problem.
        settings: tolerances of the solver, or None for the defaults.
        n_jobs: processes for the solver.
        progress: show a progress bar on a terminal.
        dtype: floating type of the weights and of the result.

    Raises:
        ModelError: if an input bound is missing, or the cost-to-go could not be computed completely.
    """

    def __init__(
        self,
        ocp: Ocp,
        settings: Settings | None = None,
        n_jobs: int = 1,
        progress: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        moved, *origins = at_origin(ocp)
        after = cost_to_go(moved, settings, n_jobs, progress)
        self.gamma = float(ocp.gamma)
        self.held = held_steps(ocp)
        self.hard_bounds = ocp.soft is None
        self.hard_after = ocp.soft is None or ocp.terminal == "set"  # terminal rows are never softened
        self.source = LawReference(after)
        self.law = ExactLaw(moved, (origins[0], origins[1]), after, dtype)
        self.feasible = max(FEASIBLE, ROUNDING * torch.finfo(dtype).eps)

    @property
    def n_weights(self) -> int:
        """Numbers of the pieces: rows, quadratics, gradients and constants."""
        after = self.law.after
        return sum(int(part.numel()) for part in (after.H, after.k, after.F, after.g, self.law.P))

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Evaluate the return.

        Args:
            x: (..., ntheta) parameters, the state unless the problem has more [physical units].
            u: (..., nu) input [physical units].

        Returns:
            (...,) return, -inf where infeasible.
        """
        model = self.law.model
        theta, e = model.deviations(x, u)
        cost, broken = self._rate(theta, e)
        after, discount = theta[:, : model.nx], 1.0
        for _ in range(self.held):
            cost = cost + discount * model.stage(theta, after, e)
            after, discount = model.after(theta, after, e), discount * self.gamma
            excess = torch.relu(torch.maximum(after - self.law.upper, self.law.lower - after))
            cost = cost + discount * column_sum(excess.T, (self.law.linear + self.law.square * excess).T)
            if self.hard_bounds:
                broken = broken | (excess > self.feasible * self.law.width).any(dim=1)
        columns = model.layout
        last = [e] if columns.u_last.stop > columns.u_last.start else []
        value, outside = self._value(torch.cat([after, *last, theta[:, columns.d.start :]], dim=1))
        if self.hard_after:
            broken = broken | outside
        result = -(cost + discount * value)
        result = torch.where(broken, torch.full_like(result, -torch.inf), result)
        return result.reshape(torch.broadcast_shapes(x.shape[:-1], u.shape[:-1]))

    def _rate(self, theta: torch.Tensor, e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate the cost of the first input's rate, and tell where it breaks its bounds."""
        law, model = self.law, self.law.model
        cost, broken = torch.zeros_like(e[:, 0]), torch.zeros_like(e[:, 0], dtype=torch.bool)
        if model.layout.u_last.stop == model.layout.u_last.start:
            return cost, broken
        rate = e - theta[:, model.layout.u_last]
        if model.rate:
            cost = quadratic(model.R_rate, rate)
        if law.du_min.numel():
            slack = self.feasible * (1 + rate.abs())
            broken = ((rate > law.du_max + slack) | (rate < law.du_min - slack)).any(dim=1)
        return cost, broken

    def _value(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate `V = theta'P theta/2 + p'theta + c` of the piece, and tell where no piece holds theta."""
        pieces = self.law.after
        index, violation = pieces.locate(theta.detach())
        linear = pieces.F[index][:, 0]
        inner = column_sum(self.law.P[index].permute(2, 0, 1), theta.T.unsqueeze(-1)) / 2 + linear
        return column_sum(inner.T, theta.T) + pieces.g[index][:, 0], violation > self.feasible


def encode_critic(
    ocp: Ocp,
    kind: str = "exact",
    settings: Settings | None = None,
    n_jobs: int = 1,
    progress: bool = False,
    dtype: torch.dtype = torch.float64,
) -> AbstractCritic:
    """Compile an optimal control problem into a critic.

    `critic(x, u) = -(l(x, u) + gamma [penalty(x+) + V_{N-1}(x+)])`, whose maximum over the input bounds is the law.

    Args:
        ocp: the optimal control problem.
        kind: "exact", or "lqr" for the closed form without constraints.
        settings: tolerances of the solver, or None for the defaults; "exact" only.
        n_jobs: processes for the solver.
        progress: show a progress bar on a terminal.
        dtype: floating type of the weights and of the result.

    Returns:
        Module `critic(x (..., nx), u (..., nu)) -> (...,)` return; -inf where infeasible without soft bounds. Where
        the problem has parameters beside the state, x is the whole `ocp.theta(...)`.

    Raises:
        ModelError: for an unknown kind, the "lqr" kind of a problem with parameters beside the state or with blocked
            moves, or if the cost-to-go could not be computed completely.
    """
    if kind == "lqr":
        if not ocp.plain:
            text = "the closed form needs theta = x_0 and a move a step"
            raise ModelError("ocp", text, remedy='use kind="exact", or drop track, rate, d and blocks')
        return LqrCritic(ocp, dtype)
    if kind != "exact":
        raise ModelError("kind", f"got {kind!r}, expected 'exact' or 'lqr'")
    return ExactCritic(ocp, settings, n_jobs, progress, dtype)
