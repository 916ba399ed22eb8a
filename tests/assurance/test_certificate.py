import ast
from pathlib import Path

import numpy as np
import pytest

import yannctl.assurance.checker as checker_module
from yannctl.assurance import check_polytopic, load_certificate, new_key, public_key, save_certificate
from yannctl.errors import FileFormatError
from yannctl.tape import ExpressionTape

SHARES = {"pendulum-upright": 0.85, "robot-corridor": 0.85, "reactor-point": 0.65}
FAST = ("pendulum-upright", "robot-corridor")


@pytest.mark.parametrize("name", FAST)
def test_the_set_covers_its_share_and_passes_the_exact_check(designs, name):
    certificate = designs(name)[1]
    assert certificate.share >= SHARES[name]
    report = certificate.check()
    assert report.ok, report.failure
    assert report.n_checked > 10_000
    assert certificate.clip().n_rows <= 300


@pytest.mark.slow
def test_the_reactor_passes_too(designs):
    certificate = designs("reactor-point")[1]
    assert certificate.share >= SHARES["reactor-point"]
    assert certificate.check().ok


@pytest.mark.parametrize("name", FAST)
def test_no_input_leads_out_of_the_set_on_the_nonlinear_plant(designs, name):
    chosen, certificate = designs(name)
    step = ExpressionTape.from_function(chosen.step)
    clip, H, h, d = certificate.clip(), certificate.found.H, certificate.found.h, chosen.domain
    rng = np.random.default_rng(0)
    x = rng.uniform(d.x_min, d.x_max, (20_000, 2))
    x = x[(x @ H.T <= h).all(axis=1)]
    # The border matters most.
    weights = rng.dirichlet(np.full(len(certificate.found.vertices), 0.05), 5000)
    x = np.vstack([x, weights @ certificate.found.vertices])
    u = clip(x, rng.uniform(2 * d.u_min, 2 * d.u_max, (len(x), 1)))
    corner = rng.random((len(x), d.p_min.size)) < 0.5
    p = np.where(corner, d.p_min, d.p_max)
    after = step.evaluate(x, u, p)
    assert ((after @ H.T - h) / np.linalg.norm(H, axis=1)).max() <= 0
    interval = clip.interval(x)
    assert (interval[:, 0] <= interval[:, 1]).all()
    # Some proposals were changed, some were not: the filter is neither idle nor a fixed law.
    proposed = rng.uniform(d.u_min, d.u_max, (len(x), 1))
    changed = (clip(x, proposed) != proposed).mean()
    assert 0.02 < changed < 0.98


def test_a_held_input_stays_inside_for_the_stated_periods(designs):
    chosen, certificate = designs("pendulum-upright")
    assert certificate.n_cert == 1
    step = ExpressionTape.from_function(chosen.step)
    H, h, d = certificate.found.H, certificate.found.h, chosen.domain
    rng = np.random.default_rng(1)
    x = rng.dirichlet(np.full(len(certificate.found.vertices), 0.05), 5000) @ certificate.found.vertices
    u = certificate.clip()(x, rng.uniform(-2, 2, (len(x), 1)))
    p = np.where(rng.random((len(x), 2)) < 0.5, d.p_min, d.p_max)
    twice = step.evaluate(step.evaluate(x, u, p), u, p)
    assert (twice @ H.T - h).max() <= 0


def test_a_signed_file_comes_back_and_every_changed_byte_is_refused(designs, tmp_path):
    certificate, key = designs("robot-corridor")[1], new_key()
    path = tmp_path / "certificate"
    save_certificate(path, certificate, key)
    back = load_certificate(path, public_key(key))
    for name, array in certificate.arrays().items():
        np.testing.assert_array_equal(back.arrays()[name], array)
    assert back.statement == certificate.statement
    assert back.signed_by == public_key(key).hex()
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in (0, 5, 8, 60, *rng.integers(8, len(raw), 40)):
        changed = bytearray(raw)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        with pytest.raises(FileFormatError):
            load_certificate(path, public_key(key))
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(FileFormatError):
        load_certificate(path, public_key(key))


