"""Problem files: a TOML text with a model (A, B or a plant), weights and bounds, read into an `Ocp`."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from yannctl import models
from yannctl.errors import FileFormatError, ModelError
from yannctl.linear import LinearModel, linearise
from yannctl.ocp import Ocp
from yannctl.refusals import wrong_entry

Row = list[float]


def _weight(value: object) -> object:
    """A number, a list of numbers or a list of rows; `Ocp` says what is wrong with its size."""

    def number(part: object) -> bool:
        return isinstance(part, int | float) and not isinstance(part, bool)

    rows = value if isinstance(value, list) else []
    flat, square = all(number(part) for part in rows), all(isinstance(row, list) for row in rows)
    if number(value) or (rows and (flat or (square and all(number(part) for row in rows for part in row)))):
        return value
    raise ValueError("give a matrix [[..], ..], its diagonal [..] or one number")


Weight = Annotated[Any, pydantic.AfterValidator(_weight)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Strict):
    """`[model]`: either `plant` (with optional parameters and operating point) or the matrices `A`, `B`, `dt`."""

    plant: str | None = None
    parameters: dict[str, float] = {}
    method: Literal["step", "zoh"] = "step"
    x: Row | None = None
    u: Row | None = None
    A: list[Row] | None = None
    B: list[Row] | None = None
    c: Row | None = None
    dt: float | None = None


class WeightSection(_Strict):
    """`[weights]`: `Q`, `R` (matrix, diagonal or one number), horizon `N`, discount `gamma`, terminal cost or set."""

    Q: Weight
    R: Weight
    N: int
    gamma: float = 1.0
    terminal: Literal["lqr", "set", "none"] = "lqr"


class BoundSection(_Strict):
    """`[bounds]`: absolute bounds on states and inputs; `soft = "l1l2"` relaxes the state bounds."""

    x_min: Row | None = None
    x_max: Row | None = None
    u_min: Row | None = None
    u_max: Row | None = None
    soft: Literal["l1l2"] | None = None


class ProblemFile(_Strict):
    """The whole file."""

    model: ModelSection
    weights: WeightSection
    bounds: BoundSection = BoundSection()


def read_problem(path: Path) -> Ocp:
    """Read a TOML problem file into an optimal control problem.

    Args:
        path: the file.

    Returns:
        The problem, checked.

    Raises:
        FileFormatError: if the file is missing, is no TOML, or has a wrong or unknown key.
        ModelError: if a matrix, bound or name cannot be used.
    """
    try:
        problem = ProblemFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: not a TOML text: {error}") from None
    except pydantic.ValidationError as error:
        where, what = wrong_entry(error, ProblemFile)
        raise FileFormatError(f"{path}: {where}: {what}") from None
    linear, bounds = _linear_model(problem.model), problem.bounds
    weights = problem.weights
    return Ocp(
        linear,
        Q=weights.Q,
        R=weights.R,
        N=weights.N,
        gamma=weights.gamma,
        x_min=bounds.x_min,
        x_max=bounds.x_max,
        u_min=bounds.u_min,
        u_max=bounds.u_max,
        soft=bounds.soft,
        terminal=None if weights.terminal == "none" else weights.terminal,
    )


def _linear_model(section: ModelSection) -> LinearModel:
    if section.plant is not None:
        return linearise(
            plant_by_name(section.plant, section.parameters), x=section.x, u=section.u, method=section.method
        )
    A, B, dt = section.A, section.B, section.dt
    if A is None or B is None or dt is None:
        name = next(name for name in ("A", "B", "dt") if getattr(section, name) is None)
        raise ModelError(f"model.{name}", "missing", remedy="give A, B and dt, or plant = a plant's name")
    return LinearModel(A, B, c=section.c, dt=dt)


def plant_by_name(name: str, parameters: Mapping[str, float] | None = None):
    """Make a plant of `yannctl.models` by its class name.

    Args:
        name: class name, such as "Pendulum".
        parameters: those that are not the default.

    Returns:
        The plant.

    Raises:
        ModelError: if there is no such plant, or it has no such parameter.
    """
    if name not in models.__all__:
        raise ModelError("plant", f"no plant is called {name!r}", remedy=f"choose from {', '.join(models.__all__)}")
    try:
        return getattr(models, name)(**(parameters or {}))
    except TypeError as error:
        raise ModelError("model.parameters", str(error)) from error
