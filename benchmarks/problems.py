"""Multi-parametric programs with known numbers of critical regions, restated in one place.

P1 double integrator, P2 cart with pendulum, P3 linearised reactor, P4 chain of masses, P5 random programs; the H_
problems are degenerate or badly scaled on purpose. All are min z'Hz/2 + (f + F theta)'z s.t. A z <= b + B theta.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import block_diag, expm, solve_discrete_are

from yannctl import MpQp

# Number of critical regions, before equal laws are merged; None where only the law is checked.
REGIONS: dict[str, int | None] = {
    "P1_N5": 31, "P1_N10": 43, "P1_N20": 43, "P2_N3": 285, "P2_N5": 1683, "P2_N8": 9447, "P2_N10": 20543,
    "P3_N5": 211, "P3_N10": 795, "P4_nx4_N3": 1059, "P4_nx4_N5": 5909, "P4_nx6_N3": None, "P4_nx6_N5": None,
    "P5_n3m10t4": 39, "P5_n5m20t3": 226, "P5_n5m20t6": 495, "P5_n10m20t4": 17219, "H_facet": 12, "H_licq": 11,
    "H_twice": 31, "H_units": 43, "H_long": 43, "H_twins": 361, "H_deadbeat": 53, "H_weak": None,
}  # fmt: skip


def problem(name: str) -> MpQp:
    """Return a problem by its name.

    Args:
        name: a key of `REGIONS`.
    """
    kind, _, rest = name.partition("_")
    if kind == "H":
        return _HARD[rest]()
    if kind == "P5":
        return _random(*_RANDOM[rest])
    size, _, horizon = rest.rpartition("N")
    if kind == "P4":
        return _chain(int(horizon), int(size[2:-1]) // 2)
    return {"P1": _integrator, "P2": _pendulum, "P3": _reactor}[kind](int(horizon))


def _program(parts: dict) -> MpQp:
    return MpQp(**parts)


def _zoh(A: np.ndarray, B: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact discretisation of dx/dt = A x + B u for inputs held over dt."""
    nx, nu = B.shape
    block = expm(np.vstack([np.hstack([A, B]), np.zeros((nu, nx + nu))]) * dt)
    return block[:nx, :nx], block[:nx, nx:]


def _regulator(
    A: np.ndarray, B: np.ndarray, Q: np.ndarray, R: np.ndarray, N: int, u_max: float, x_max: list[float]
) -> dict:
    """Return the condensed regulator min sum x'Qx + u'Ru + x_N'P x_N, |u| <= u_max, |x| <= x_max (halved cost)."""
    nx, nu = B.shape
    powers: list[np.ndarray] = [np.eye(nx)]
    for _ in range(N):
        powers.append(A @ powers[-1])
    free = np.vstack(powers[1:])
    forced = np.zeros((N * nx, N * nu))
    for k in range(N):
        for j in range(k + 1):
            forced[k * nx : (k + 1) * nx, j * nu : (j + 1) * nu] = powers[k - j] @ B
    weight: np.ndarray = np.asarray(block_diag(*[Q] * (N - 1), solve_discrete_are(A, B, Q, R)))
    H = forced.T @ weight @ forced + np.kron(np.eye(N), R)
    limit, nz = np.asarray(x_max, dtype=float), N * nu
    return {
        "H": (H + H.T) / 2, "f": np.zeros(nz), "F": forced.T @ weight @ free,
        "A": np.vstack([np.eye(nz), -np.eye(nz), forced, -forced]),
        "b": np.concatenate([np.full(2 * nz, float(u_max)), np.tile(limit, 2 * N)]),
        "B": np.vstack([np.zeros((2 * nz, nx)), -free, free]), "theta_min": -limit, "theta_max": limit, "n_out": nu,
    }  # fmt: skip


def _integrator_parts(N: int) -> dict:
    A, B = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.5], [1.0]])
    return _regulator(A, B, np.eye(2), 0.1 * np.eye(1), N, 1.0, [5.0, 5.0])


def _integrator(N: int) -> MpQp:
    return _program(_integrator_parts(N))


