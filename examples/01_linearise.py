"""Step 1: from a nonlinear plant to a linear model at an operating point."""

import numpy as np

import yannctl
from yannctl.models import Pendulum

plant = Pendulum()
model = yannctl.linearise(plant, x=[0.0, 0.0], u=[0.0], method="step")
print(f"states {plant.x_names} in {plant.x_units}, one step is {plant.dt} s")
print("A =\n", model.A, "\nB =\n", model.B)

# How far the linear prediction is from the true step, as the angle grows: the reason for learning later.
for angle in (0.1, 0.5, 1.0, 2.0):
    x = np.array([angle, 0.0])
    linear = model.x_op + model.A @ (x - model.x_op)
    print(f"angle {angle:3.1f} rad: prediction error {np.abs(plant.step(x, [0.0]) - linear).max():.1e}")

# python-control speaks the same model.
print(model.to_control())
