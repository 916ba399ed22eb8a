"""Step 6: any controllers on the same plant and the same starts: u = controller(x)."""

import numpy as np

import yannctl
from yannctl.controllers import ExplicitMpc, Lqr, OnlineMpc, Pid
from yannctl.models import Pendulum

plant = Pendulum()
bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
ocp = yannctl.Ocp(yannctl.linearise(plant), Q=np.diag([1, 0.1]), R=[[0.001]], N=10, gamma=0.99, soft="l1l2", **bounds)
law = yannctl.solve_mpqp(yannctl.condense(ocp))
starts = np.random.default_rng(0).uniform([-0.5, -1.0], [0.5, 1.0], (50, 2))

pid = Pid([[1.0, 0.0]], plant.dt, kp=18.0, ki=1.0, kd=4.0, u_min=plant.u_min, u_max=plant.u_max)
for controller in (Lqr.of(ocp), OnlineMpc(ocp), ExplicitMpc(law), pid):
    run = plant.rollout(controller, starts, 100)
    print(f"{type(controller).__name__:12s} mean return {run.rewards.sum(axis=1).mean():9.4f}")
