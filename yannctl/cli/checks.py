"""Files that hold a law, and the comparison of a law with an independent online QP."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yannctl.errors import FileFormatError
from yannctl.pwa import PwaLaw

if TYPE_CHECKING:
    from yannctl.export import ControllerFile


@dataclass(frozen=True)
class LawCheck:
    """What a comparison found.

    Args:
        coverage: share of the feasible points that lie in a region (1.0: no hole).
        max_error: largest |law − QP| over the points, relative to the range of each output.
        n_points: points drawn.
        n_feasible: points at which the QP has a solution.
    """

    coverage: float
    max_error: float
    n_points: int
    n_feasible: int


def compare_with_qp(law: PwaLaw, points: int, seed: int, qp_points: int | None = None) -> LawCheck:
    """Compare a law with daqp's solution of the same QP at random parameters.

    Args:
        law: law with its `mpqp`.
        points: uniform samples of the parameter box at which coverage is checked.
        seed: of the samples.
        qp_points: how many of them are also compared by value; None compares all. A point outside every
            region is always given to the QP, so a hole is never missed.

    Returns:
        Coverage and largest error.
    """
    mpqp = law.mpqp
    theta = np.random.default_rng(seed).uniform(mpqp.theta_min, mpqp.theta_max, (points, len(mpqp.theta_min)))
    inside = law.locate(theta) >= 0
    chosen = ~inside
    chosen[: points if qp_points is None else qp_points] = True
    rows = np.flatnonzero(chosen)
    online = mpqp.solve_qp_batch(theta[rows])
    z, feasible = online.z, online.status == "optimal"
    uncovered = int(np.count_nonzero(feasible & ~inside[rows]))
    feasible_points = int(np.count_nonzero(inside)) + uncovered
    both = rows[feasible & inside[rows]]
    reference = z[feasible & inside[rows], : mpqp.n_out]
    error = np.abs(law(theta[both]) - reference)
    spread = np.maximum(np.ptp(law(theta[inside]), axis=0), 1e-12) if inside.any() else np.ones(mpqp.n_out)
    return LawCheck(
        coverage=1.0 - uncovered / max(feasible_points, 1),
        max_error=float((error / spread).max()) if len(both) else float("nan"),
        n_points=points,
        n_feasible=feasible_points,
    )


def compare_at(law: PwaLaw, theta: np.ndarray) -> tuple[float, int]:
    """Compare a law with daqp's solution at given parameters.

    Args:
        law: law with its `mpqp`.
        theta: (n, ntheta) parameters; those that rounding puts outside all regions or outside the QP's are skipped.

    Returns:
        Largest |law - QP| relative to the range of each output, and the points compared.
    """
    u = law(theta)
    inside = np.isfinite(u).all(axis=1)
    theta, u = theta[inside], u[inside]
    online = law.mpqp.solve_qp_batch(theta)
    solved = online.status == "optimal"
    if not solved.any():
        return float("nan"), 0
    error = np.abs(u[solved] - online.z[solved, : law.mpqp.n_out])
    return float((error / np.maximum(np.ptp(u, axis=0), 1e-12)).max()), int(solved.sum())


def refuse_problem(path: Path) -> None:
    """Say what to do with a problem file where a law is wanted.

    Args:
        path: what the user gave.

    Raises:
        FileFormatError: it is a TOML file.
    """
    if path.suffix.lower() == ".toml":
        law = path.with_suffix(".safetensors").name
        text = f"{path} states a problem, not a law: solve it first, 'yannctl solve {path} --out {law}'"
        raise FileFormatError(f"{text}, then give {law}")


def read_law(path: Path) -> "tuple[PwaLaw, ControllerFile | None]":
    """Read the law of a law file or of a controller file.

    Args:
        path: the file.

    Returns:
        The law, and what else the file holds when it is a controller file.

    Raises:
        FileFormatError: it is neither, or damaged.
    """
    from yannctl.export import load_controller

    refuse_problem(path)
    try:
        return PwaLaw.load(path), None
    except FileFormatError as error:
        if "not a law" not in str(error):
            raise
        content = load_controller(path)
        return content.law, content
