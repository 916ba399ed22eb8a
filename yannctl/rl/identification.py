r"""The uncertain parameters of a plant from its transitions: weighted least squares on one-step predictions.

    p* = argmin_{low <= p <= high} sum_i | S^-1 (x_i+ - step(x_i, u_i, p)) |^2 + | L^-1 (p - p_nominal) |^2

S holds the standard deviation of a prediction error of each state, estimated from the residuals pass by pass; L the
width of the declared ranges, a weak pull by which what the data do not say stays nominal. The covariance is that of the
linearised problem, (J' S^-2 J + L^-2)^-1 with J = d step / d p at p*. It is a statement about the parameters only as
far as the model's form is right, which two checks doubt:

* prediction: the error of a state exceeds what its sensor noise and a thousandth of its range explain;
* constancy: parameters fitted to parts of the data apart fit better than common ones by more than chance, judged by
  the F test (N. Draper, H. Smith, Applied Regression Analysis, 1998, chapter 2; for regression in blocks: Chow 1960).
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution

from yannctl.plant import AbstractPlant
from yannctl.tape import ExpressionTape
from yannctl.types import Float

ROUNDING = 1e-6  # of a state's size: what single precision of the memory leaves of it
UNEXPLAINED = 1e-3  # of a state's size a period: a larger error is one of the model's form
NOISE_MULTIPLE = 3.0  # of the sensor noise, on a state before and after a step
DOUBT_LEVEL = 1e-3  # of the F test
PASSES = 4  # of weighting: each fits with the errors that the last one left
BLOCKS = 4  # the data are cut into so many for it


@dataclass(frozen=True)
class Transitions:
    """What is known of the plant: transitions in the order they happened.

    Args:
        x: states (n, nx) [x_units].
        u: inputs really applied (n, nu) [u_units].
        x1: states after (n, nx) [x_units].
    """

    x: Float[np.ndarray, "n nx"]
    u: Float[np.ndarray, "n nu"]
    x1: Float[np.ndarray, "n nx"]

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: Any) -> "Transitions":
        """Some of them.

        Args:
            rows: indices or a slice.

        Returns:
            The chosen transitions.
        """
        return Transitions(self.x[rows], self.u[rows], self.x1[rows])


@dataclass(frozen=True)
class Estimate:
    """Parameters with their uncertainty.

    Args:
        p: parameters (np,).
        covariance: their covariance (np, np).
        n: transitions they come from; 0 for the data sheet alone.
        error: standard deviation of the prediction error of each state (nx,) [x_units].
        doubt: "" or why the data do not single out one specimen of the model.
        form_holds: whether one-step predictions are as good as they should be.
    """

    p: Float[np.ndarray, " np"]
    covariance: Float[np.ndarray, "np np"]
    n: int
    error: Float[np.ndarray, " nx"]
    doubt: str = ""
    form_holds: bool = True

    @property
    def deviations(self) -> Float[np.ndarray, " np"]:
        """Standard errors (np,)."""
        return np.sqrt(np.diag(self.covariance))

    def record(self) -> dict[str, Any]:
        """The estimate as JSON can hold it."""
        arrays = {name: getattr(self, name).tolist() for name in ("p", "covariance", "error")}
        return arrays | {"n": self.n, "doubt": self.doubt, "form_holds": self.form_holds}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Estimate":
        """Read back what `record` gave.

        Args:
            record: the estimate as JSON holds it.

        Returns:
            The estimate.
        """
        p, covariance, error = (np.array(record[name]) for name in ("p", "covariance", "error"))
        return cls(p, covariance, record["n"], error, record["doubt"], record["form_holds"])


class ParameterModel:
    """The model's step with its derivative by the uncertain parameters.

    Args:
        plant: the nominal model.
    """

    def __init__(self, plant: AbstractPlant) -> None:
        import casadi as ca

        self.plant = plant
        self.low, self.high = plant.parameter_ranges
        step = plant.step_function(parameters=True)
        x, u, p = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu), ca.SX.sym("p", len(self.low))
        after = step(x, u, p)
        results = [after, ca.densify(ca.jacobian(after, p))]
        self._tape = ExpressionTape.from_function(ca.Function("sensitivity", [x, u, p], results))

    def predict(self, data: Transitions, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Errors of one-step predictions and the derivative of the predictions.

        Args:
            data: transitions.
            p: parameters (np,).

        Returns:
            x1 - step(x, u, p), angles turned into [-pi, pi), (n, nx), and d step / d p (n, nx, np).
        """
        after, slope = self._tape.evaluate(data.x, data.u, p)
        n = len(data)
        error = data.x1 - after
        for i in self.plant.angles:
            error[:, i] = (error[:, i] + np.pi) % (2.0 * np.pi) - np.pi
        return error, slope.reshape(n, self.plant.nx, len(p))


