"""From A, B, Q, R to C code, and what is known of it before it runs anywhere: no plant, no solver on the chip.

A hovering drone's height and speed, thrust limited, sampled at 50 Hz; the matrices could come from a data sheet, from
`LinearModel.identify(log)` or from python-control.
"""

import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import yannctl
from yannctl import export
from yannctl.controllers import ExplicitMpc, OnlineMpc
from yannctl.ocp.analysis import loop_margins, poles
from yannctl.pwa import plots

OUT = Path("runs/examples")

# 1. A, B, Q, R, bounds: everything there is to say.
drone = yannctl.LinearModel(
    A=[[1.0, 0.02], [0.0, 0.99]], B=[[2e-4], [0.02]], dt=0.02, x_names=("height", "speed"), u_names=("thrust",)
)
ocp = yannctl.Ocp(
    drone, Q=np.diag([10.0, 1.0]), R=[[0.1]], N=12, x_min=[-1.0, -1.5], x_max=[1.0, 1.5], u_min=[-6.0], u_max=[4.0],
    soft="l1l2",
)  # fmt: skip

# 2. Before solving: is the loop robust where no bound is active?
margins = loop_margins(ocp)
print(
    f"closed-loop poles {np.round(poles(ocp)[1], 3)}, disk margin {margins.disk:.2f}, "
    f"delay borne {1e3 * margins.delay:.0f} ms"
)

# 3. The explicit law: every region, none missing, the same numbers as the online solver.
law = yannctl.solve_mpqp(yannctl.condense(ocp))
explicit, online = ExplicitMpc(law), OnlineMpc(ocp)
x = np.random.default_rng(0).uniform(law.theta_min, law.theta_max, (2000, 2))
print(f"{law.status}, {law.n_regions} regions, {law.audit().n_open} open facets")
print(f"largest difference from the online solver {np.abs(explicit(x) - online(x)).max():.1e}")
begin = time.process_time()
for row in x[:1000]:
    explicit(row)
print(f"{1e6 * (time.process_time() - begin) / 1000:.1f} us a call in Python, one state at a time")

# 4. C99: tables and one function. It is compiled here where there is a compiler, and compared bit by bit.
code = export.write_c(law, OUT / "drone_c")
check = export.check_c(code, law, n_points=20_000, seed=0)
print(f"{code.flash_bytes} B of tables, at most {code.operation_bound} operations a call")
print(f"skipped: {check.reason}" if check.skipped else f"C against Python: largest difference {check.max_abs:.1e}")

# 5. The same with hard bounds shows from where they can be kept at all, and what soft bounds are for.
hard = yannctl.solve_mpqp(yannctl.condense(replace(ocp, soft=None, terminal="set")))
figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
plots.plot_regions(hard, axes=axes[0])
axes[0].set_title(f"hard bounds: {hard.n_regions} regions, nothing outside", fontsize=10, loc="left")
state = np.array([0.9, 1.2])
path, inputs = [state], []
for _ in range(150):
    inputs.append(explicit(state))
    state = drone.step(state, inputs[-1])
    path.append(state)
plots.plot_regions(law, trajectory=np.array(path), axes=axes[1])
axes[1].set_title(f"soft bounds: {law.n_regions} regions, an answer everywhere", fontsize=10, loc="left")
for axis in axes[:2]:
    axis.set(xlabel="height [m]", ylabel="speed [m/s]", xticks=[-1, -0.5, 0, 0.5, 1])
t = np.arange(151) * drone.dt
axes[2].plot(t, path, label=["height [m]", "speed [m/s]"])
axes[2].step(t[:-1], np.array(inputs) / 6, where="post", color="grey", label="thrust / 6 [m/s²]")
axes[2].axhline(1.0, color="#b91c1c", lw=1.2)
axes[2].set(xlabel="time [s]")
axes[2].set_title("too high, too fast: over (red) and back", fontsize=10, loc="left")
axes[2].legend(frameon=False)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "matrices_to_c.png", dpi=110)
print(f"see {OUT}/matrices_to_c.png")
