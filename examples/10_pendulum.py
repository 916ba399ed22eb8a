"""A whole plant, 1: swing the pendulum up and keep it there, with an encoder that sees the angle only.

The motor is too weak to lift the rod in one go, so a linear law, right near the top, fails from below. Nonlinear MPC
plans the swings; near the top the explicit law takes over, which needs microseconds instead of milliseconds. Neither
is given the speed: it is estimated, and with it a constant torque that nobody told the controllers about.
"""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import yannctl
from yannctl.controllers import ExplicitMpc, KalmanFilter, Lqr, Nmpc, OffsetFreeMpc
from yannctl.models import Pendulum

OUT = Path("runs/examples")
STEPS, PUSH, NOISE = 160, 0.08, 0.001
plant = Pendulum()

# 1. The linear model at the top, and the explicit law: every critical region of the MPC's quadratic program.
lin = yannctl.linearise(plant)
bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
weights = {"Q": np.diag([1.0, 0.1]), "R": [[0.001]], "N": 10}
ocp = yannctl.Ocp(lin, **weights, soft="l1l2", **bounds)
explicit = ExplicitMpc(yannctl.solve_mpqp(yannctl.condense(ocp)), u_min=plant.u_min, u_max=plant.u_max)

# 2. Offset-free MPC near the top: a Kalman filter estimates angle, speed and the unknown torque from the angle alone.
model = lin.with_outputs(("theta",)).with_input_disturbance()
ends = {"track": "y", "ref_min": [-0.1], "ref_max": [0.1], "d_min": [-1.0], "d_max": [1.0], "soft": "l1l2"}
balance = OffsetFreeMpc(
    yannctl.Ocp(model, **weights, **ends, **bounds),
    KalmanFilter(model, W=[1e-8, 1e-6, 1e-4], V=[NOISE**2]),
    y_ref=[0.0],
)

# 3. Nonlinear MPC for the swing. Its solver finds the optimum nearest to its guess, so give it guesses that swing.
swings = tuple(lambda x, s=s: np.where(s * x[:, 1:] >= -1e-6, 2.0 * s, -2.0 * s) for s in (1, -1))
swing = Nmpc(plant, N=50, guesses=(*swings, Lqr.of(ocp)))


def run(controllers: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Close the loop from hanging: the plant feels a push, the controllers see noisy angles."""
    rng = np.random.default_rng(0)  # the same noise for both
    x, states, inputs, modes, seen = np.array([np.pi, 0.0]), [], [], [], np.pi
    upright = False
    for k in range(STEPS):
        angle = x[0] + NOISE * rng.normal()
        turn = (angle - seen + np.pi) % (2 * np.pi) - np.pi  # the speed is the difference of two angles
        estimate, seen = np.array([angle, turn / plant.dt if k else 0.0]), angle
        if controllers == "linear":
            mode, u = "linear", explicit(estimate)
        elif upright or (abs(angle) < 0.25 and abs(estimate[1]) < 1.5):
            mode, u, upright = "balance", balance([angle, np.nan]), abs(angle) < 0.5
        else:
            mode, u = "swing", swing(estimate)
            balance.reset()
        states, inputs, modes = [*states, x], [*inputs, u], [*modes, mode]
        x = plant.step(x, u, d=[PUSH])
        balance.applied(u) if mode == "balance" else None
    return np.array(states), np.array(inputs), modes


begin = time.perf_counter()
lost, lost_u, _ = run("linear")
found, found_u, modes = run("both")
swings_taken = modes.index("balance")
print(f"linear law alone: still {np.abs(lost[-20:, 0]).mean():.2f} rad from the top")
print(f"NMPC swings for {swings_taken * plant.dt:.2f} s, then the balance holds {np.abs(found[-20:, 0]).max():.4f} rad")
print(
    f"torque from outside {PUSH:.2f}, estimated {balance.last_estimate[2]:.3f} N m; {time.perf_counter() - begin:.1f} s"
)
assert np.abs(found[-20:, 0]).max() < 0.03, "the pendulum does not stand"

# 4. The picture: angle and torque over time, and the path in the plane of angle and speed.
t = np.arange(STEPS) * plant.dt
figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
for states, inputs, colour, label in (
    (lost, lost_u, "#0072B2", "linear law alone"),
    (found, found_u, "#D55E00", "NMPC, then balance"),
):
    unwrapped = np.unwrap(states[:, 0])
    unwrapped -= 2 * np.pi * np.round(unwrapped[-1] / (2 * np.pi))
    axes[0].plot(t, unwrapped, color=colour, label=label)
    axes[1].step(t, inputs[:, 0], color=colour, where="post")
    axes[2].plot(unwrapped, states[:, 1], color=colour, lw=1.2)
axes[0].axvspan(0, swings_taken * plant.dt, color="#fef3c7", zorder=0)
axes[0].axhline(0, color="grey", ls=":")
axes[0].set(xlabel="time [s]", ylabel="angle from upright [rad]", title="shaded: the swing")
axes[1].axhline(-PUSH, color="grey", ls=":")
axes[1].set(xlabel="time [s]", ylabel="torque [N m]", title="at rest it cancels the push (dotted)")
axes[2].plot(0, 0, "k+", ms=12)
axes[2].set(xlabel="angle [rad]", ylabel="speed [rad/s]", title="up in swings, not in one go")
figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, ncols=2, loc="outside lower center")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "pendulum.png", dpi=110)
print(f"see {OUT}/pendulum.png")
