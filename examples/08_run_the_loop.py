"""Step 8: the fixed-rate loop on a simulated rig, and what happens when the controller fails in the middle."""

import numpy as np

import yannctl
from yannctl import hil
from yannctl.controllers import AbstractController, ExplicitMpc
from yannctl.models import Pendulum

plant = Pendulum()
bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
ocp = yannctl.Ocp(yannctl.linearise(plant), Q=np.diag([1, 0.1]), R=[[0.001]], N=10, gamma=0.99, soft="l1l2", **bounds)
exact = ExplicitMpc(yannctl.solve_mpqp(yannctl.condense(ocp)))


class Failing(AbstractController):
    """A controller that returns NaN for a while, as a broken network would."""

    nx, nu = plant.nx, plant.nu
    calls = 0

    def __call__(self, x: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        self.calls += 1
        return np.full(1, np.nan) if 20 <= self.calls < 30 else exact(x)

    def reset(self) -> None:
        self.calls = 0


rig = hil.SimulatedRig(plant, x0=[0.3, 0.0], seed=0)
report = hil.run_loop(rig, Failing(), ticks=60, fallback=exact)
print(report.to_json())
