"""Augmented linear models: outputs, constant disturbances on outputs or inputs, integrals of the tracking error.

Offset-free control by a disturbance model: estimate (x, p) with `with_disturbance_states`, let `Ocp(track="y")` aim at
the steady state (x_s, u_s) of the estimated p; then y settles at its reference whatever constant disturbance or model
error the plant has, as long as there are as many disturbances as outputs (Pannocchia and Rawlings, AIChE J. 2003).
Offset-free control by integrators: y can only rest where the integral of y - r rests (Davison, 1976).
"""

from dataclasses import replace
from typing import Any

import numpy as np

from yannctl.errors import ModelError

from .linear_model import LinearModel


def with_outputs(lin: LinearModel, C: Any, y_names: tuple[str, ...] = ()) -> LinearModel:
    """See `LinearModel.with_outputs`.

    Args:
        lin: the model.
        C: output matrix (ny, nx), or names of states.
        y_names: name of each output.

    Returns:
        The model with these outputs.

    Raises:
        ModelError: an unknown state name or a wrong shape.
    """
    states = (C,) if isinstance(C, str) else C
    if isinstance(states, (tuple, list)) and states and all(isinstance(name, str) for name in states):
        for i, name in enumerate(states):
            if name not in lin.x_names:
                raise ModelError("C", f"no state is called {name!r}", index=i, remedy=f"choose from {lin.x_names}")
        C = np.eye(lin.nx)[[lin.x_names.index(name) for name in states]]
        y_names = tuple(y_names) or tuple(states)
    return replace(lin, C=C, y_names=tuple(y_names), C_d=None)


def with_output_disturbance(lin: LinearModel) -> LinearModel:
    """See `LinearModel.with_output_disturbance`.

    Args:
        lin: the model, with outputs.

    Returns:
        The model with ny more disturbances.
    """
    _check_outputs(lin)
    names = tuple(f"p_{name}" for name in lin.y_names)
    return _with_disturbance(lin, np.zeros((lin.nx, lin.ny)), np.eye(lin.ny), names)


def with_input_disturbance(lin: LinearModel) -> LinearModel:
    """See `LinearModel.with_input_disturbance`.

    Args:
        lin: the model.

    Returns:
        The model with nu more disturbances.
    """
    return _with_disturbance(lin, lin.B, np.zeros((lin.ny, lin.nu)), tuple(f"p_{name}" for name in lin.u_names))


def with_integrator(lin: LinearModel) -> LinearModel:
    """See `LinearModel.with_integrator`; in full `q+ = q + dt (C x + C_d (d - d_op) - r)`.

    Args:
        lin: the model, with outputs.

    Returns:
        The model with ny more states and ny more disturbances.
    """
    _check_outputs(lin)
    nx, ny, dt = lin.nx, lin.ny, lin.dt
    names = tuple(f"integral_{name}" for name in lin.y_names)
    wider = replace(
        lin,
        A=np.block([[lin.A, np.zeros((nx, ny))], [dt * lin.C, np.eye(ny)]]),
        B=np.vstack([lin.B, np.zeros((ny, lin.nu))]),
        c=np.concatenate([lin.c, np.zeros(ny)]),
        x_op=np.concatenate([lin.x_op, np.zeros(ny)]),
        x_names=lin.x_names + names,
        E=np.vstack([lin.E, dt * lin.C_d]),
        C=np.hstack([lin.C, np.zeros((ny, ny))]),
    )
    reference = np.vstack([np.zeros((nx, ny)), -dt * np.eye(ny)])
    labels = tuple(f"y_ref_{name}" for name in lin.y_names)
    # r enters with its operating value C x_op, so that the operating point stays an equilibrium.
    return _with_disturbance(wider, reference, np.zeros((ny, ny)), labels, lin.C @ lin.x_op)


def with_disturbance_states(lin: LinearModel) -> LinearModel:
    """See `LinearModel.with_disturbance_states`.

    Args:
        lin: the model.

    Returns:
        The model with nx + nd states.

    Raises:
        ModelError: an output whose C_d d_op is not zero.
    """
    nx, nd = lin.nx, lin.nd
    C = np.hstack([lin.C, lin.C_d])
    if np.any(lin.C_d @ lin.d_op):
        raise ModelError("d_op", "an absolute output C x + C_d d needs C_d d_op = 0", remedy="give d_op = 0 there")
    return replace(
        lin,
        A=np.block([[lin.A, lin.E], [np.zeros((nd, nx)), np.eye(nd)]]),
        B=np.vstack([lin.B, np.zeros((nd, lin.nu))]),
        c=np.concatenate([lin.c, np.zeros(nd)]),
        x_op=np.concatenate([lin.x_op, lin.d_op]),
        x_names=lin.x_names + lin.d_names,
        E=None,
        d_op=None,
        d_names=(),
        C=C,
        C_d=None,
    )


def _with_disturbance(
    lin: LinearModel, E: np.ndarray, C_d: np.ndarray, names: tuple[str, ...], d_op: np.ndarray | None = None
) -> LinearModel:
    return replace(
        lin,
        E=np.hstack([lin.E, E]),
        d_op=np.concatenate([lin.d_op, np.zeros(len(names)) if d_op is None else d_op]),
        d_names=lin.d_names + names,
        C_d=np.hstack([lin.C_d, C_d]),
    )


def _check_outputs(lin: LinearModel) -> None:
    if not lin.ny:
        raise ModelError("C", "the model has no outputs", remedy='call with_outputs(("a state\'s name",)) first')
