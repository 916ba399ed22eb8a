"""A certified filter in C: the bits of the filter in Python; in float inside the exact interval."""

import ctypes
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import yannctl
from yannctl import Ocp, condense, solve_mpqp
from yannctl.assurance import (
    ClipFilter,
    Domain,
    Inclusion,
    PolytopicSet,
    SafetyFilter,
    Statement,
    certify,
    design,
    save_certificate,
)
from yannctl.cli.app import main
from yannctl.errors import ModelError
from yannctl.export import ClipTables, c_check, check_c, controller_tensors, save_controller, write_c
from yannctl.export.residual_tables import random_residual
from yannctl.models import Pendulum
from yannctl.pwa import PwaLaw

needs_compiler = pytest.mark.skipif(not c_check.find_compiler(), reason="no C compiler; apt-get install gcc")
PRECISIONS = pytest.mark.parametrize("precision", ["double", "float"])


@pytest.fixture(scope="module")
def certificate():
    """The upright pendulum, no packet lost: proved, in half a second."""
    return replace(design("pendulum-upright"), holds=1, pieces=(4, 2, 2, 1, 1)).certify()


@pytest.fixture(scope="module")
def law():
    plant = Pendulum()
    ocp = Ocp(
        yannctl.linearise(plant, x=[0.0, 0.0], u=[0.0]), Q=np.diag([1.0, 0.1]), R=[[0.01]], N=4,
        x_min=plant.x_min, x_max=plant.x_max, u_min=plant.u_min, u_max=plant.u_max, soft="l1l2", terminal="lqr",
    )  # fmt: skip
    return solve_mpqp(condense(ocp))


def states(certificate, n, seed=0):
    """States of the certified set, most of them near its border."""
    corners = certificate.found.vertices
    return np.random.default_rng(seed).dirichlet(np.full(len(corners), 0.05), n) @ corners


def compiled(export, folder):
    library, errors = c_check.compile_c(export, folder, c_check.find_compiler())
    assert library is not None, errors
    return library


def filter_c(library, export, x, proposal, certified):
    """Call the filter alone for every state."""
    real = ctypes.c_double if export.precision == "double" else ctypes.c_float
    function = ctypes.CDLL(str(library)).controller_filter
    function.restype, function.argtypes = ctypes.c_int, [ctypes.POINTER(real), real, real, ctypes.POINTER(real)]
    u, status = np.empty(len(x), export.reference.dtype), np.empty(len(x), int)
    value = real()
    for i, row in enumerate(x):
        status[i] = function((real * len(row))(*row), real(proposal[i]), real(certified[i]), ctypes.byref(value))
        u[i] = value.value
    return u, status


@needs_compiler
@PRECISIONS
def test_any_proposal_in_c_and_in_python(certificate, law, tmp_path, precision):
    export = write_c(law, tmp_path, precision=precision, clip=certificate)
    dtype, draw = export.reference.dtype, np.random.default_rng(1)
    x = np.concatenate([states(certificate, 2500), draw.uniform([-0.5, -2], [0.5, 2], (500, 2))]).astype(dtype)
    proposal = draw.uniform(-3, 3, len(x)).astype(dtype)
    proposal[::7], proposal[1::7], proposal[2::7] = np.nan, np.inf, -np.inf
    certified = export.reference.law(x)[0][:, 0]
    u, status = filter_c(compiled(export, tmp_path), export, x, proposal, certified)
    wanted, wanted_status = export.reference.clip.apply(x, proposal, certified)
    np.testing.assert_array_equal(c_check.bits(u), c_check.bits(wanted))
    np.testing.assert_array_equal(status, wanted_status)
    assert {0, 3, 4, 5} <= set(status.tolist())
    assert np.isfinite(u).all()
    if precision == "double":
        safe = SafetyFilter(PolytopicSet(certificate), law=law)
        inside = safe.safe_set.contains(x)
        assert 2000 < inside.sum() < len(x)
        np.testing.assert_array_equal(u[inside], safe(x[inside], proposal[inside, None])[:, 0])


@needs_compiler
@PRECISIONS
def test_the_whole_controller(certificate, law, tmp_path, precision):
    """Law, a learned part that overflows here and there, and the filter."""
    learned = random_residual((2, 4, 1), "relu", 1.0, 0, precision)
    huge = learned.weights[0].dtype.type(1e300 if precision == "double" else 1e37)
    learned = replace(learned, weights=(learned.weights[0] * huge, learned.weights[1] * huge))
    export = write_c(law, tmp_path, precision=precision, search="tree", extension=learned, clip=certificate)
    assert check_c(export, law, n_points=3000, seed=5).ok
    x = states(certificate, 2000, 3).astype(export.reference.dtype)
    u, status = c_check.run_c(compiled(export, tmp_path), export, x)
    lost = status == 4
    assert lost.sum() > 100
    assert 5 not in status
    if precision == "double":
        safe = SafetyFilter(PolytopicSet(certificate), law=law)
        lost &= safe.safe_set.contains(x)
        np.testing.assert_array_equal(u[lost], safe(x[lost], np.full((lost.sum(), 1), np.nan)))


