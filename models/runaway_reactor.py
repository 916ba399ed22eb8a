"""Reactor of the T2 Laboratories kind: a main reaction that heats and a solvent that decomposes when it is too hot."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.plant import AbstractPlant, Expression, Range, vector
from yannctl.plant.integration import extrapolate, runge_kutta

from .parameters import require_kelvin, require_positive

# Both reactions run no faster than at this temperature [K]: above the limit, and what explicit steps can follow.
HOTTEST_RATE = 500.0
GAS_CONSTANT = 8.314  # J/(mol K)
SECONDS = 3600.0  # an hour


@dataclass(frozen=True)
class RunawayReactor(AbstractPlant):
    """A stirred tank with A + B -> products and, far too hot, S -> gas; only control holds its operating point.

    | state | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | CA | methylcyclopentadiene | mol/L | 0 to 1.1 CAf |
    | CB | sodium, molten | mol/L | 0 to 1.1 CBf |
    | CS | diglyme, the solvent | mol/L | 0 to 1.1 CSf |
    | T | temperature of the tank | K | 373 to T_max = 480; hard: above it the episode ends |

    | input | meaning | unit | bounds |
    | --- | --- | --- | --- |
    | U | heat transfer coefficient of the boiling coolant | W/(m^2 K) | 0 to 250 |

    | field | meaning | nominal, range | kind |
    | --- | --- | --- | --- |
    | A1 | factor of the main reaction [L/(mol h)] | 4e14, +-10 % | uncertain |
    | A2 | factor of the decomposition [1/h] | 1e84, half to double | uncertain |
    | area | effective cooling surface [m^2] | 5.3, 90 to 100 % (fouling) | uncertain |
    | CAf | A in the feed [mol/L] | 4.3, +-5 % | disturbance, not measured |
    | Tf | temperature of the feed [K] | 400, +-5 | disturbance, measured |
    | q | flow [L/h] | 4000, +-5 % | disturbance, measured |
    | set_point | wanted temperature [K] | 450, 445 to 465 | reference |

    Dynamics, time in hours, with r1 = A1 exp(-E1/(R T)) CA CB and r2 = A2 exp(-E2/(R T)) CS:

        dCA/dt = q/V (CAf - CA) - r1,   dCB/dt = q/V (CBf - CB) - r1,   dCS/dt = q/V (CSf - CS) - r2
        dT/dt  = q/V (Tf - T) + [(-dH1) r1 + (-dH2) r2] / heat_capacity + U area (Tc - T) / (V heat_capacity)

    Kinetics, heats of reaction, volume, cooling surface, coolant (373 K, boiling water) and limit (480 K) are those of
    the published case studies. Flows, feed and steady state, which those leave out, are chosen here: one residence
    time an hour, the feed of the batch recipe (4.3, 5.1 and 3 mol/L), preheated to 400 K so that the sodium (371 K) is
    molten, and 2 kJ/(L K), the heat capacity of diglyme (0.94 kg/L, 2.1 kJ/(kg K)). The main reaction alone can heat
    the feed by 98 K, to just under 500 K, where the decomposition of the solvent (160 K for each mol/L) takes over.
    Operating point: T = 450 K with CA = 1.773, CB = 2.573, CS = 3.000 mol/L and U = 41.5 W/(m^2 K), unstable (a pole of
    +0.74 1/h); the rates are zero there to rounding (`steady_state`), the coolant still has six times that heat
    transfer in reserve. Both rate factors stay those of 500 K for every T above, so that an ignition stays finite; the
    episode is over by then.
    Sample period 1/60 h, one minute: a hot, fresh charge at the limit gains some 12 K in it, a control valve and a
    temperature sensor need about half of it.
    Stage cost (reward is its negative), targets from the nominal steady state of the set-point:
    0.1 [(CA - CA*)^2 + (CB - CB*)^2 + (CS - CS*)^2 + (T - T*)^2] + 1e-4 (U - U*)^2.
    Starts: within 0.5 mol/L of that feed's usual contents, T 430 to 470 K; 60 steps an episode.
    Sensor noise when asked for: 0.02 mol/L, 0.5 K. Coolant lag left out: 0.5 minutes; no command delay.

    Args:
        V: volume [L].
        q: flow [L/h].
        CAf, CBf, CSf: feed concentrations [mol/L].
        Tf: feed temperature [K].
        Tc: temperature of the coolant [K].
        area: cooling surface [m^2].
        heat_capacity: of the mixture [J/(L K)].
        A1: factor of the main reaction [L/(mol h)].
        E1: its activation energy [J/mol].
        dH1: its heat [J/mol], negative.
        A2: factor of the decomposition [1/h].
        E2: its activation energy [J/mol].
        dH2: its heat [J/mol], negative.
        U_max: greatest heat transfer coefficient [W/(m^2 K)].
        T_max: temperature limit [K].
        set_point: wanted temperature [K], the reference.
        integrator: "accurate" (error below 1e-8 of the range a period) or "fast" (below 1e-6).

    Raises:
        ModelError: a parameter out of its sense, naming it.

    Source: kinetics of the T2 Laboratories explosion (U.S. Chemical Safety Board, report 2008-3-I-FL, 2009) as modelled
    in H. S. Fogler, "Elements of Chemical Reaction Engineering", 5th edition, example 13-6.
    """

    V: float = 4000.0
    q: float = 4000.0
    CAf: float = 4.3
    CBf: float = 5.1
    CSf: float = 3.0
    Tf: float = 400.0
    Tc: float = 373.0
    area: float = 5.3
    heat_capacity: float = 2000.0
    A1: float = 4e14
    E1: float = 1.28e5
    dH1: float = -45.6e3
    A2: float = 1e84
    E2: float = 8e5
    dH2: float = -320e3
    U_max: float = 250.0
    T_max: float = 480.0
    set_point: float = 450.0
    integrator: Literal["accurate", "fast"] = "accurate"

    x_names: ClassVar[tuple[str, ...]] = ("CA", "CB", "CS", "T")
    u_names: ClassVar[tuple[str, ...]] = ("U",)
    x_units: ClassVar[tuple[str, ...]] = ("mol/L", "mol/L", "mol/L", "K")
    u_units: ClassVar[tuple[str, ...]] = ("W/(m^2 K)",)
    dt: ClassVar[float] = 1 / 60
    time_unit: ClassVar[str] = "h"
    hard_states: ClassVar[tuple[int, ...]] = (3,)
    x_noise: ClassVar[np.ndarray] = vector(0.02, 0.02, 0.02, 0.5)
    actuator_lag: ClassVar[np.ndarray] = vector(0.5 / 60)
    possible_min: ClassVar[np.ndarray] = vector(-0.1, -0.1, -0.1, 200.0)
    possible_max: ClassVar[np.ndarray] = vector(20.0, 20.0, 20.0, 1500.0)
    start_min: ClassVar[np.ndarray] = vector(1.3, 2.1, 2.9, 430.0)
    start_max: ClassVar[np.ndarray] = vector(2.3, 3.1, 3.0, 470.0)
    episode_steps: ClassVar[int] = 60

    def __post_init__(self) -> None:
        fields = ("V", "q", "CAf", "CBf", "CSf", "Tf", "Tc", "area", "heat_capacity", "A1", "E1", "A2", "E2", "U_max")
        require_positive(self, fields)
        require_kelvin(self, ("Tf", "Tc", "T_max", "set_point"))
        for name in ("dH1", "dH2"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) < 0):
                raise ModelError(name, f"is {getattr(self, name)}, expected a negative number of J/mol")
        if not 470.0 < self.T_max < HOTTEST_RATE:
            raise ModelError("T_max", f"is {self.T_max}, expected between 470 and {HOTTEST_RATE:g} K")
        if not self.Tc < self.set_point < self.T_max:
            raise ModelError("set_point", f"is {self.set_point}, expected between Tc and T_max")
        if self.integrator not in {"accurate", "fast"}:
            raise ModelError("integrator", f"is {self.integrator!r}, expected 'accurate' or 'fast'")
        x, U = self.steady_state(self.set_point)
        held = 0.0 <= float(U) <= self.U_max
        self._declare(
            x_min=vector(0.0, 0.0, 0.0, 373.0),
            x_max=vector(1.1 * self.CAf, 1.1 * self.CBf, 1.1 * self.CSf, self.T_max),
            u_min=vector(0.0),
            u_max=vector(self.U_max),
            x_equilibrium=vector(*(float(value) for value in x)) if held else None,
            u_equilibrium=vector(float(U)) if held else None,
            uncertain={
                "A1": Range(0.9 * self.A1, 1.1 * self.A1, "L/(mol h)"),
                "A2": Range(0.5 * self.A2, 2.0 * self.A2, "1/h"),
                "area": Range(0.9 * self.area, self.area, "m^2"),
            },
            disturbances={
                "CAf": Range(0.95 * self.CAf, 1.05 * self.CAf, "mol/L"),
                "Tf": Range(self.Tf - 5.0, self.Tf + 5.0, "K", measured=True),
                "q": Range(0.95 * self.q, 1.05 * self.q, "L/h", measured=True),
            },
            references={"set_point": Range(min(445.0, self.set_point), max(465.0, self.set_point), "K")},
        )

    def steady_state(self, T: Expression) -> tuple[list[Expression], Expression]:
        """State and input that hold a temperature: the balances solved from the reactions upwards.

            k1 CA (CA + CBf - CAf) = q/V (CAf - CA),   CS = CSf / (1 + V/q k2),   U from the heat balance

        Args:
            T: temperature, number or CasADi expression [K].

        Returns:
            State [CA, CB, CS, T] [mol/L, K] and input U [W/(m^2 K)].
        """
        import casadi as ca

        flow = self.q / self.V
        k1, k2 = self.A1 * ca.exp(-self.E1 / (GAS_CONSTANT * T)), self.A2 * ca.exp(-self.E2 / (GAS_CONSTANT * T))
        # k1 CA^2 + b CA - flow CAf = 0; the form without cancellation for small k1.
        b = k1 * (self.CBf - self.CAf) + flow
        CA = 2 * flow * self.CAf / (b + ca.sqrt(b**2 + 4 * k1 * flow * self.CAf))
        CB, CS = CA + self.CBf - self.CAf, self.CSf / (1 + k2 / flow)
        heat = -self.dH1 * flow * (self.CAf - CA) - self.dH2 * flow * (self.CSf - CS)
        surplus = heat + self.heat_capacity * flow * (self.Tf - T)
        return [CA, CB, CS, T], surplus * self.V / (SECONDS * self.area * (T - self.Tc))

    def rhs(self, x: Expression, u: Expression) -> Expression:
        """Rates of the concentrations and the temperature [mol/(L h), K/h].

        Args:
            x: state (CA, CB, CS, T) [mol/L, K].
            u: input (U,) [W/(m^2 K)].
        """
        import casadi as ca

        flow, warm = self.q / self.V, GAS_CONSTANT * ca.fmin(x[3], HOTTEST_RATE)
        r1 = self.A1 * ca.exp(-self.E1 / warm) * x[0] * x[1]
        # 1e84 exp(-E2/(R T)), with the factor inside the exponential for machines of single precision.
        r2 = ca.exp(ca.log(self.A2) - self.E2 / warm) * x[2]
        cooling = SECONDS * self.area / (self.V * self.heat_capacity) * u[0] * (self.Tc - x[3])
        heating = (-self.dH1 * r1 - self.dH2 * r2) / self.heat_capacity
        return ca.vertcat(
            flow * (self.CAf - x[0]) - r1,
            flow * (self.CBf - x[1]) - r1,
            flow * (self.CSf - x[2]) - r2,
            flow * (self.Tf - x[3]) + heating + cooling,
        )

    def step_map(self, x: Expression, u: Expression) -> Expression:
        """State after one period by the chosen integrator.

        Args:
            x: state (CA, CB, CS, T) [mol/L, K].
            u: input (U,) [W/(m^2 K)].
        """
        if self.integrator == "fast":
            return runge_kutta(self.rhs, x, u, self.dt, substeps=2)
        return extrapolate(self.rhs, x, u, self.dt, stages=4)

    def reward(self, x: Expression, u: Expression) -> Expression:
        """Minus the stage cost of the set-point.

        Args:
            x: state (CA, CB, CS, T) [mol/L, K].
            u: input (U,) [W/(m^2 K)].
        """
        target, U = self.steady_state(self.set_point)
        return -(0.1 * sum((x[i] - target[i]) ** 2 for i in range(4)) + 1e-4 * (u[0] - U) ** 2)

    def draw(self, axes: Any, x: np.ndarray) -> None:
        """Draw temperature and A in their plane with limit and set-point on matplotlib axes.

        Args:
            axes: matplotlib axes.
            x: state (CA, CB, CS, T) [mol/L, K].
        """
        target, _ = self.steady_state(self.set_point)
        axes.axhspan(self.T_max, self.T_max + 15, color="tab:red", alpha=0.25, linewidth=0)
        axes.axhline(self.T_max, color="tab:red", linewidth=1.5)
        axes.plot(float(target[0]), self.set_point, "+", color="black", markersize=14, markeredgewidth=2)
        axes.plot(x[0], x[3], "o", color="tab:blue", markersize=12)
        axes.set(xlim=(0, self.x_max[0]), ylim=(self.x_min[3], self.T_max + 15))
        axes.set(xlabel="CA [mol/L]", ylabel="T [K]")