def identify(model: ParameterModel, data: Transitions) -> Estimate:
    """Estimate the parameters.

    Args:
        model: the model's step and its derivative.
        data: transitions; none gives the data sheet.

    Returns:
        The estimate with its doubt.
    """
    plant, nominal = model.plant, model.plant.nominal.parameters
    spread = model.high - model.low
    size = _sizes(plant, data)
    if not len(data) or not len(nominal):
        return Estimate(nominal.copy(), np.diag(spread**2), 0, size)
    p, scale = nominal, UNEXPLAINED * size
    for _ in range(PASSES):
        p = _fit(model, data, scale, spread, p)
        error, slope = model.predict(data, p)
        scale = np.maximum(np.sqrt((error**2).mean(axis=0)), ROUNDING * size)
    weighted = slope / scale[None, :, None]
    information = np.einsum("nij,nik->jk", weighted, weighted) + np.diag(spread**-2.0)
    wrong = _wrong_form(plant, scale, size)
    doubt = wrong or _inconstancy(model, data, p, scale)
    return Estimate(p, np.linalg.inv(information), len(data), scale, doubt, not wrong)


def _wrong_form(plant: AbstractPlant, error: np.ndarray, size: np.ndarray) -> str:
    """Say which state cannot be predicted, or ""."""
    noise = np.zeros(plant.nx) if plant.x_noise is None else np.asarray(plant.x_noise, float)
    allowed = NOISE_MULTIPLE * noise + UNEXPLAINED * size
    if (error > allowed).any():
        i = int(np.argmax(error / allowed))
        return f"predictions of {plant.x_names[i]} are off by {error[i]:.3g} {plant.x_units[i]} whatever the parameters"
    return ""


def _inconstancy(model: ParameterModel, data: Transitions, p: np.ndarray, scale: np.ndarray) -> str:
    """F test of common parameters against parameters for each block of the data."""
    n, m = len(data), len(p)
    blocks = [block for block in np.array_split(np.arange(n), BLOCKS) if len(block) > 2 * m]
    if len(blocks) < 2 or n * len(scale) <= 4 * BLOCKS * m:
        return ""
    spread = model.high - model.low
    common, apart, floor = 0.0, 0.0, 0.0
    for block in blocks:
        part = data.part(block)
        for q, own in ((p, False), (_fit(model, part, scale, spread, p), True)):
            error = (model.predict(part, q)[0] / scale) ** 2
            if own:
                apart += float(error.sum())
            else:
                common += float(error.sum())
        floor += error.size
    more, left = m * (len(blocks) - 1), int(floor) - m * len(blocks)
    # Errors of rounding alone must not be taken for noise: a block cannot be fitted better than the memory holds it.
    rest = max(apart / left, 1e-2)
    ratio = (common - apart) / more / rest
    if float(f_distribution.sf(ratio, more, left)) < DOUBT_LEVEL:
        return "the parameters change in the course of the data"
    return ""


def _fit(model: ParameterModel, data: Transitions, scale: np.ndarray, spread: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Least squares in the box; the unknowns are scaled to the width of the declared ranges."""
    nominal = model.plant.nominal.parameters

    def residual(q: np.ndarray) -> np.ndarray:
        error, _ = model.predict(data, nominal + spread * q)
        return np.concatenate([-(error / scale).ravel(), q])

    def slope(q: np.ndarray) -> np.ndarray:
        _, by_p = model.predict(data, nominal + spread * q)
        return np.vstack([(by_p / scale[None, :, None] * spread).reshape(-1, len(q)), np.eye(len(q))])

    low, high = (model.low - nominal) / spread, (model.high - nominal) / spread
    start = np.clip((p - nominal) / spread, low + 1e-6 * (high - low), high - 1e-6 * (high - low))
    found = least_squares(
        residual, start, jac=cast("Any", slope), bounds=(low, high), xtol=1e-10, ftol=1e-10, gtol=1e-10
    )
    return nominal + spread * np.clip(found.x, low, high)


def _sizes(plant: AbstractPlant, data: Transitions) -> np.ndarray:
    """Range of each state; where it has no bounds, that of the data."""
    with np.errstate(invalid="ignore"):
        size = np.asarray(plant.x_max, float) - np.asarray(plant.x_min, float)
    seen = np.ptp(data.x1, axis=0) if len(data) else np.ones(plant.nx)
    largest = np.abs(data.x1).max(axis=0) if len(data) else np.ones(plant.nx)
    return np.where(np.isfinite(size), np.maximum(size, largest), np.maximum(seen, 1e-3))