def _pendulum_parts(N: int) -> dict:
    cart, bob, length, gravity, friction = 1.0, 0.2, 0.5, 9.81, 0.1
    A = np.zeros((4, 4))
    A[0, 1] = A[2, 3] = 1.0
    A[1, 1], A[1, 2] = -friction / cart, -bob * gravity / cart
    A[3, 1], A[3, 2] = friction / (cart * length), (cart + bob) * gravity / (cart * length)
    B = np.array([[0.0], [1 / cart], [0.0], [-1 / (cart * length)]])
    Ad, Bd = _zoh(A, B, 0.1)
    return _regulator(Ad, Bd, np.diag([10.0, 1.0, 10.0, 1.0]), 0.1 * np.eye(1), N, 10.0, [2.0, 5.0, 0.5, 3.0])


def _pendulum(N: int) -> MpQp:
    return _program(_pendulum_parts(N))


def _reactor(N: int) -> MpQp:
    flow, volume, heat, jacket = 100.0, 100.0, 5e4 / 239.0, 5e4 / (100 * 239.0)
    concentration, temperature, activation = 0.5, 350.0, 8750.0
    rate = 7.2e10 * np.exp(-activation / temperature)
    slope = rate * concentration * activation / temperature**2
    A = np.array([[-flow / volume - rate, -slope], [heat * rate, -flow / volume - jacket + heat * slope]])
    B = np.array([[0.0, (1 - concentration) / volume], [jacket, (350.0 - temperature) / volume - 0.02]])
    Ad, Bd = _zoh(A, B, 0.05)
    state, entry = np.array([0.1, 10.0]), np.array([15.0, 30.0])
    Ad, Bd = Ad * state / state[:, None], Bd * entry / state[:, None]
    return _program(_regulator(Ad, Bd, np.diag([10.0, 1.0]), 0.05 * np.eye(2), N, 1.0, [2.0, 2.0]))


def _chain(N: int, masses: int = 2) -> MpQp:
    spring = 2 * np.eye(masses) - np.eye(masses, k=1) - np.eye(masses, k=-1)
    A = np.block([[np.zeros((masses, masses)), np.eye(masses)], [-spring, -0.1 * np.eye(masses)]])
    B = np.zeros((2 * masses, 2))
    B[masses, 0], B[-1, 1] = 1.0, -1.0
    Ad, Bd = _zoh(A, B, 0.5)
    limits = [4.0] * masses + [2.0] * masses
    return _program(_regulator(Ad, Bd, np.eye(2 * masses), 0.1 * np.eye(2), N, 0.5, limits))


def tutorial() -> MpQp:
    """Return the example of the YANN tutorial: double integrator, 10 steps, an output bound and a terminal set.

    x+ = [1 1; 0 1] x + [0; 1] u, y = [1 2] x, |x| <= 10, |u| <= 1, |y| <= 25, Q = I, R = 0.01; 115 critical regions.
    """
    A, B, C = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.0], [1.0]]), np.array([[1.0, 2.0]])
    N, half = 10, np.array([[0.6136, 1.6099], [-0.3742, -0.3682]])
    parts = _regulator(A, B, np.eye(2), 0.01 * np.eye(1), N, 1.0, [10.0, 10.0])
    forced, free = parts["A"][2 * N : 4 * N], -parts["B"][2 * N : 4 * N]  # x_1 ... x_N = forced u + free x_0
    outputs, last = np.kron(np.eye(N), C), np.vstack([half, -half])
    A_rows = np.vstack([outputs @ forced, -outputs @ forced, last @ forced[-2:]])
    B_rows = np.vstack([-outputs @ free, outputs @ free, -last @ free[-2:]])
    bounds = np.concatenate([np.full(2 * N, 25.0), np.ones(4)])
    new = {"A": A_rows, "b": bounds, "B": B_rows}
    more = {key: np.concatenate([parts[key], rows]) for key, rows in new.items()}
    return MpQp(**(parts | more), theta_A=np.vstack([C, -C]), theta_b=np.full(2, 25.0))


