"""A whole plant, 3: a wheeled robot follows a winding path through a corridor, with slip, and round an obstacle.

Both wheels share one speed limit: at full speed nothing is left for turning, so the robot must slow down before each
bend, and a law that only sees the present curvature brakes too late. The obstacle is kept out of the program: while the
robot passes it, the corridor's wall on that side moves inwards (a half-plane), which is one number in the limits.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from yannctl.controllers import AbstractController
from yannctl.models import DifferentialDrive
from yannctl.scenarios import draw_world, make_scenario, simulate
from yannctl.scenarios.robot import CORRIDOR, linear_law
from yannctl.scenarios.weights import Weights

SHORT = "--short" in sys.argv
OUT = Path("runs/examples")

# 1. The task: follow the path for 5 s; lag up to twice the nominal one, wheels that slip up to 10 %.
scenario = make_scenario("robot-kappa6", "perturbed")
plant = DifferentialDrive()
world = draw_world(scenario, 4 if SHORT else 20, seed=1)

# 2. Linear MPC on the present curvature; with an estimate of what it does not explain; with the path ahead; NMPC.
runs = {}
for name in ("linear", "offset-free", "preview", "nmpc"):
    runs[name] = simulate(scenario, world, scenario.rows[name](scenario, world))
best = runs["nmpc"].cost.sum()
for name, run in runs.items():
    ey = np.abs(run.x[:, 10:, 0])
    print(f"{name:12s} cost {100 * (run.cost.sum() / best - 1):5.1f} % above NMPC, mean |ey| {1e3 * ey.mean():.1f} mm")

# 3. An obstacle reaches from the right wall to the middle of the corridor for a stretch of the path.
FROM, TO, REACH = 1.3, 1.5, 0.02


class Switching(AbstractController):
    """Two linear laws: the corridor's, and one whose right wall is a half-plane beside the obstacle."""

    def __init__(self, ahead: float, wall: float) -> None:
        self.nx, self.nu, self.ahead = plant.nx, plant.nu, ahead
        self.free = linear_law(plant, Weights(), preview=True)
        self.beside = linear_law(plant, Weights(), preview=True, walls=(wall, CORRIDOR))

    def __call__(self, x: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        near = (x[:, 4] > FROM - self.ahead) & (x[:, 4] < TO)
        return np.where(near[:, None], self.beside(x), self.free(x))

    def reset(self) -> None:
        self.free.reset()
        self.beside.reset()


start = np.array([[0.0, 0.0, 0.1, 0.0, 0.6]])
passing = {}
for name, controller in {"ignores it": Switching(0.0, -CORRIDOR), "switches": Switching(0.25, REACH + 0.02)}.items():
    states = [start]
    for _ in range(100):
        states.append(plant.step(states[-1], controller(states[-1])))
    passing[name] = np.concatenate(states)
    beside = passing[name][(passing[name][:, 4] > FROM) & (passing[name][:, 4] < TO)]
    print(f"{name:12s} nearest to the obstacle {1e3 * (beside[:, 0].min() - REACH):6.1f} mm")
    clear = beside[:, 0].min() > REACH
assert clear, "the robot touches the obstacle"


def on_the_floor(s: np.ndarray, ey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the room of points beside the path."""
    grid = np.linspace(0.0, 3.0, 6001)
    heading = np.cumsum(plant.curvature(grid)) * (grid[1] - grid[0])
    place = np.cumsum(np.stack([np.cos(heading), np.sin(heading)]), axis=1) * (grid[1] - grid[0])
    angle = np.interp(s, grid, heading)
    return np.interp(s, grid, place[0]) - ey * np.sin(angle), np.interp(s, grid, place[1]) + ey * np.cos(angle)


# 4. The picture: offsets and speeds over the path, and the passage seen from above.
colours = {"linear": "#0072B2", "offset-free": "#CC79A7", "preview": "#009E73", "nmpc": "#111827"}
figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
t = np.arange(scenario.steps + 1) * plant.dt
for name, run in runs.items():
    axes[0].plot(t, 1e3 * np.quantile(np.abs(run.x[:, :, 0]), 0.9, axis=0), color=colours[name], label=name)
    axes[1].plot(run.x[0, :, 4], run.x[0, :, 2], color=colours[name])
axes[0].set(xlabel="time [s]", ylabel="|ey| [mm], 90 % of the runs", title="Offset from the path")
axes[0].legend(frameon=False)
stretch = np.linspace(runs["nmpc"].x[0, 0, 4], runs["nmpc"].x[0, -1, 4], 300)
fastest = plant.wheel_speed / (1 + plant.half_track * np.abs(plant.curvature(stretch)))  # v + b v |kappa| = 0.22
axes[1].fill_between(stretch, fastest, 0.23, color="#fee2e2")
axes[1].set(xlabel="place on the path [m]", ylabel="v [m/s]", title="One run: red is too fast to turn with the path")
s = np.linspace(0.5, 2.4, 400)
for side in (-CORRIDOR, CORRIDOR):
    axes[2].plot(*on_the_floor(s, np.full_like(s, side)), color="#b91c1c", lw=1.2)
block = np.linspace(FROM, TO, 50)
edges = [on_the_floor(block, np.full_like(block, side)) for side in (-CORRIDOR, REACH)]
axes[2].fill(*(np.r_[a, b[::-1]] for a, b in zip(*edges, strict=True)), color="#6b7280")
for name, colour in (("ignores it", "#0072B2"), ("switches", "#D55E00")):
    axes[2].plot(*on_the_floor(passing[name][:, 4], passing[name][:, 0]), color=colour, label=name)
axes[2].set(aspect="equal", xlabel="x [m]", ylabel="y [m]", title="Past an obstacle (grey)")
axes[2].legend(frameon=False)
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "robot.png", dpi=110)
print(f"see {OUT}/robot.png")
