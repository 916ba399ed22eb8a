"""Your own plant: two tanks and a pump, from its equations to the explicit law."""

from dataclasses import dataclass
from typing import ClassVar

import casadi as ca

import yannctl
from yannctl.plant import AbstractPlant, Range, check_plant, vector


@dataclass(frozen=True)
class TwoTanks(AbstractPlant):
    """A pump fills the upper tank, which runs into the lower one and out of it (Torricelli's law)."""

    outlet: float = 0.02  # opening of each tank [m^0.5/s]; what is a field can be declared uncertain
    uncertain: ClassVar = {"outlet": Range(0.018, 0.022)}
    x_names, x_units = ("upper", "lower"), ("m", "m")
    u_names, u_units = ("pump",), ("m/s",)
    x_min, x_max = vector(0.0, 0.0), vector(1.0, 1.0)
    u_min, u_max = vector(0.0), vector(0.02)
    start_min, start_max = vector(0.1, 0.1), vector(0.9, 0.6)
    x_equilibrium, u_equilibrium = vector(0.25, 0.25), vector(0.01)
    hard_states = (0, 1)  # an overflow ends the operation
    dt = 5.0  # s: the tanks need about a minute

    def rhs(self, x, u):
        flow = self.outlet * ca.sqrt(ca.fmax(x, 1e-9))
        return ca.vertcat(u[0] - flow[0], flow[0] - flow[1])

    def reward(self, x, u):
        return -((x[1] - 0.25) ** 2) - 10.0 * (u[0] - 0.01) ** 2


plant = TwoTanks()
check_plant(plant)  # names the first promise that does not hold
domain = {"u_min": plant.u_min, "u_max": plant.u_max, "theta_min": plant.x_min, "theta_max": plant.x_max}
law = yannctl.solve_mpqp(yannctl.condense(yannctl.Ocp(yannctl.linearise(plant), [0.01, 1.0], 10.0, 6, **domain)))
run = plant.perturbed(seed=0).rollout(law, plant.sample_starts(100, seed=1), steps=60)
print(
    f"{law.n_regions} regions; another specimen: {run.tripped.sum()} of 100 trip, worst return {run.returns.min():.2f}"
)