def test_float_stays_inside_the_exact_interval(certificate, law, tmp_path):
    """Whatever is proposed, at states near the border, where rounding to the nearest would leave it."""
    exact = ClipTables.of(certificate)
    tables = write_c(law, tmp_path, precision="float", clip=certificate).reference.clip
    x = states(certificate, 30_000)
    ends = certificate.clip().interval(x)
    nearest = replace(
        exact, **{n: getattr(exact, n).astype(np.float32) for n in ("F_low", "g_low", "F_high", "g_high")}
    )
    left = {}
    for name, chosen in (("rounded", tables), ("nearest", nearest)):
        found = [chosen.apply(x.astype(np.float32), np.full(len(x), p, np.float32), x[:, 0]) for p in (-9, 9)]
        left[name] = sum(np.sum((u < ends[:, 0]) | (u > ends[:, 1])) for u, _ in found)
        assert all(5 not in status for _, status in found)
        assert max(np.max(np.minimum(np.abs(u - ends[:, 0]), np.abs(u - ends[:, 1]))) for u, _ in found) < 2e-4
    assert left["rounded"] == 0
    assert left["nearest"] > 100


def test_rounded_lines_against_fractions():
    """Random lines and states, exact rational numbers: no float end lies beyond the exact one."""
    draw = np.random.default_rng(0)
    for _ in range(150):
        n, scale = int(draw.integers(1, 6)), 10.0 ** draw.integers(-3, 4)
        F, g, reach = draw.normal(size=(1, n)) * scale, draw.normal(size=1), 10.0 ** draw.uniform(-3, 2, n)
        x = np.vstack([draw.uniform(-reach, reach, (8, n)), reach, -reach])
        none, far = np.zeros((1, n)), 1e9
        for sign, clip in (
            (1, ClipFilter(F, g, none, [far], -far, far)),
            (-1, ClipFilter(none, [-far], F, g, -far, far)),
        ):
            tables = ClipTables.of(clip).rounded("float", reach)
            ends, _ = tables.apply(x.astype(np.float32), np.full(len(x), -9e9 * sign, np.float32), x[:, 0])
            for point, end in zip(x, ends, strict=True):
                value = Fraction(g[0]) + sum(Fraction(a) * Fraction(b) for a, b in zip(F[0], point, strict=True))
                assert sign * (Fraction(float(end)) - value) >= 0


def test_limits_are_rounded_inwards(law, tmp_path):
    clip = ClipFilter(np.zeros((1, 2)), [-5.0], np.zeros((1, 2)), [5.0], -0.1, 0.3)
    tables = write_c(law, tmp_path, precision="float", clip=clip).reference.clip
    assert -0.1 < float(tables.u_min) < -0.1 + 1e-8
    assert 0.3 - 4e-8 < float(tables.u_max) < 0.3
    np.testing.assert_array_equal(tables.reach, np.maximum(np.abs(law.theta_min), np.abs(law.theta_max)))
    assert write_c(law, tmp_path, clip=clip).reference.clip.g_low[0] == -5.0


@needs_compiler
@PRECISIONS
def test_a_side_without_lines_is_left_to_the_limit(law, tmp_path, precision):
    clip = ClipFilter(np.zeros((0, 2)), [], [[-3.0, -1.0]], [0.5], -0.25, 0.5)
    export = write_c(law, tmp_path, precision=precision, clip=clip)
    assert check_c(export, law, n_points=900).ok
    x = np.random.default_rng(0).uniform(-0.2, 0.2, (300, 2))
    u, _ = export.reference.clip.apply(
        x.astype(export.reference.dtype), x[:, 0].astype(export.reference.dtype) * 9, x[:, 0]
    )
    np.testing.assert_allclose(u, clip(x, 9 * x[:, :1])[:, 0], atol=1e-5)
    assert u.min() == -0.25


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    return stop.value.code, json.loads(captured.out.splitlines()[-1]) if captured.out else None, captured.err


def test_a_certificate_on_the_command_line(certificate, law, tmp_path, capsys):
    path, proof, out = tmp_path / "law", tmp_path / "proof", tmp_path / "c"
    law.save(path)
    save_certificate(proof, certificate)
    code, found, _ = run(
        capsys, "export", "c", path, "--certificate", proof, "--out", out, "--precision", "float", "--no-check"
    )
    assert code == 0
    assert found["filter_lines"] == certificate.clip().n_rows
    text = (out / "controller_README.txt").read_text()
    assert "certificate of Pendulum, states theta [rad], theta_dot [rad/s]" in text
    assert "lower lines are rounded up" in text
    proof.write_bytes(proof.read_bytes()[:-40])
    code, _, error = run(capsys, "export", "c", path, "--certificate", proof, "--out", out)
    assert code == 2
    assert str(proof) in error


