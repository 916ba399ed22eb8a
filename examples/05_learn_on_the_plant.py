"""Step 5: fine-tune the law on its nonlinear model, then on the plant; only the gate changes what is deployed."""

import sys

import gymnasium
import numpy as np

import yannctl
from yannctl import rl
from yannctl.models import Pendulum
from yannctl.yann import encode_actor, encode_critic

SHORT = "--short" in sys.argv
STEPS, MODEL_UPDATES = (200, 1000) if SHORT else (2000, 10_000)
plant = Pendulum()
model = yannctl.linearise(plant)
bounds = {"x_min": plant.x_min, "x_max": plant.x_max, "u_min": plant.u_min, "u_max": plant.u_max}
ocp = yannctl.Ocp(model, Q=np.diag([1, 0.1]), R=[[0.001]], N=10, gamma=0.99, soft="l1l2", **bounds)
law = yannctl.solve_mpqp(yannctl.condense(ocp))

env = gymnasium.make("yannctl/Pendulum-v0")
settings = rl.TrainingSettings().changed({"model.pretrain_updates": MODEL_UPDATES})
networks = encode_actor(law), encode_critic(ocp)
result = rl.train(*networks, env, algorithm="dsact", steps=STEPS, seed=0, settings=settings, progress=True)
print("steps  learning  deployed")
for row in result.history:
    print(f"{row['step']:5d} {row['learning_return']:9.1f} {row['deployed_return']:9.1f}")
