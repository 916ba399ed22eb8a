"""Continuous stirred tank reactor with an exothermic reaction A -> B, at its unstable operating point."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant, Expression, Range, vector
from yannctl.plant.integration import extrapolate

from .parameters import require_kelvin, require_positive

# Weights of the stage cost on the errors of CA [1/(mol/L)^2], T [1/K^2] and Tc [1/K^2].
WEIGHTS = {"Q": (40.0, 0.004, 0.001), "QC": (40.0, 0.0004, 0.0002)}
# (substeps, stages) of the extrapolation: errors of a period of 0.1 min up to 1.3e-9 and 6.5e-8 of the range.
SCHEMES = {"accurate": (2, 6), "fast": (1, 6)}
# The reaction runs no faster than at this temperature [K]: far above every limit, and what explicit steps can follow.
HOTTEST_RATE = 400.0


@dataclass(frozen=True)
class CSTR(AbstractPlant):
    """A cooled tank in which A turns into B and heats it; the middle steady state can be held only by control.

    | state | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | CA | concentration of A | mol/L | 0 to 1.1 |
    | T | temperature of the tank | K | 280 to T_max = 365; hard: above it the episode ends |

    | input | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | Tc | temperature of the coolant, clipped | K | Tc_min = 280 to Tc_max = 320 |

    | disturbance | meaning | unit | nominal, range | measured |
    | --- | --- | --- | --- | --- |
    | CAf | concentration of the feed | mol/L | 1, 0.95 to 1.05 | no |
    | Tf | temperature of the feed | K | 350, 345 to 355 | yes |
    | q | flow through the tank | L/min | 100, 95 to 105 | yes |

    | uncertain parameter | meaning | nominal | range |
    | --- | --- | --- | --- |
    | k0 | pre-exponential factor | 7.2e10 1/min | +-10 % |
    | UA | heat transfer to the coolant | 5e4 J/(min K) | +-10 % |

    Dynamics, with r = k0 exp(-E/(R T)) CA:

        dCA/dt = q/V (CAf - CA) - r
        dT/dt  = q/V (Tf - T) + (-dH)/(rho Cp) r + UA/(V rho Cp) (Tc - T)

    Time is in minutes. Volume and physical properties are constant, the tank is well mixed, the coolant takes its
    temperature at once. The rate factor stays that of 400 K for every T above, so that an ignition stays finite: the
    episode is over at the limit, and the course above 400 K is not claimed.
    Operating point: CA = 0.5 mol/L, T = 350 K, Tc = 300 K, unstable: poles of +2.83 and -0.45 per minute, against a
    residence time V/q of 1 min.
    Sample period 0.1 min: about a third of the unstable time constant, so that a linear law sampled at it still holds
    the point, and long enough for a coolant valve; a filter may run faster (`dt`).
    Stage cost (reward is its negative), targets T*(CA*), Tc*(CA*) from the nominal steady state of the set-point CA*:

        a (CA - CA*)^2 + b (T - T*)^2 + c (Tc - Tc*)^2,   "Q": (40, 0.004, 0.001),   "QC": (40, 0.0004, 0.0002)

    Starts uniform in CA 0.2 to 1, T 310 to 365 (not all of them can be saved); 40 steps an episode.
    Sensor noise when asked for: 0.005 mol/L, 0.2 K. Coolant lag left out: 0.05 min; no command delay.

    Args:
        V: volume [L].
        q: flow [L/min].
        CAf: feed concentration [mol/L].
        Tf: feed temperature [K].
        k0: pre-exponential factor [1/min].
        E_R: activation energy over gas constant [K].
        dH: heat of reaction [J/mol], negative.
        rho: density [g/L].
        Cp: heat capacity [J/(g K)].
        UA: heat transfer [J/(min K)].
        Tc_min: coldest coolant [K].
        Tc_max: warmest coolant [K].
        T_max: temperature limit [K].
        set_point: CA* [mol/L], the reference.
        cost: "Q" or "QC".
        dt: sample period [min].
        integrator: "accurate" (error below 1e-8 of the range a period) or "fast" (below 1e-6).

    Raises:
        ModelError: a parameter out of its sense, naming it.

    Source: parameters of the CSTR in D. E. Seborg, T. F. Edgar, D. A. Mellichamp, "Process Dynamics and Control",
    and M. A. Henson, D. E. Seborg, "Nonlinear Process Control", 1997.
    """

    V: float = 100.0
    q: float = 100.0
    CAf: float = 1.0
    Tf: float = 350.0
    k0: float = 7.2e10
    E_R: float = 8750.0
    dH: float = -5e4
    rho: float = 1000.0
    Cp: float = 0.239
    UA: float = 5e4
    Tc_min: float = 280.0
    Tc_max: float = 320.0
    T_max: float = 365.0
    set_point: float = 0.5
    cost: Literal["Q", "QC"] = "Q"
    dt: float = 0.1
    integrator: Literal["accurate", "fast"] = "accurate"

    x_names: ClassVar[tuple[str, ...]] = ("CA", "T")
    u_names: ClassVar[tuple[str, ...]] = ("Tc",)
    x_units: ClassVar[tuple[str, ...]] = ("mol/L", "K")
    u_units: ClassVar[tuple[str, ...]] = ("K",)
    time_unit: ClassVar[str] = "min"
    hard_states: ClassVar[tuple[int, ...]] = (1,)
    x_noise: ClassVar[np.ndarray] = vector(0.005, 0.2)
    actuator_lag: ClassVar[np.ndarray] = vector(0.05)
    possible_min: ClassVar[np.ndarray] = vector(-0.1, 200.0)
    possible_max: ClassVar[np.ndarray] = vector(20.0, 1000.0)
    start_min: ClassVar[np.ndarray] = vector(0.2, 310.0)
    episode_steps: ClassVar[int] = 40

    def __post_init__(self) -> None:
        require_positive(self, ("V", "q", "CAf", "Tf", "k0", "E_R", "rho", "Cp", "UA", "Tc_min", "T_max", "dt"))
        require_kelvin(self, ("Tf", "Tc_min", "T_max"))
        if not (math.isfinite(self.dH) and self.dH < 0):
            raise ModelError("dH", f"is {self.dH}, expected a negative number of J/mol (the reaction gives heat off)")
        if not self.Tc_min < self.Tc_max < np.inf:
            raise ModelError("Tc_max", f"is {self.Tc_max}, expected above Tc_min = {self.Tc_min}")
        if self.T_max <= 310.0:
            raise ModelError("T_max", f"is {self.T_max}, expected above 310 K, the coldest start")
        if self.cost not in WEIGHTS or self.integrator not in SCHEMES:
            field = "cost" if self.cost not in WEIGHTS else "integrator"
            allowed = "'Q' or 'QC'" if field == "cost" else "'accurate' or 'fast'"
            raise ModelError(field, f"is {getattr(self, field)!r}, expected {allowed}")
        if not 0 < self.set_point < self.CAf:
            raise ModelError("set_point", f"is {self.set_point}, expected between 0 and CAf = {self.CAf} mol/L")
        T, Tc = self.steady_state(self.set_point)
        held = self.Tc_min <= Tc <= self.Tc_max
        self._declare(
            x_min=vector(0.0, 280.0),
            x_max=vector(1.1 * self.CAf, self.T_max),
            u_min=vector(self.Tc_min),
            u_max=vector(self.Tc_max),
            start_max=vector(self.CAf, self.T_max),
            x_equilibrium=vector(self.set_point, T) if held else None,
            u_equilibrium=vector(Tc) if held else None,
            uncertain={
                "k0": Range(0.9 * self.k0, 1.1 * self.k0, "1/min"),
                "UA": Range(0.9 * self.UA, 1.1 * self.UA, "J/(min K)"),
            },
            disturbances={
                "CAf": Range(0.95 * self.CAf, 1.05 * self.CAf, "mol/L"),
                "Tf": Range(self.Tf - 5.0, self.Tf + 5.0, "K", measured=True),
                "q": Range(0.95 * self.q, 1.05 * self.q, "L/min", measured=True),
            },
            references={"set_point": Range(0.2 * self.CAf, 0.8 * self.CAf, "mol/L")},
        )

    def steady_state(self, CA: Expression) -> tuple[Expression, Expression]:
        """Temperatures that hold a concentration of this specimen: (T, Tc) of the steady state.

            T = (E/R) / ln(k0 / k),   k = q/V (CAf - CA) / CA,
            Tc = T - (V rho Cp / UA) [q/V (Tf - T) + (-dH)/(rho Cp) k CA]

        Args:
            CA: concentration, between 0 and CAf, number or CasADi expression [mol/L].

        Returns:
            T and Tc [K].
        """
        if isinstance(CA, float):
            log = math.log
        else:
            from casadi import log
        k = self.q / self.V * (self.CAf - CA) / CA
        T = self.E_R / log(self.k0 / k)
        heat = self.q / self.V * (self.Tf - T) - self.dH / (self.rho * self.Cp) * k * CA
        return T, T - self.V * self.rho * self.Cp / self.UA * heat

    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Rates of concentration and temperature [mol/(L min), K/min].

        Args:
            x: state (CA, T) [mol/L, K].
            u: input (Tc,) [K].
        """
        import casadi as ca

        rate = self.k0 * ca.exp(-self.E_R / ca.fmin(x[1], HOTTEST_RATE)) * x[0]
        flow = self.q / self.V
        heating = -self.dH / (self.rho * self.Cp)
        cooling = self.UA / (self.V * self.rho * self.Cp)
        return ca.vertcat(
            flow * (self.CAf - x[0]) - rate, flow * (self.Tf - x[1]) + heating * rate + cooling * (u[0] - x[1])
        )

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """State after one period by the chosen integrator.

        Args:
            x: state (CA, T) [mol/L, K].
            u: input (Tc,) [K].
        """
        return extrapolate(self.rhs, x, u, self.dt, *SCHEMES[self.integrator])

    def reward(self, x: Expression, u: Expression) -> Expression:
        """Minus the stage cost of the set-point.

        Args:
            x: state (CA, T) [mol/L, K].
            u: input (Tc,) [K].
        """
        a, b, c = WEIGHTS[self.cost]
        T, Tc = self.steady_state(self.set_point)
        return -(a * (x[0] - self.set_point) ** 2 + b * (x[1] - T) ** 2 + c * (u[0] - Tc) ** 2)

    def draw(self, axes: Any, x: np.ndarray) -> None:
        """Draw the state in its plane with limit and set-point on matplotlib axes.

        Args:
            axes: matplotlib axes.
            x: state (CA, T) [mol/L, K].
        """
        T, _ = self.steady_state(self.set_point)
        axes.axhspan(self.T_max, self.T_max + 10, color="tab:red", alpha=0.25, linewidth=0)
        axes.axhline(self.T_max, color="tab:red", linewidth=1.5)
        axes.plot(self.set_point, T, "+", color="black", markersize=14, markeredgewidth=2)
        axes.plot(x[0], x[1], "o", color="tab:blue", markersize=12)
        axes.set(xlim=(0, self.x_max[0]), ylim=(self.x_min[1], self.T_max + 10))
        axes.set(xlabel="CA [mol/L]", ylabel="T [K]")
