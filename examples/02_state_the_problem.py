"""Step 2: from A, B, Q, R and bounds to a multi-parametric QP. No plant is needed: any linear model will do."""

import numpy as np

import yannctl

model = yannctl.LinearModel(A=[[1.0, 1.0], [0.0, 1.0]], B=[[0.5], [1.0]], dt=1.0)
ocp = yannctl.Ocp(model, Q=np.eye(2), R=[[0.1]], N=10, x_min=[-5, -5], x_max=[5, 5], u_min=[-1], u_max=[1])
mpqp = yannctl.condense(ocp)
print(f"{mpqp.n_z} decisions, {mpqp.n_rows} rows, parameters {mpqp.theta_names}")

online = mpqp.solve_qp([2.0, -1.0])
print(f"online QP at (2, -1): u = {online.z[0]:.6f}, cost {online.value:.6f}, {online.status}")

# A mistake is refused at once, with the place and the remedy.
try:
    yannctl.Ocp(model, Q=[[1.0, 0.0], [0.0, float("nan")]], R=[[0.1]], N=10)
except yannctl.ModelError as error:
    print(f"refused: {error}")
