"""Step 4: the law as neural networks, equal to it, and the exact critic beside it."""

import numpy as np
import torch

import yannctl
from yannctl.yann import encode_actor, encode_critic, explain, verify

model = yannctl.LinearModel(A=[[1.0, 1.0], [0.0, 1.0]], B=[[0.5], [1.0]], dt=1.0)
ocp = yannctl.Ocp(model, Q=np.eye(2), R=[[0.1]], N=5, x_min=[-5, -5], x_max=[5, 5], u_min=[-1], u_max=[1])
law = yannctl.solve_mpqp(yannctl.condense(ocp))

for form in ("gather", "five_layer", "lattice"):
    actor = encode_actor(law, form=form)
    found = verify(actor, law)
    print(f"{form:10s} {actor.n_weights:6d} weights, largest difference from the law {found.max_error:.1e}, {found.ok}")

critic = encode_critic(ocp)
x = torch.tensor([2.0, -1.0], dtype=torch.float64)
u = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
best = u[critic(x.expand(201, 2), u).argmax()]
print(f"the critic's best input {best.item():+.2f}, the law's {law(x.numpy())[0]:+.2f}")
print(explain(law, x.numpy()))
