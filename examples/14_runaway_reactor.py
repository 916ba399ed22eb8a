"""A whole plant, 4: a reactor that explodes if it is controlled by its temperature alone.

In December 2007 a batch of the T2 Laboratories in Florida ran away: the cooling came too late, the solvent began to
decompose, four people died. The plant here is that chemistry in a stirred tank with a steady feed. Its operating point
(450 K) is unstable; 30 K above it, at 480 K, the decomposition takes over and no coolant is enough.

The usual temperature controller looks at the temperature and nothing else. After a pause the tank is full of fresh
reactants but a little too cold, so the controller does not cool: it waits for the set-point while the reaction gains
speed on all that has gathered. When it does cool, it is too late. The certified filter knows how much there is to burn.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from yannctl.assurance import runaway_barrier
from yannctl.models import RunawayReactor
from yannctl.scenarios import draw_world, make_scenario, simulate

SHORT = "--short" in sys.argv
OUT = Path("runs/examples")

# 1. The plant. Every number that the operating point rests on: feed in, reaction, heat out.
plant = RunawayReactor()
(CA, CB, CS, T), U = plant.steady_state(plant.set_point)
point = [float(value) for value in (CA, CB, CS, T, U)]
feed = f"{plant.CAf:g} A, {plant.CBf:g} B, {plant.CSf:g} S mol/L at {plant.Tf:g} K"
print(f"tank {plant.V:g} L, {plant.q:g} L/h through it, feed {feed}")
print("at rest {:.3f} A, {:.3f} B, {:.3f} S mol/L, {:g} K with U = {:.1f} W/(m^2 K)".format(*point))
still = plant.rhs(point[:4], point[4:])
print(f"balances there: {np.abs(np.array(still, float)).max():.1e} mol/(L h) or K/h off zero")

# 2. The proof: below this border full cooling keeps every tank of this feed under 480 K, whatever the rates within
# 10 % (main reaction) and a factor of two (decomposition), and with up to 10 % of the cooling surface fouled.
barrier = runaway_barrier(plant)
print(
    f"barrier proved: full cooling leaves it inwards by at least {barrier.room:.2f} K/h; it reaches from 480 K down to"
)
print("  " + ", ".join(f"{float(barrier.border(a)):.1f} K at {a} mol/L" for a in (1.0, 1.77, 3.0, 4.3)))

# 3. Forty restarts with fresh, warm contents; rates and cooling surface of each drawn at random.
scenario = make_scenario("runaway-restart", "perturbed")
world = draw_world(scenario, 10 if SHORT else 40, seed=0)
names = {
    "temperature-pi": "temperature controller (PI)",
    "filtered-temperature-pi": "the same, certified filter",
    "filtered": "linear MPC, certified filter",
}
runs = {name: simulate(scenario, world, scenario.rows[name](scenario, world)) for name in names}
for name, run in runs.items():
    over = scenario.excess(run.x).max(axis=1)
    at_work = np.abs(run.x[:, -1, 3] - plant.set_point) < 5
    print(
        f"{names[name]:28s} {np.count_nonzero(over)} of {len(over)} explode, hottest {run.x[..., 3].max():5.0f} K; "
        f"{np.count_nonzero(at_work)} at the operating point after {scenario.steps * plant.dt:g} h"
    )
assert scenario.excess(runs["temperature-pi"].x).max() > 100, "the temperature controller was expected to fail"
assert scenario.excess(runs["filtered-temperature-pi"].x).max() == 0, "the filter let a run pass the limit"
assert scenario.excess(runs["filtered"].x).max() == 0, "the filter let a run pass the limit"

# 4. The picture: above, all runs in the plane that decides; below, one that explodes, and what the filter does to it.
red, blue, green, grey = "#D55E00", "#0072B2", "#009E73", "#6b7280"
figure, axes = plt.subplots(2, 3, figsize=(14, 8), layout="constrained")
grid = np.linspace(0.0, plant.CAf, 400)
for axis, (name, run) in zip(axes[0], runs.items(), strict=True):
    bad = scenario.excess(run.x).max(axis=1) > 0
    for x, lost in zip(run.x, bad, strict=True):
        axis.plot(x[:, 0], np.minimum(x[:, 3], 500), color=red if lost else blue, lw=1.1, alpha=0.8)
    axis.plot(world.x0[:, 0], world.x0[:, 3], "o", color="#374151", ms=3)
    axis.plot(grid, barrier.border(grid), color=green, lw=2)
    axis.plot(float(CA), T, "k+", ms=13, mew=2)
    axis.axhline(plant.T_max, color="#b91c1c", lw=1.5)
    axis.set(title=f"{names[name]}: {bad.sum()} of {len(bad)} explode", xlabel="A in the tank [mol/L]", ylim=(400, 495))
axes[0, 0].set_ylabel("temperature [K]")
axes[0, 2].annotate("proved: full cooling\nsuffices below", (2.4, 466), color=green, fontsize=9)
axes[0, 2].annotate("limit 480 K", (3.4, 481.5), color="#b91c1c", fontsize=9)
worst = int(runs["temperature-pi"].x[..., 3].max(axis=1).argmax())
minutes = 60 * plant.dt * np.arange(scenario.steps + 1)
shown = {
    "temperature-pi": (red, "PI"),
    "filtered-temperature-pi": (blue, "PI, filter"),
    "filtered": (green, "MPC, filter"),
}
for name, (colour, label) in shown.items():
    x, u = runs[name].x[worst], runs[name].u[worst]
    axes[1, 0].plot(minutes, x[:, 3], color=colour, lw=2, label=label)
    axes[1, 1].plot(minutes[:-1], u[:, 0], color=colour, lw=2)
axes[1, 0].axhline(plant.T_max, color="#b91c1c", lw=1.5)
axes[1, 0].set(title="One restart: temperature", xlabel="time [min]", ylabel="T [K]", ylim=(400, 560), xlim=(0, 45))
axes[1, 0].legend(frameon=False)
axes[1, 1].set(title="Its cooling", xlabel="time [min]", ylabel="U [W/(m² K)]", xlim=(0, 45))
# Why the point is unstable, and why 480 K is the end: heat of the reactions at rest against what flow and coolant take.
heat = np.linspace(400.0, 505.0, 400)
made = [plant.steady_state(float(t))[0] for t in heat]
flow = plant.q / plant.V
main = np.array([-plant.dH1 * flow * (plant.CAf - float(x[0])) for x in made]) / plant.heat_capacity
solvent = np.array([-plant.dH2 * flow * (plant.CSf - float(x[2])) for x in made]) / plant.heat_capacity
axes[1, 2].plot(heat, main + solvent, color=red, lw=2, label="heat of both reactions, at rest")
for value, style in ((float(U), "-"), (plant.U_max, "--")):
    taken = flow * (heat - plant.Tf) + 3600 * plant.area * value / (plant.V * plant.heat_capacity) * (heat - plant.Tc)
    axes[1, 2].plot(heat, taken, style, color=blue, lw=2, label=f"taken by flow and coolant, U = {value:.0f}")
axes[1, 2].plot(T, np.interp(T, heat, main + solvent), "k+", ms=13, mew=2)
axes[1, 2].axvline(plant.T_max, color="#b91c1c", lw=1.5)
axes[1, 2].set(title="Why 450 K is unstable and 480 K the end", xlabel="T [K]", ylabel="heat [K/h]", ylim=(0, 250))
axes[1, 2].legend(frameon=False, fontsize=9)
for axis in axes.flat:
    axis.spines[["top", "right"]].set_visible(False)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "runaway_reactor.png", dpi=110)
print(f"see {OUT}/runaway_reactor.png")
