import ast
import json
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import yannctl.assurance.analytic_checker as checker_module
from yannctl.assurance import (
    ANALYTIC,
    Filtered,
    check_analytic,
    load_certificate,
    new_key,
    public_key,
    save_certificate,
)
from yannctl.assurance.fixed_point import FixedInterval
from yannctl.cli.app import main
from yannctl.errors import FileFormatError, ModelError

ONE = 1 << 128


@pytest.fixture(scope="module")
def certificates():
    return {name: make() for name, make in ANALYTIC.items()}


@settings(deadline=None)
@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.01, 30))
def test_integer_intervals_hold_the_exact_results(a, b, c):
    x, y, z = (FixedInterval.of(value) for value in (a, b, c))
    for made, exact in (
        (x + y, Fraction(a) + Fraction(b)), (x - y, Fraction(a) - Fraction(b)), (x * y, Fraction(a) * Fraction(b)),
        (x / z, Fraction(a) / Fraction(c)), (-x, -Fraction(a)),
    ):  # fmt: skip
        assert Fraction(made.low, ONE) <= exact <= Fraction(made.high, ONE)
        assert made.high - made.low < 1 << 20
    with localcontext() as context:
        context.prec = 70
        exact = Decimal(a).exp()
        made = x.exp()
        assert Decimal(made.low) / ONE - Decimal(10) ** -40 <= exact <= Decimal(made.high) / ONE + Decimal(10) ** -40
        assert Decimal(made.high - made.low) / ONE < exact * Decimal(10) ** -25 + Decimal(10) ** -30


@pytest.mark.parametrize("name", ANALYTIC)
def test_a_certificate_comes_back_signed_and_its_set_filters_the_same(certificates, name, tmp_path):
    from yannctl.assurance import reactor_barrier, robot_stopping_set

    certificate, key, path = certificates[name], new_key(), tmp_path / "certificate"
    save_certificate(path, certificate, key)
    back = load_certificate(path, public_key(key))
    assert back.statement == certificate.statement
    assert back.signed_by == public_key(key).hex()
    assert back.check().n_checked == certificate.check().n_checked > 10
    original = reactor_barrier() if name == "reactor-limit" else robot_stopping_set()
    rng = np.random.default_rng(0)
    low, high = ([0.2, 320], [0.9, 350]) if original.nx == 2 else ([-0.1, -1, 0, -1, 0], [0.1, 1, 0.2, 1, 1])
    x = rng.uniform(low, high, (300, original.nx))
    made = back.safe_set()
    np.testing.assert_array_equal(made.margin(x), original.margin(x))
    x = x[original.contains(x)][:50]
    u = rng.uniform(original.u_min, original.u_max, (len(x), original.nu))
    np.testing.assert_array_equal(made.enclose(x, u), original.enclose(x, u))
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(FileFormatError, match="signature does not fit"):
        load_certificate(path, public_key(key))


def test_a_controller_is_filtered_by_its_certificate(certificates):
    class Racer:
        nx, nu = 5, 2

        def __call__(self, x, reference=None):
            return np.full((*np.shape(x)[:-1], 2), [0.22, 2.0])

        def reset(self):
            """Nothing to forget."""

    controller = Filtered(Racer(), certificates["robot-stop"])
    given = controller(np.array([[0.09, 0.5, 0.05, 0.0, 0.0]]))
    assert controller.last is not None
    assert controller.last.changed.all()
    assert given[0, 0] < 0.1


def spoil_barrier(numbers, kind, share, rng):
    """Move one number of a barrier far enough to break a segment or a premise."""
    if kind == 0:
        numbers["corners"][int(rng.integers(1, len(numbers["corners"]))), 1] += rng.uniform(0.6, 3.0)
    elif kind == 1:
        numbers["corners"][:, 1] += rng.uniform(1, 5)
    elif kind == 2:
        numbers["coolant"][0] += rng.uniform(1.5, 20)
    elif kind == 3:
        numbers["p_max"][0] *= 1.02 + share
    elif kind == 4:
        numbers["p_min"][1] *= 0.98 - share
    else:
        numbers["room"] *= 1.2 + share


def spoil_stopping(numbers, kind, share, rng):
    """Move one number of a stopping set far enough to break a premise."""
    if kind == 0:
        numbers["bend"] *= 1 - share
    elif kind == 1:
        numbers["lag"] = numbers["lag"][::-1] * (1 + share)
    elif kind in (2, 3):
        numbers["decay"][kind - 2] *= 1 + (share if kind == 2 else -share)
    elif kind == 4:
        numbers["u_min"][int(rng.integers(2))] += 0.01 + share + 3.0
    else:
        numbers["corridor"][1] *= 1 + share


