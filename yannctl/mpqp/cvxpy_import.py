"""Read a parametric CVXPY problem as a multi-parametric QP.

CVXPY's disciplined parametrised programming (DPP) keeps every parameter affine through its canonical form
`min x'Px/2 + q(θ)'x + d(θ)  s.t.  A x + b(θ) in {0} × R₊`; what is left is to eliminate the equalities.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import EmptySetError, ModelError
from yannctl.geometry.validation import vector
from yannctl.types import Float

from .elimination import ParametricProgram, reduced_program, without_free_auxiliaries
from .problem import MpQp

if TYPE_CHECKING:
    import cvxpy

_AFFINE = "let parameters enter the linear cost and right-hand sides only"
_SHAPED = ("symmetric", "diag", "PSD", "NSD", "hermitian", "sparsity", "complex", "imag", "boolean", "integer")


def from_cvxpy(problem: "cvxpy.Problem", bounds: Mapping[Any, Any] | None = None) -> MpQp:
    """Turn a DPP-compliant QP or LP into an `MpQp` whose parameters are the problem's `cp.Parameter`s.

    Parameters enter affinely in the linear cost and the right-hand sides. θ holds the parameters, z the problem's
    variables, both in the order of their declaration and matrices column by column; auxiliary variables of CVXPY that
    cannot be eliminated follow. The law is all of the problem's variables; `out_names` and `theta_names` say which
    entry is which. For `Maximize` the value is that of the negated objective.

    Args:
        problem: the CVXPY problem; its parameter values are left as they were.
        bounds: lower and upper end of each parameter, `{parameter or its name: (low, high)}`; a parameter that is
            missing here needs finite `bounds` (or a sign and one bound) among its own attributes.

    Returns:
        The program, equalities eliminated.

    Raises:
        ModelError: when the problem is not DPP, not a QP or LP, has integer variables, has a parameter in H or A, or
            a parameter without finite bounds.
    """
    import cvxpy as cp

    if not isinstance(problem, cp.Problem):
        raise ModelError("problem", f"expected a cvxpy.Problem, got {type(problem).__name__}", remedy="make one first")
    parameters = sorted(problem.parameters(), key=lambda p: p.id)
    variables = sorted(problem.variables(), key=lambda v: v.id)
    _check_problem(problem, parameters, variables)
    _check_bounds(parameters, bounds)
    ends = [_ends(p, bounds) for p in parameters]
    low, high = (np.concatenate([end[side] for end in ends]) for side in (0, 1))
    full, outputs = _canonical_form(problem, parameters, variables, (low + high) / 2)
    small, Y = reduced_program(full, outputs)
    small = without_free_auxiliaries(small, int(outputs.sum()))
    A, b, B = small.G, small.g[:, 0], small.g[:, 1:]
    used = A.any(axis=1)
    false = ~used & ~B.any(axis=1) & (b < -1e-9)
    if false.any():
        raise EmptySetError("problem", "the constraints contradict each other", remedy="remove or relax one of them")
    domain = ~used & B.any(axis=1)
    return MpQp(
        H=(small.P + small.P.T) / 2,
        f=small.q[:, 0],
        F=small.q[:, 1:],
        A=A[used],
        b=b[used],
        B=B[used],
        theta_min=low,
        theta_max=high,
        n_out=int(outputs.sum()),
        Y=(Y + Y.T) / 2,
        y=small.d[1:],
        y0=float(small.d[0]),
        theta_names=_entry_names("parameters", parameters),
        out_names=_entry_names("variables", variables),
        theta_A=-B[domain] if domain.any() else None,
        theta_b=b[domain] if domain.any() else None,
    )


def _check_problem(problem: Any, parameters: list, variables: list) -> None:
    if not variables:
        raise ModelError("problem", "it has no variables", remedy="give a problem with decisions")
    if not parameters:
        raise ModelError("problem", "it has no parameters", remedy="make the quantities that change cp.Parameter")
    if problem.is_mixed_integer():
        raise ModelError("problem", "it has integer variables", remedy="only continuous variables are supported")
    if not problem.is_dcp():
        raise ModelError("problem", "it is not convex by the rules of CVXPY", remedy="see problem.is_dcp()")
    if not problem.is_dcp(dpp=True):
        text = "it is not DPP: a product of parameters, or a parameter in H or A in a way that cannot be affine"
        raise ModelError("problem", text, remedy=_AFFINE)
    for i, parameter in enumerate(parameters):
        shaped = [name for name in _SHAPED if _attribute(parameter, name)]
        if shaped:
            text = f"parameter {parameter.name()} is declared {', '.join(shaped)}"
            raise ModelError("problem", text, index=i, remedy="declare it without that attribute")


def _check_bounds(parameters: list, bounds: Mapping[Any, Any] | None) -> None:
    """Refuse ends for something that is no parameter of the problem: most likely a misspelt name."""
    names = [p.name() for p in parameters]
    for key in bounds or {}:
        if not any(key is p for p in parameters) and not (isinstance(key, str) and key in names):
            what = repr(key) if isinstance(key, str) else str(key)
            raise ModelError("bounds", f"{what} is no parameter of the problem", remedy=f"use {', '.join(names)}")


def _attribute(leaf: Any, name: str) -> Any:
    value = leaf.attributes.get(name)
    return value is not None and value is not False


def _ends(parameter: Any, bounds: Mapping[Any, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of one parameter, column by column."""
    given = None
    for key, value in (bounds or {}).items():
        if key is parameter or (isinstance(key, str) and key == parameter.name()):
            given = value
    name = f"bounds[{parameter.name()}]"
    if given is None:
        given = _own_bounds(parameter)
    if given is None or not isinstance(given, Iterable) or len(pair := list(given)) != 2:
        remedy = f"pass bounds={{{parameter.name()}: (low, high)}} to from_cvxpy"
        raise ModelError(name, "expected a lower and an upper end", remedy=remedy)
    low, high = (vector(name, _flat(parameter, end), parameter.size) for end in pair)
    return low, high


