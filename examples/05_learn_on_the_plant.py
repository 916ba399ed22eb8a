"""Step 5: fine-tune the law on the true plant; what is deployed changes only through the gate."""

import sys

import gymnasium
import numpy as np

import yannctl
from yannctl import rl
from yannctl.models import Pendulum
from yannctl.yann import encode_actor, encode_critic

STEPS = 600 if "--short" in sys.argv else 4000
plant = Pendulum()
model = yannctl.linearise(plant)
bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
ocp = yannctl.Ocp(model, Q=np.diag([1, 0.1]), R=[[0.001]], N=10, gamma=0.99, soft="l1l2", **bounds)
law = yannctl.solve_mpqp(yannctl.condense(ocp))

env = gymnasium.make("yannctl/Pendulum-v0")
result = rl.train(encode_actor(law), encode_critic(ocp), env, algorithm="dsact", steps=STEPS, seed=0, progress=True)
print("steps  learning  deployed")
for row in result.history:
    print(f"{row['step']:5d} {row['learning_return']:9.1f} {row['deployed_return']:9.1f}")