def mutants(certificate, n):
    """Copies of a certificate's numbers, each moved the wrong way somewhere."""
    rng = np.random.default_rng(1)
    spoil = spoil_barrier if certificate.form == "barrier" else spoil_stopping
    for k in range(n):
        numbers = {name: np.array(value, float) for name, value in certificate.numbers.items()}
        spoil(numbers, k % 6, 10.0 ** rng.uniform(-2, -0.5), rng)
        yield numbers


@pytest.mark.parametrize(("name", "n"), [("reactor-limit", 24), ("robot-stop", 300)])
def test_every_mutant_is_refused(certificates, name, n):
    certificate = certificates[name]
    for numbers in mutants(certificate, n):
        assert not check_analytic(certificate.form, numbers, certificate.statement.dt).ok


@pytest.mark.slow
def test_a_thousand_mutants_of_the_barrier_are_refused(certificates):
    certificate = certificates["reactor-limit"]
    for numbers in mutants(certificate, 1000):
        assert not check_analytic("barrier", numbers, 0.1).ok


def test_a_signed_file_with_a_wrong_border_is_refused_and_its_segment_named(certificates, tmp_path, capsys):
    certificate, key, path = certificates["reactor-limit"], new_key(), tmp_path / "wrong.certificate"
    corners = certificate.numbers["corners"].copy()
    corners[40, 1] += 0.5
    save_certificate(path, replace(certificate, numbers={**certificate.numbers, "corners": corners}), key)
    with pytest.raises(FileFormatError, match=r"proof does not hold: segment (40|41)"):
        load_certificate(path, public_key(key))
    (tmp_path / "key.pub").write_bytes(public_key(key))
    with pytest.raises(SystemExit) as end:
        main(["verify", str(path), "--trusted", str(tmp_path / "key.pub"), "--json"])
    assert end.value.code == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "segment 40" in found["certificate"]["failure"]


def test_verify_reports_who_signed_and_who_should_have(certificates, tmp_path, capsys):
    certificate, key, path = certificates["robot-stop"], new_key(), tmp_path / "robot.certificate"

    def verify(*words):
        with pytest.raises(SystemExit) as end:
            main(["verify", str(path), *words, "--json"])
        return end.value.code, json.loads(capsys.readouterr().out.splitlines()[-1])

    save_certificate(path, certificate)
    assert verify()[0] == 0
    code, found = verify("--trusted", public_key(key).hex())
    assert code == 1
    assert "not signed" in found["certificate"]["failure"]
    save_certificate(path, certificate, key)
    code, found = verify("--trusted", public_key(key).hex())
    assert code == 0
    assert found["certificate"]["signed_by"] == public_key(key).hex()
    code, found = verify("--trusted", public_key(new_key()).hex())
    assert code == 1
    assert "another key" in found["certificate"]["failure"]


def test_damaged_numbers_are_a_verdict_and_no_crash(certificates):
    certificate = certificates["reactor-limit"]
    for name, value in (
        ("corners", np.full((3, 2), np.nan)), ("corners", np.ones((3, 3))), ("pieces", [1e9]), ("pieces", [0.5]),
        ("reactor", np.zeros(9)), ("reactor", np.ones(2)), ("limits", [365.0]), ("coolant", [320.0, 280.0]),
        ("depth", [-1.0]), ("p_min", [0.0, 0.0]),
    ):  # fmt: skip
        numbers = {**certificate.numbers, name: np.asarray(value, float)}
        assert not check_analytic("barrier", numbers, 0.1).ok
    assert not check_analytic("barrier", {}, 0.1).ok
    assert not check_analytic("sphere", certificate.numbers, 0.1).ok


def test_c_code_refuses_a_filter_it_cannot_hold(certificates):
    from yannctl.export.clip_tables import ClipTables

    with pytest.raises(ModelError, match="filter"):
        ClipTables.of(certificates["reactor-limit"])


def test_the_checker_stands_alone():
    """It imports the standard library, numpy, and modules of the same kind."""
    home = Path(checker_module.__file__)
    for path in (home, home.with_name("fixed_point.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= {"time", "typing", "numpy"}
            if isinstance(node, ast.ImportFrom):
                own = {"checker", "exact_numbers", "fixed_point"}
                assert node.module in own if node.level else node.module.split(".")[0] != "yannctl"
