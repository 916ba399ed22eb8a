"""Step 3: the explicit law, its critical regions, and the proof that none is missing."""

from pathlib import Path

import numpy as np

import yannctl
from yannctl.pwa import plots

OUT = Path("runs/examples")
OUT.mkdir(parents=True, exist_ok=True)
model = yannctl.LinearModel(A=[[1.0, 1.0], [0.0, 1.0]], B=[[0.5], [1.0]], dt=1.0)
ocp = yannctl.Ocp(model, Q=np.eye(2), R=[[0.1]], N=10, x_min=[-5, -5], x_max=[5, 5], u_min=[-1], u_max=[1])
law = yannctl.solve_mpqp(yannctl.condense(ocp))
print(f"{law.status}: {law.n_regions} regions, {law.n_laws} distinct laws, {law.audit().n_open} open facets")

x = np.array([4.0, -1.5])
trajectory = [x]
for _ in range(15):
    x = model.A @ x + model.B @ law(x)
    trajectory.append(x)
figure, _ = plots.plot_regions(law, trajectory=np.array(trajectory))
figure.savefig(OUT / "regions.png")
law.save(OUT / "law.safetensors")
print(f"u(4, -1.5) = {law([4.0, -1.5])}, region {law.locate([4.0, -1.5])}; see {OUT}/regions.png")