def test_a_controller_file_brings_its_filter(certificate, law, tmp_path, capsys):
    path, out = tmp_path / "controller", tmp_path / "c"
    save_controller(path, law, extension=controller_tensors(clip=certificate))
    code, found, _ = run(capsys, "export", "c", path, "--out", out, "--no-check")
    assert code == 0
    assert "certificate of Pendulum" in found["filter_source"]
    assert "Safety filter" in (out / "controller_README.txt").read_text()
    own = ClipTables.of(certificate)
    source = (out / "controller.c").read_text()
    assert all(float(value).hex() in source for value in (*own.g_low, *own.F_high.reshape(-1)))


def test_a_certificate_of_other_states_is_refused(certificate, law, tmp_path, capsys):
    replace(law, theta_names=("theta_dot", "theta")).save(tmp_path / "law")
    save_certificate(tmp_path / "proof", certificate)
    code, _, error = run(
        capsys, "export", "c", tmp_path / "law", "--certificate", tmp_path / "proof", "--out", tmp_path
    )
    assert code == 2
    assert "is for the states theta, theta_dot" in error.replace("\n", " ")
    with pytest.raises(ModelError, match="reach"):
        replace(ClipTables.of(certificate), reach=np.array([1.0, -1.0]))


@pytest.fixture(scope="module")
def two_inputs():
    """Two unstable states that each of two inputs moves, with the law that would hold them alone."""
    w = np.full((1, 2), 0.02)
    A, B = np.array([[[1.2, 0.1], [0.05, 1.15]]]), np.array([[[0.5, 0.15], [0.1, 0.45]]])
    inclusion = Inclusion(A, B, np.zeros((1, 2)), w, np.array([1]), {"push": w}, np.zeros(2), 0)
    said = Statement("pair", ("a", "b"), ("1", "1"), ("u", "v"), ("1", "1"), (), 1.0)
    certificate = certify(said, Domain([-1, -1], [1, 1], [-1, -1], [1, 1.5], [], []), inclusion, contraction=0.98)
    box = np.vstack([np.eye(2), -np.eye(2)])
    law = PwaLaw(
        row_start=np.array([0, 4]), H=box, k=np.full(4, 1.5), F=np.array([[[0.9, -0.4], [0.3, 0.8]]]),
        g=np.array([[0.1, -0.2]]), theta_min=np.full(2, -1.5), theta_max=np.full(2, 1.5), theta_names=("a", "b"),
        out_names=("u", "v"),
    )  # fmt: skip
    return certificate, law


@needs_compiler
def test_several_inputs_in_c_and_in_python(two_inputs, tmp_path):
    """The law pushes outwards; rows and the law of the projection in C give the bits of Python."""
    certificate, law = two_inputs
    safe_set = certificate.safe_set()
    export = write_c(law, tmp_path, clip=safe_set)
    assert [path.name for path in export.sources] == ["controller.c", "controller_projection.c"]
    assert check_c(export, law, n_points=3000, seed=1).ok
    library, draw = compiled(export, tmp_path), np.random.default_rng(2)
    x = np.concatenate([states(certificate, 1500), draw.uniform(-1.3, 1.3, (300, 2))])
    proposal, certified = draw.uniform(-2, 2, (len(x), 2)), export.reference.law(x)[0]
    proposal[::7, 0], proposal[1::7, 1], proposal[2::7, 0] = np.nan, np.inf, -np.inf
    function, real = ctypes.CDLL(str(library)).controller_filter, ctypes.c_double
    u, status = np.empty_like(proposal), np.empty(len(x), int)
    for i, rows in enumerate(zip(x, proposal, certified, strict=True)):
        given, out = [(real * 2)(*row) for row in rows], (real * 2)()
        status[i], u[i] = function(*given, out), out[:]
    wanted, wanted_status = export.reference.clip.apply(x, proposal, certified)
    np.testing.assert_array_equal(c_check.bits(u), c_check.bits(wanted))
    np.testing.assert_array_equal(status, wanted_status)
    assert {0, 3, 4, 5} <= set(status.tolist())
    safe = SafetyFilter(safe_set, law=law)
    inside = safe_set.contains(x)
    assert 5 not in status[inside]
    np.testing.assert_array_equal(u[inside], safe(x[inside], proposal[inside]))
    assert (np.abs(u - np.clip(proposal, [-1, -1], [1, 1.5]))[inside] > 0.1).any(axis=1).mean() > 0.1


def test_several_inputs_are_refused_in_float_and_for_another_law(two_inputs, certificate, law, tmp_path):
    with pytest.raises(ModelError, match="several inputs is written in double only"):
        write_c(two_inputs[1], tmp_path, precision="float", clip=two_inputs[0])
    with pytest.raises(ModelError, match="2 states and 2 inputs, the law maps 2 to 1"):
        write_c(law, tmp_path, clip=two_inputs[0])
    with pytest.raises(ModelError, match="2 states and 1 input, the law maps 2 to 2"):
        write_c(two_inputs[1], tmp_path, clip=certificate)
