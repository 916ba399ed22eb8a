"""Step 7: the law as C99 for a microcontroller: no solver, no heap, the same numbers as Python."""

import numpy as np

import yannctl
from yannctl import export

model = yannctl.LinearModel(A=[[1.0, 1.0], [0.0, 1.0]], B=[[0.5], [1.0]], dt=1.0)
ocp = yannctl.Ocp(model, Q=np.eye(2), R=[[0.1]], N=10, x_min=[-5, -5], x_max=[5, 5], u_min=[-1], u_max=[1])
law = yannctl.solve_mpqp(yannctl.condense(ocp))

for precision in ("double", "float"):
    code = export.write_c(law, f"runs/examples/c_{precision}", precision=precision)
    check = export.check_c(code, law, n_points=20_000, seed=0)
    print(f"{precision}: {code.flash_bytes} B of tables, at most {code.operation_bound} operations a call")
    print(f"  skipped: {check.reason}" if check.skipped else f"  largest difference from Python {check.max_abs:.1e}")