def _own_bounds(parameter: Any) -> list | None:
    own = parameter.attributes.get("bounds")
    if own is None:
        return None
    low, high = (np.asarray(end, dtype=float) for end in own)
    if parameter.is_nonneg():
        low = np.maximum(low, 0.0)
    if parameter.is_nonpos():
        high = np.minimum(high, 0.0)
    return [low, high]


def _flat(parameter: Any, end: Any) -> Any:
    array = np.asarray(end)
    if array.ndim and array.shape == parameter.shape:
        return array.flatten(order="F")
    return end


def _canonical_form(
    problem: Any, parameters: list, variables: list, centre: np.ndarray
) -> tuple[ParametricProgram, np.ndarray]:
    """Let CVXPY canonicalise a copy in which plain variables mirror the declared ones, then read off the tensors."""
    import cvxpy as cp

    mirrors = [cp.Variable(v.size) for v in variables]
    copies = [m == cp.vec(v, order="F") for m, v in zip(mirrors, variables, strict=True)]
    objective, held = _without_parametric_forms(problem.objective)
    twin = cp.Problem(objective, [*problem.constraints, *copies, *held])
    before = [p.value for p in parameters]
    try:
        for p, value in zip(parameters, _split(parameters, centre), strict=True):
            p.value = value
        data, _, _ = twin.get_problem_data(cp.CLARABEL, enforce_dpp=True)
    except cp.error.DPPError as cause:
        raise ModelError("problem", "it is not DPP for a quadratic cost", remedy=_AFFINE) from cause
    except (cp.error.SolverError, cp.error.DCPError, ValueError) as cause:
        raise ModelError("problem", f"CVXPY cannot canonicalise it ({cause})", remedy="see problem.solve()") from cause
    finally:
        for p, value in zip(parameters, before, strict=True):
            p.value = value
    canonical = data["param_prob"]
    n_zero, n_nonneg = canonical.cone_dims.zero, canonical.cone_dims.nonneg
    program = _tensors(canonical, parameters, n_zero, n_nonneg)
    outputs = np.zeros(len(program.P), dtype=bool)
    order = []
    for mirror in mirrors:
        start = canonical.var_id_to_col[mirror.id]
        order.extend(range(start, start + mirror.size))
    outputs[order] = True
    # Outputs are listed in the order of declaration, whatever the columns of the canonical form.
    permutation = np.concatenate([np.array(order, dtype=int), np.flatnonzero(~outputs)])
    return _permuted(program, permutation), outputs[permutation]


