"""A whole plant, 2: move an exothermic reactor to its unstable point without ever passing 365 K.

The linear law is right near the point, and its temperature limit is part of its program. From far away its prediction
is wrong: on some starts it heats too long, the reaction ignites, and no coolant is cold enough any more. The certified
filter lets a coolant pass only where a bound of the whole period, for every rate and heat transfer within 10 %, stays
in a set that full cooling is proved to keep: every run stays below the limit.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from yannctl.assurance import SafetyFilter, reactor_barrier
from yannctl.controllers import Filtered
from yannctl.models import CSTR
from yannctl.scenarios import draw_world, make_scenario, simulate

SHORT = "--short" in sys.argv
OUT = Path("runs/examples")

# 1. The task: 0.5 mol/L and 350 K, coolant 280 to 320 K, rate and heat transfer each up to 10 % off, at random.
scenario = make_scenario("cstr-setpoint", "perturbed")
plant = CSTR()
world = draw_world(scenario, 8 if SHORT else 30, seed=2)
print(f"operating point {scenario.x_ref}, coolant {plant.u_equilibrium} K, limit {plant.T_max} K")

# 2. Who takes part: the linear MPC, the same behind the certified filter, nonlinear MPC that knows the true parameters.
# The barrier is proved when it is made, segment by segment, by interval arithmetic; where that failed it would raise.
# The proof is about this model, k0 and UA within 10 % of it, and sensors without error.
linear = scenario.rows["linear"](scenario, world)
barrier = reactor_barrier(mismatch=0.1, dt=plant.dt)
filtered = Filtered(scenario.rows["linear"](scenario, world), SafetyFilter(barrier, safe_action=barrier.u_min))
print(f"barrier proved: full cooling lowers T against the border by at least {barrier.room:.3f} K/min everywhere on it")
controllers = {
    "linear MPC": linear,
    "linear MPC, certified filter": filtered,
    "NMPC, knows the truth": scenario.rows["nmpc"](scenario, world),
}

# 3. All from the same starts, on the same true reactors.
runs = {name: simulate(scenario, world, controller) for name, controller in controllers.items()}
for name, run in runs.items():
    over = scenario.excess(run.x).max(axis=1)
    print(
        f"{name:28s} {np.count_nonzero(over)} of {len(over)} runs pass the limit, by up to {over.max():5.1f} K; "
        f"median cost {np.median(run.cost.sum(axis=1)):6.1f}, {1e3 * run.seconds:.2f} ms a step"
    )
assert scenario.excess(runs["linear MPC, certified filter"].x).max() == 0, "the filter let a run pass the limit"

# 4. The picture: every run in the plane of concentration and temperature, and the temperatures over time.
t = np.arange(scenario.steps + 1) * plant.dt
figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained", sharey=True)
for (name, run), (plane, time) in zip(runs.items(), axes.T, strict=True):
    over = scenario.excess(run.x).max(axis=1) > 0
    for x, bad in zip(run.x, over, strict=True):
        style = {"color": "#D55E00" if bad else "#0072B2", "lw": 1.0, "alpha": 0.8}
        plane.plot(x[:, 0], x[:, 1], **style)
        time.plot(t, x[:, 1], **style)
    plane.plot(world.x0[:, 0], world.x0[:, 1], "o", color="#374151", ms=3)
    CA = np.linspace(0.0, 1.0, 400)
    plane.plot(CA, barrier.border(CA), color="#009E73", lw=2, label="proved: full cooling suffices below")
    plane.plot(*scenario.x_ref, "k+", ms=12, mew=2)
    plane.set(title=f"{name}: {over.sum()} of {len(over)} ignite", xlabel="CA [mol/L]", xlim=(0, 1.02))
    time.set(xlabel="time [min]")
    for axis in (plane, time):
        axis.axhline(plant.T_max, color="#b91c1c", lw=1.5)
for axis in axes[:, 0]:
    axis.set_ylabel("T [K]")
axes[0, 0].legend(frameon=False, loc="upper right", fontsize=9)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "reactor.png", dpi=110)
print(f"see {OUT}/reactor.png")