def test_unsigned_and_foreign_files_are_refused_where_a_key_is_asked_for(designs, tmp_path):
    certificate = designs("robot-corridor")[1]
    path = tmp_path / "certificate"
    save_certificate(path, certificate)
    assert load_certificate(path).signed_by == ""
    with pytest.raises(FileFormatError, match="not signed"):
        load_certificate(path, public_key(new_key()))
    save_certificate(path, certificate, new_key())
    with pytest.raises(FileFormatError, match="signature does not fit"):
        load_certificate(path, public_key(new_key()))


def test_a_signed_file_with_a_wrong_proof_is_refused_with_its_row(designs, tmp_path):
    from dataclasses import replace

    certificate, key = designs("robot-corridor")[1], new_key()
    w = certificate.inclusion.w.copy()
    w[3] += 0.02
    wrong = replace(certificate, inclusion=replace_array(certificate.inclusion, w=w))
    save_certificate(tmp_path / "wrong", wrong, key)
    with pytest.raises(FileFormatError, match=r"proof does not hold: .*model 3.*row"):
        load_certificate(tmp_path / "wrong", public_key(key))


def replace_array(inclusion, **changes):
    names = ("A", "B", "c", "w", "periods", "terms", "sensor", "delay")
    return type(inclusion)(**{name: changes.get(name, getattr(inclusion, name)) for name in names})