def _random(n: int, m: int, ntheta: int, seed: int) -> MpQp:
    """Return a random program with 2m rows around a parameter-dependent point that is always feasible."""
    g = np.random.default_rng(seed)
    root = g.standard_normal((n, n))
    f, F, half = g.standard_normal(n), g.standard_normal((n, ntheta)), g.standard_normal((m, n))
    b, point = g.random(2 * m), g.standard_normal((n, ntheta))
    A = np.vstack([half, -half])
    one = np.ones(ntheta)
    return MpQp(H=root @ root.T, f=f, F=F, A=A, b=b, B=-A @ point, theta_min=-one, theta_max=one, n_out=n)


_RANDOM = {"n3m10t4": (3, 10, 4, 0), "n5m20t3": (5, 20, 3, 1), "n5m20t6": (5, 20, 6, 2), "n10m20t4": (10, 20, 4, 3)}


def _facet() -> MpQp:
    """Return a program whose regions do not meet facet to facet (Spjotvold et al., Automatica 42(12), 2006)."""
    A = np.array([[1, 0, -1], [-1, 0, -1], [0, 1, -1], [0, -1, -1], [0.75, 0.64, -1], [-0.75, -0.64, -1]])
    B = np.array([[1, 0], [-1, 0], [0, -1], [0, 1], [1, 0], [-1, 0]])
    one = 1.5 * np.ones(2)
    return MpQp(H=np.eye(3), f=0, F=0, A=A, b=-np.ones(6), B=B, theta_min=-one, theta_max=one, n_out=3)


def _licq() -> MpQp:
    """Return a program with a region where the active rows depend on each other (Ahmadi-Moshkenani et al., 2018)."""
    A = np.hstack([np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]), -np.ones((4, 1)), 0.5 * np.ones((4, 1))])
    B = np.array([[1, 0], [-1, 0], [0, -1], [1, 1]])
    two = 2 * np.ones(2)
    return MpQp(H=np.eye(4), f=0, F=0, A=A, b=-np.ones(4), B=B, theta_min=-two, theta_max=two, n_out=4)


def _twice() -> MpQp:
    """Return P1_N5 with each row present again, three times as long."""
    parts = _integrator_parts(5)
    return _program(parts | {key: np.concatenate([parts[key], 3 * parts[key]]) for key in ("A", "b", "B")})


def _weak() -> MpQp:
    """Return P2_N3 with six sums of two rows, which touch the feasible set only where both are active."""
    parts = _pendulum_parts(3)
    pairs = np.random.default_rng(5).choice(len(parts["b"]), (6, 2), replace=True)
    sums = {key: parts[key][pairs[:, 0]] + parts[key][pairs[:, 1]] for key in ("A", "b", "B")}
    return _program(parts | {key: np.concatenate([parts[key], sums[key]]) for key in sums})


def _units() -> MpQp:
    """Return P1_N10 with the states in units of 1e-4 and 1e3 and the input in units of 1e-3."""
    parts, unit, entry = _integrator_parts(10), np.array([1e-4, 1e3]), 1e-3
    return _program(parts | {
        "H": parts["H"] * entry**2, "F": parts["F"] * unit * entry, "A": parts["A"] * entry, "B": parts["B"] * unit,
        "theta_min": parts["theta_min"] / unit, "theta_max": parts["theta_max"] / unit,
    })  # fmt: skip


def _twins() -> MpQp:
    """Return two equal double integrators side by side: ties along whole hyperplanes."""
    A, B = np.kron(np.eye(2), [[1.0, 1.0], [0.0, 1.0]]), np.kron(np.eye(2), [[0.5], [1.0]])
    return _program(_regulator(A, B, np.eye(4), 0.1 * np.eye(2), 3, 1.0, [5.0] * 4))


def _deadbeat() -> MpQp:
    """Return P1 over 6 steps that must end within 1e-3 of the origin: thin regions."""
    parts = _integrator_parts(6)
    b = parts["b"].copy()
    b[[22, 23, 34, 35]] = 1e-3
    return _program(parts | {"b": b})


_HARD: dict[str, Callable[[], MpQp]] = {
    "facet": _facet, "licq": _licq, "twice": _twice, "weak": _weak, "units": _units, "twins": _twins,
    "deadbeat": _deadbeat, "long": lambda: _integrator(30),
}  # fmt: skip
