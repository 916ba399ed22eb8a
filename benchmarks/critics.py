"""Exact critics against the online QP with its first input fixed: value, slope, and temporal difference."""

import time
from typing import Any

import numpy as np
import torch

from yannctl.linear import LinearModel
from yannctl.mpqp import condense
from yannctl.ocp import Ocp
from yannctl.pwa import solve_mpqp
from yannctl.yann import encode_critic, verify_critic
from yannctl.yann.online import first_input_fixed

Q_ERROR, SLOPE_ERROR, TD_RESIDUAL = 1e-7, 1e-5, 1e-6
STEP = 1e-5  # of the difference quotients, in inputs


def integrator(N: int, **options: Any) -> Ocp:
    """Double integrator with bounds on position, speed and input."""
    lin = LinearModel(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.5], [1.0]]))
    bounds = {"x_min": [-25.0, -5.0], "x_max": [25.0, 5.0], "u_min": [-1.0], "u_max": [1.0]}
    return Ocp(lin, Q=np.eye(2), R=0.1 * np.eye(1), N=N, **(bounds | options))


PROBLEMS: dict[str, dict[str, Any]] = {
    "hard, N = 4": {"N": 4},
    "soft, N = 4": {"N": 4, "soft": "l1l2"},
    "hard, N = 10": {"N": 10},
    "rate in the cost, N = 3": {"N": 3, "R_rate": [[0.5]]},
    "soft and discounted, N = 8": {"N": 8, "soft": "l1l2", "gamma": 0.95},
}
SHORT = ("hard, N = 4", "soft, N = 4", "rate in the cost, N = 3")


def critic_rows(short: bool) -> list[dict[str, Any]]:
    """Measure the critics; `exact` says whether value, slope and temporal difference keep their limits."""
    return [_measure(name, PROBLEMS[name], 200 if short else 1000) for name in (SHORT if short else PROBLEMS)]


def _measure(name: str, options: dict[str, Any], n: int) -> dict[str, Any]:
    ocp = integrator(**options)
    start = time.perf_counter()
    critic = encode_critic(ocp)
    build = time.perf_counter() - start
    checked = verify_critic(critic, ocp, n)
    rng = np.random.default_rng(0)
    low, high = (
        np.concatenate([ocp.theta_min, ocp.parameters.low]),
        np.concatenate([ocp.theta_max, ocp.parameters.high]),
    )
    x = torch.as_tensor(rng.uniform(low, high, (100_000, len(low))))
    u = torch.as_tensor(rng.uniform(-1, 1, (100_000, 1)))
    with torch.inference_mode():
        critic(x, u)
        start = time.perf_counter()
        critic(x, u)
        speed = len(x) / (time.perf_counter() - start)
    slope, residual = slope_error(critic, ocp, n), td_residual(critic, ocp)
    return {
        "problem": name,
        "size": critic.n_weights,
        "build_s": build,
        "batch_per_s": speed,
        "q_error": checked.max_relative_error,
        "slope_error": slope,
        "td_residual": residual,
        "exact": checked.ok and slope <= SLOPE_ERROR and residual <= TD_RESIDUAL,
    }


def slope_error(critic: Any, ocp: Ocp, n: int) -> float:
    """Largest relative |dQ/du - difference quotient of the online QP|, where both ends lie in one piece."""
    rng = np.random.default_rng(1)
    middle = (ocp.theta_max + ocp.theta_min) / 2
    half = 0.6 * (ocp.theta_max - ocp.theta_min) / 2
    low = np.concatenate([middle - half, ocp.parameters.low])
    high = np.concatenate([middle + half, ocp.parameters.high])
    x, u = rng.uniform(low, high, (n, len(low))), rng.uniform(-0.9, 0.9, (n, 1))
    point = torch.as_tensor(u).requires_grad_()
    value = critic(torch.as_tensor(x), point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    ends = [torch.as_tensor(u + step) for step in (STEP, -STEP)]
    slopes = []
    for end in ends:
        end.requires_grad_()
        slopes.append(torch.autograd.grad(critic(torch.as_tensor(x), end).sum(), end)[0].numpy())
    quotient = (first_input_fixed(ocp, x, u + STEP) - first_input_fixed(ocp, x, u - STEP)) / (2 * STEP)
    # A kink of the value's second derivative between the ends, or the edge of feasibility, is no error of the slope.
    curved = np.abs(slopes[0] + slopes[1] - 2 * slope.numpy())[:, 0] <= 1e-9 * (1 + np.abs(slope.numpy()[:, 0]))
    good = curved & np.isfinite(quotient) & np.isfinite(value.detach().numpy())
    error = np.abs(-slope.numpy()[:, 0] - quotient) / (1 + np.abs(quotient))
    return float(error[good].max())


def td_residual(critic: Any, ocp: Ocp) -> float:
    """Largest `|-l + gamma critic(x+, law(x+)) - critic(x, u)|` on the linear plant, x_N in the invariant set."""
    if ocp.parameters.n != ocp.nx:
        return _rate_residual(critic, ocp)
    law = solve_mpqp(condense(ocp))
    rng = np.random.default_rng(2)
    x, u = rng.uniform([-0.4, -0.2], [0.4, 0.2], (500, 2)), rng.uniform(-0.1, 0.1, (500, 1))
    after = ocp.successor(x, u)
    target = -ocp.stage_cost(x, u) + ocp.gamma * critic(torch.as_tensor(after), torch.as_tensor(law(after))).numpy()
    return float(np.abs(target - critic(torch.as_tensor(x), torch.as_tensor(u)).numpy()).max())


def _rate_residual(critic: Any, ocp: Ocp) -> float:
    """The same with the last input in the parameters."""
    law = solve_mpqp(condense(ocp))
    rng = np.random.default_rng(2)
    theta, u = rng.uniform([-0.4, -0.2, -0.1], [0.4, 0.2, 0.1], (500, 3)), rng.uniform(-0.1, 0.1, (500, 1))
    after = np.hstack([ocp.successor(theta[:, :2], u), u])
    rate = u - theta[:, 2:]
    cost = ocp.stage_cost(theta[:, :2], u) + ((rate @ ocp.R_rate) * rate).sum(axis=1)
    target = -cost + ocp.gamma * critic(torch.as_tensor(after), torch.as_tensor(law(after))).numpy()
    return float(np.abs(target - critic(torch.as_tensor(theta), torch.as_tensor(u)).numpy()).max())