def test_the_checker_stands_alone():
    """It and its exact numbers import the standard library and numpy alone, and each other."""
    home = Path(checker_module.__file__)
    modules = set()
    for path in (home, home.with_name("exact_numbers.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.level:
                assert (path, node.module) == (home, "exact_numbers")
            elif isinstance(node, ast.ImportFrom):
                modules.add((node.module or "").split(".")[0])
    assert modules <= {"math", "time", "collections", "dataclasses", "fractions", "itertools", "typing", "numpy"}


def violation(data):
    """Largest violation of an inequality, in floats and by other code than the checker's: vertices by brute force."""
    H, h = data["H"], data["h"]
    corners = np.array([np.linalg.solve(H[list(b)], h[list(b)]) for b in data["bases"]])
    after = np.einsum("mij,vj->mvi", data["A"], corners) + np.einsum("mij,vj->mvi", data["B"], data["inputs"])
    left = (after + data["c"][:, None]) @ H.T + (data["w"] @ np.abs(H).T)[:, None]
    worst = (left - h + data["tightening"]).max()
    worst = max(
        worst, (corners - data["x_max"] + data["sensor"]).max(), (data["x_min"] + data["sensor"] - corners).max()
    )
    worst = max(worst, (data["inputs"] - data["u_max"]).max(), (data["u_min"] - data["inputs"]).max())
    worst = max(worst, (H @ corners.T - h[:, None]).max(), (data["terms"].sum(axis=0) - data["w"]).max())
    return max(worst, -data["tightening"].min(), -data["terms"].min())


def mutants(data, n, seed):
    """Certificates with one number, row or input changed so that an inequality is violated by 1e-6 or more."""
    rng = np.random.default_rng(seed)
    names = ("H", "h", "inputs", "A", "B", "c", "w", "terms", "x_min", "x_max", "u_min", "u_max", "tightening")
    made = 0
    while made < n:
        name = names[rng.integers(len(names))]
        changed = {key: value.copy() for key, value in data.items()}
        flat = changed[name].reshape(-1)
        at = rng.integers(flat.size)
        scale = max(abs(flat[at]), np.abs(flat).mean(), 1e-3)
        flat[at] += rng.choice([-1.0, 1.0]) * scale * 10.0 ** rng.uniform(-5, 1)
        try:
            if violation(changed) < 1e-6:
                continue
        except np.linalg.LinAlgError:
            continue
        made += 1
        yield name, changed


def refused(certificate, n, seed):
    data = certificate.arrays()
    assert violation(data) <= 1e-12
    missed = []
    for name, changed in mutants(data, n, seed):
        report = check_polytopic(changed, certificate.n_cert, certificate.inclusion.delay)
        if report.ok:
            missed.append(name)
        else:
            assert any(word in report.failure for word in ("row", "corner", "model", "negative")), report.failure
    return missed


def test_mutants_are_refused(designs):
    assert not refused(designs("robot-corridor")[1], 40, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), [("pendulum-upright", 4950), ("robot-corridor", 4950), ("reactor-point", 100)])
def test_many_mutants_are_refused(designs, name, n):
    assert not refused(designs(name)[1], n, 1)


def test_a_missing_corner_and_a_missing_filter_row_are_found(designs):
    certificate = designs("robot-corridor")[1]
    data = certificate.arrays()
    fewer = dict(data, bases=data["bases"][1:], inputs=data["inputs"][1:], vertices=data["vertices"][1:])
    assert "not listed" in check_polytopic(fewer, 0, 0).failure
    # A kept row that is left out has no proof that holds.
    row = data["kept"][0]
    width = data["proof"].shape[1]
    without = dict(
        data,
        kept=data["kept"][1:],
        implied=np.append(data["implied"], row),
        proof=np.vstack([data["proof"], np.full(width, -1)]),
        weights=np.vstack([data["weights"], np.zeros(width)]),
    )
    report = check_polytopic(without, 0, 0)
    assert not report.ok
    assert "row" in report.failure
    assert "no model spans 2 periods" in check_polytopic(data, 1, 0).failure


def test_encoder_delay_and_rate_limit_are_part_of_the_proof(designs, tmp_path):
    """State (theta, theta_dot, torque sent): readings with errors stay inside, no step of torque is too large."""
    chosen, certificate = designs("pendulum-encoder")
    assert certificate.share >= 0.6
    assert certificate.statement.x_names[-1].startswith("sent ")
    assert certificate.check().ok
    step, E = ExpressionTape.from_function(chosen.step), chosen.sensor
    H, h, d, clip = certificate.found.H, certificate.found.h, chosen.domain, certificate.clip()
    rng = np.random.default_rng(2)
    z = rng.dirichlet(np.full(len(certificate.found.vertices), 0.03), 20_000) @ certificate.found.vertices
    u = clip(z, rng.uniform(-2, 2, (len(z), 1)))
    assert (np.abs(u - z[:, 2:]) <= 2.0 + 1e-12).all()
    # One whole period: error of the reading, old torque at work, new error.
    true = z[:, :2] - np.where(rng.random((len(z), 2)) < 0.5, -E, E)
    p = np.where(rng.random((len(z), 2)) < 0.5, d.p_min, d.p_max)
    after = step.evaluate(true, np.ascontiguousarray(z[:, 2:]), p)
    assert (np.abs(after) <= d.x_max).all()
    reading = after + np.where(rng.random((len(z), 2)) < 0.5, -E, E)
    assert (np.hstack([reading, u]) @ H.T - h).max() <= 1e-12
    save_certificate(tmp_path / "encoder", certificate)
    back = load_certificate(tmp_path / "encoder")
    np.testing.assert_array_equal(back.domain.u_rate, [2.0])
    np.testing.assert_array_equal(back.clip()(z[:50], u[:50] + 3), clip(z[:50], u[:50] + 3))


def test_a_rate_limit_that_does_not_hold_is_named(designs):
    certificate = designs("pendulum-encoder")[1]
    arrays = certificate.arrays()
    report = check_polytopic(arrays, certificate.n_cert, 1, [1.0])
    assert not report.ok
    assert "rate limit" in report.failure
    without = designs("pendulum-upright")[1]
    assert "does not hold the input sent" in check_polytopic(without.arrays(), without.n_cert, 0, [1.0]).failure


@pytest.mark.slow
def test_readings_with_errors_are_attacked_too():
    from yannctl.assurance import attack, target

    outcome = attack(target("pendulum-encoder"), "greedy", 4000, 200, seed=3)
    assert outcome.violations == outcome.exits == outcome.infeasible == 0
    assert outcome.unfiltered_violated >= 0.9