def _without_parametric_forms(expression: Any) -> tuple[Any, list]:
    """Write `quad_form(e, P)` with parameters in e as `quad_form(v, P)`, v == e: CVXPY would fix them to numbers."""
    import cvxpy as cp

    if not expression.args or not expression.parameters():
        return expression, []
    parts = [_without_parametric_forms(part) for part in expression.args]
    arguments, held = [part for part, _ in parts], [row for _, rows in parts for row in rows]
    if isinstance(expression, cp.QuadForm) and arguments[0].parameters():
        v = cp.Variable(arguments[0].shape)
        return expression.copy([v, arguments[1]]), [*held, v == arguments[0]]
    return expression.copy(arguments), held


def _tensors(canonical: Any, parameters: list, n_zero: int, n_nonneg: int) -> ParametricProgram:
    n_theta = sum(p.size for p in parameters)
    samples = [_evaluate(canonical, parameters, theta) for theta in np.vstack([np.zeros(n_theta), np.eye(n_theta)])]
    P, q0, d0, A, b0 = samples[0]
    if len(b0) != n_zero + n_nonneg:
        raise ModelError("problem", "it has cone constraints, so it is not a QP or LP", remedy="use linear constraints")
    owner = np.repeat(np.arange(len(parameters)), [p.size for p in parameters])
    for j, (P_j, _, _, A_j, _) in enumerate(samples[1:]):
        place = "the quadratic cost H" if not np.allclose(P_j, P, rtol=0, atol=1e-12 * (1 + np.abs(P).max())) else None
        place = place or (None if np.array_equal(A_j, A) else "the constraint matrix A")
        if place:
            text = f"parameter {parameters[owner[j]].name()} multiplies a variable in {place}"
            raise ModelError("problem", text, index=int(owner[j]), remedy="fix it to a number")
    q = np.column_stack([q0, *(s[1] - q0 for s in samples[1:])])
    d = np.array([d0, *(s[2] - d0 for s in samples[1:])])
    b = np.column_stack([b0, *(s[4] - b0 for s in samples[1:])])
    return ParametricProgram(P, q, d, A[:n_zero], b[:n_zero], -A[n_zero:], b[n_zero:])


def _evaluate(canonical: Any, parameters: list, theta: np.ndarray) -> tuple[Any, ...]:
    values = dict(zip([p.id for p in parameters], _split(parameters, theta), strict=True))
    quadratic = canonical.P is not None
    P, q, d, A, b = (None,) * (not quadratic) + canonical.apply_parameters(values, quad_obj=quadratic)
    q, b = np.asarray(q, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    dense = np.zeros((len(q), len(q))) if P is None else P.toarray()
    return (dense + dense.T) / 2, q, float(d), A.toarray(), b


def _permuted(program: ParametricProgram, order: np.ndarray) -> ParametricProgram:
    P = program.P[order][:, order]
    return ParametricProgram(
        P, program.q[order], program.d, program.E[:, order], program.e, program.G[:, order], program.g
    )


def _split(parameters: list, theta: Float[np.ndarray, " n"]) -> list[np.ndarray]:
    stops = np.cumsum([p.size for p in parameters])[:-1]
    parts = np.split(theta, stops)
    return [part.reshape(p.shape, order="F") for p, part in zip(parameters, parts, strict=True)]


def _entry_names(field: str, leaves: list) -> tuple[str, ...]:
    names = []
    for leaf in leaves:
        if leaf.ndim == 0:
            names.append(leaf.name())
            continue
        for position in range(leaf.size):
            index = np.unravel_index(position, leaf.shape, order="F")
            names.append(f"{leaf.name()}[{','.join(str(int(i)) for i in index)}]")
    if len(set(names)) != len(names):
        raise ModelError("problem", f"two {field} have the same name", remedy="give them distinct names")
    return tuple(names)
