"""What the author of a plant writes down: channels, units, bounds, uncertain fields, and the formulas in CasADi."""

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from yannctl.types import Float

from .ranges import Range

# A CasADi symbol or number; a plant's formulas work on both.
Expression = Any
_NONE: Mapping[str, Range] = MappingProxyType({})


def vector(*values: float) -> Float[np.ndarray, " n"]:
    """Make a read-only vector, for the bounds in a plant's class body.

    Args:
        values: the entries [unit of each channel].

    Returns:
        Read-only float array (n,).
    """
    array = np.array(values, dtype=float)
    array.setflags(write=False)
    return array


class DataSheet(abc.ABC):
    """The declared part of a plant: attributes, the formulas its author writes, and the ranges of its fields.

    Fields whose value is not certain, or changes, are declared by name with a `Range`; the field holds the nominal
    value. `uncertain` ones (p) are constant in one specimen of the plant, `disturbances` (d) change while it runs,
    `references` (r) enter the reward only.

    Args:
        x_names, u_names: name of each state and input.
        x_units, u_units: unit of each state and input.
        x_min, x_max: state bounds (nx,) [x_units]; a state outside counts as a violation, it is not clipped.
        u_min, u_max: input bounds (nu,) [u_units]; `step` clips to them, as an actuator does.
        dt: sample period [time_unit].
        time_unit: "s", "min" or "h": the unit of time of `rhs`, `dt` and `actuator_lag`.
        angles: indices of the states that are angles, wrapped to [-pi, pi) after each step.
        periods: (index, period) of the states that are not wrapped but after whose period everything comes again, as a
            distance along a path [x_units].
        x_equilibrium, u_equilibrium: default operating point, or None.
        start_min, start_max: box of `sample_starts`, or None for the state bounds.
        episode_steps: length of an episode.
        substeps: Runge-Kutta steps a sample period.
        uncertain: range of each uncertain field, name -> `Range`.
        disturbances: range of each field that disturbs the plant, measured or not.
        references: range of each field that says what the reward wants, as a set-point.
        hard_states: indices of the states whose bounds end the operation when they are left (`trip`).
        x_noise: standard deviation of a measurement of each state (nx,) [x_units], or None for none.
        actuator_lag: time constant of each actuator (nu,) [unit of dt] that `rhs` leaves out, or None.
        command_delay: whole periods from a command to its effect that `rhs` leaves out.
        input_rows: (G, h) of the inputs' limits G u <= h beside the box (rows, nu), (rows,), or None; then `saturate`
            keeps to them.
        possible_min, possible_max: what each state can be at all (nx,) [x_units], or None: a value outside is a wrong
            unit or a broken sensor, and refused.
    """

    x_names: ClassVar[tuple[str, ...]]
    u_names: ClassVar[tuple[str, ...]]
    x_units: ClassVar[tuple[str, ...]]
    u_units: ClassVar[tuple[str, ...]]
    x_min: Float[np.ndarray, " nx"]
    x_max: Float[np.ndarray, " nx"]
    u_min: Float[np.ndarray, " nu"]
    u_max: Float[np.ndarray, " nu"]
    dt: float
    time_unit: str = "s"
    angles: tuple[int, ...] = ()
    periods: tuple[tuple[int, float], ...] = ()
    x_equilibrium: Float[np.ndarray, " nx"] | None = None
    u_equilibrium: Float[np.ndarray, " nu"] | None = None
    start_min: Float[np.ndarray, " nx"] | None = None
    start_max: Float[np.ndarray, " nx"] | None = None
    episode_steps: int = 200
    substeps: int = 4
    uncertain: Mapping[str, Range] = _NONE
    disturbances: Mapping[str, Range] = _NONE
    references: Mapping[str, Range] = _NONE
    hard_states: tuple[int, ...] = ()
    x_noise: Float[np.ndarray, " nx"] | None = None
    actuator_lag: Float[np.ndarray, " nu"] | None = None
    command_delay: int = 0
    input_rows: tuple[np.ndarray, np.ndarray] | None = None
    possible_min: Float[np.ndarray, " nx"] | None = None
    possible_max: Float[np.ndarray, " nx"] | None = None

    # What an author writes.

    @abc.abstractmethod
    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Continuous dynamics dx/dt = f(x, u), a CasADi column of nx entries [x_units per unit of dt].

        Args:
            x: state (nx,) [x_units].
            u: input (nu,) [u_units].
        """

    @abc.abstractmethod
    def reward(self, x: Expression, u: Expression) -> Expression:
        """Reward of one step on the state before the step (angles wrapped, input clipped), a CasADi scalar.

        Args:
            x: state (nx,) [x_units].
            u: input (nu,) [u_units].
        """

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """Discrete map x+ of one period for an input within its bounds; by default Runge-Kutta steps of `rhs`.

        Args:
            x: state (nx,) [x_units].
            u: input (nu,) [u_units].
        """
        from .integration import runge_kutta

        return runge_kutta(self.rhs, x, u, self.dt, self.substeps)

    def saturate(self, u: Expression) -> Expression:
        """Input the actuator really gives for a command, a CasADi column; by default each entry clipped to its bounds.

        Args:
            u: command (nu,) [u_units].
        """
        import casadi as ca

        return ca.fmin(ca.fmax(u, self.u_min), self.u_max)

    def draw(self, axes: Any, x: Float[np.ndarray, " nx"]) -> None:
        """Draw the state x on matplotlib axes; by default one bar a state, scaled to its bounds.

        Args:
            axes: matplotlib axes.
            x: state (nx,) [x_units].
        """
        with np.errstate(invalid="ignore"):
            height = 2 * (x - self.x_min) / (self.x_max - self.x_min) - 1
        axes.bar(self.x_names, np.nan_to_num(height))
        axes.set_ylim(-1.5, 1.5)
        axes.set_ylabel("share of the bounds")

    # What follows from it.

    @property
    def nx(self) -> int:
        """Number of states."""
        return len(self.x_names)

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return len(self.u_names)

    @property
    def nominal(self) -> Any:
        """The plant of the data sheet: itself, or the one a perturbed specimen was made from."""
        return self.__dict__.get("_nominal", self)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the uncertain parameters p."""
        return tuple(self.uncertain)

    @property
    def parameter_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (np,) of the uncertain parameters."""
        return _ends(self.uncertain)

    @property
    def parameters(self) -> Float[np.ndarray, " np"]:
        """Values (np,) of the uncertain parameters of this specimen; the nominal ones are `nominal.parameters`."""
        return self._own(self.parameter_names)

    @property
    def d_names(self) -> tuple[str, ...]:
        """Names of the disturbances d."""
        return tuple(self.disturbances)

    @property
    def d_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (nd,) of the disturbances."""
        return _ends(self.disturbances)

    @property
    def d(self) -> Float[np.ndarray, " nd"]:
        """Values (nd,) of the disturbances where none are given."""
        return self._own(self.d_names)

    @property
    def r_names(self) -> tuple[str, ...]:
        """Names of the references r."""
        return tuple(self.references)

    @property
    def r_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (nr,) of the references."""
        return _ends(self.references)

    @property
    def r(self) -> Float[np.ndarray, " nr"]:
        """Values (nr,) of the references where none are given."""
        return self._own(self.r_names)

    def _declare(self, **values: Any) -> None:
        """Set attributes that depend on the plant's fields, for `__post_init__` of a frozen dataclass."""
        self.__dict__.update(values)

    def _own(self, names: tuple[str, ...]) -> np.ndarray:
        return np.array([getattr(self, name) for name in names], dtype=float)


def _ends(ranges: Mapping[str, Range]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([r.low for r in ranges.values()], float), np.array([r.high for r in ranges.values()], float)
