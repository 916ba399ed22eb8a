"""`yannctl verify` and `yannctl export onnx` on law files and controller files; exit code 1 for one wrong weight."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yannctl import LinearModel, Ocp, condense, solve_mpqp
from yannctl.cli.app import main
from yannctl.errors import FileFormatError, ModelError
from yannctl.export import load_policy, save_controller, save_policy
from yannctl.yann import Bounds, encode_actor, extend


def run(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    out = capsys.readouterr().out
    return int(stop.value.code or 0), json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def law():
    lin = LinearModel(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.5], [1.0]]))
    bounds = {"x_min": [-5.0, -5.0], "x_max": [5.0, 5.0], "u_min": [-1.0], "u_max": [1.0]}
    return solve_mpqp(condense(Ocp(lin, Q=np.eye(2), R=[[0.1]], N=3, **bounds)))


def test_every_form_of_a_law_file(law, tmp_path, capsys):
    law.save(tmp_path / "law")
    code, found = run(["verify", tmp_path / "law", "--points", "3000", "--json"], capsys)
    assert code == 0
    names = [entry["network"] for entry in found["networks"]]
    assert names == [f"{form}, {kind}" for form in ("gather", "five_layer", "lattice") for kind in ("double", "float")]
    assert found["law_max_error_at_corners"] <= 1e-8
    assert all(entry["bound"] < 1e-3 for entry in found["networks"])


def test_a_wrong_law_is_found(law, tmp_path, capsys):
    from dataclasses import replace

    g = law.g.copy()
    g[4] += 1e-6
    replace(law, g=g).save(tmp_path / "law")
    code, found = run(["verify", tmp_path / "law", "--points", "3000", "--json"], capsys)
    assert code == 1
    assert found["law_max_error_at_corners"] > 1e-8


def test_a_form_that_cannot_hold_the_law_is_a_row_with_the_reason(law, tmp_path, capsys):
    from dataclasses import replace

    g = law.g.copy()
    g[0] += 0.1
    replace(law, g=g).save(tmp_path / "law")
    code, found = run(["verify", tmp_path / "law", "--points", "300", "--json"], capsys)
    assert code == 1
    assert found["networks"][-1]["network"] == "lattice"
    assert "jumps by" in found["networks"][-1]["refused"]


@pytest.mark.parametrize("form", ["gather", "five_layer", "lattice"])
def test_one_wrong_weight_of_a_saved_network_is_found(law, tmp_path, capsys, form):
    actor = encode_actor(law, form)
    save_policy(tmp_path / "good", actor)
    code, found = run(["verify", tmp_path / "good", "--points", "1000", "--json"], capsys)
    assert code == 0
    assert [entry["network"] for entry in found["networks"]] == [f"{form}, as saved"]
    with torch.no_grad():
        weights = {"gather": "law.F", "five_layer": "law.suppressed.weight", "lattice": "law.0.F"}
        tensor = actor.state_dict()[weights[form]]
        if form == "five_layer":
            tensor = tensor[:, law.n_regions :]  # past M, which may be any larger number
        tensor[np.unravel_index(int(torch.argmax(tensor.abs())), tensor.shape)] += 1e-6
    save_policy(tmp_path / "bad", actor)
    code, found = run(["verify", tmp_path / "bad", "--points", "1000", "--json"], capsys)
    assert code == 1
    assert not found["networks"][0]["ok"]


def test_a_controller_file_without_network(law, tmp_path, capsys):
    save_controller(tmp_path / "law", law)
    code, found = run(["verify", tmp_path / "law", "--points", "500", "--json"], capsys)
    assert code == 0
    assert len(found["networks"]) == 6


def test_tuned_policy_to_onnx(law, tmp_path, capsys):
    policy = extend(encode_actor(law), Bounds([-5.0, -5.0], [5.0, 5.0], [-1.0], [1.0]), (8,))
    torch.nn.init.constant_(policy.learned[-1].bias, 0.3)
    save_policy(tmp_path / "policy", policy)
    code, found = run(["export", "onnx", tmp_path / "policy", "--out", tmp_path / "p.onnx", "--json"], capsys)
    assert code == 0
    assert found["max_error"] <= 1e-6
    assert (tmp_path / "p.onnx").stat().st_size == found["n_bytes"]
    assert torch.equal(load_policy(tmp_path / "policy")(torch.zeros(2)), policy(torch.zeros(2)))


@pytest.fixture(scope="module")
def certificate():
    """For the double integrator of `law`, with a small disturbance."""
    from yannctl.assurance import Domain, Inclusion, Statement, certify

    w = np.full((1, 2), 0.01)
    inclusion = Inclusion(
        np.array([[[1.0, 1.0], [0.0, 1.0]]]), np.array([[[0.5], [1.0]]]), np.zeros((1, 2)), w, np.array([1]),
        {"push": w}, np.zeros(2), 0,
    )  # fmt: skip
    domain = Domain([-5.0, -5.0], [5.0, 5.0], [-1.0], [1.0], [], [])
    statement = Statement("double integrator", ("x1", "x2"), ("m", "m/s"), ("u",), ("N",), (), 1.0)
    return certify(statement, domain, inclusion, contraction=0.99)


def test_a_certificate_travels_with_its_controller_and_is_proved_again(law, certificate, tmp_path, capsys):
    from yannctl.assurance import certificate_bytes, new_key, public_key
    from yannctl.export import attach_certificate, certificate_of, load_controller

    path, key = tmp_path / "c", new_key()
    save_controller(path, law, extension={"gain": [1.0]})
    content = attach_certificate(path, certificate_bytes(certificate, key))
    np.testing.assert_array_equal(content.extension["gain"], [1.0])
    found = certificate_of(load_controller(path), trusted=public_key(key))
    assert found.signed_by == public_key(key).hex()
    np.testing.assert_array_equal(found.found.H, certificate.found.H)
    with pytest.raises(FileFormatError, match="signature"):
        certificate_of(content, trusted=public_key(new_key()))
    code, out = run(["verify", path, "--points", "1000", "--json"], capsys)
    assert code == 0
    assert out["certificate"]["ok"]
    assert out["certificate"]["inequalities"] == certificate.check().n_checked


def test_code_of_a_policy_brings_the_filter_of_its_certificate(law, certificate, tmp_path):
    from yannctl.assurance import certificate_bytes
    from yannctl.export import attach_certificate, read_parts

    policy = extend(encode_actor(law), Bounds([-5.0, -5.0], [5.0, 5.0], [-1.0], [1.0]), (8,))
    save_policy(tmp_path / "policy", policy)
    assert read_parts(tmp_path / "policy")[2] is None
    attach_certificate(tmp_path / "policy", certificate_bytes(certificate))
    _, residual, clip = read_parts(tmp_path / "policy")
    assert residual is not None
    np.testing.assert_array_equal(clip.F_low, certificate.clip().F_low)
    np.testing.assert_array_equal(clip.g_high, certificate.clip().g_high)


def test_the_filter_in_the_file_is_written_to_c_without_being_asked_for(law, certificate, tmp_path, capsys):
    from dataclasses import replace

    from yannctl.assurance import certificate_bytes
    from yannctl.errors import ModelError
    from yannctl.export import attach_certificate, read_parts

    foreign = replace(certificate, statement=replace(certificate.statement, x_names=("y1", "y2")))
    save_controller(tmp_path / "c", law)
    attach_certificate(tmp_path / "c", certificate_bytes(certificate))
    words = ["export", "c", tmp_path / "c", "--out", tmp_path / "code", "--no-check", "--json"]
    assert run(words, capsys)[0] == 0
    text = "".join(path.read_text() for path in (tmp_path / "code").glob("*.[ch]"))
    assert "filter(theta, u[0]" in text
    assert read_parts(tmp_path / "c")[2].n_rows == certificate.clip().n_rows
    attach_certificate(tmp_path / "c", certificate_bytes(foreign))
    with pytest.raises(ModelError, match="is for the states y1, y2"):
        read_parts(tmp_path / "c")


def test_a_trusted_key_asks_for_a_signed_certificate(law, certificate, tmp_path, capsys):
    from yannctl.assurance import certificate_bytes, new_key, public_key
    from yannctl.export import attach_certificate

    path, key = tmp_path / "c", new_key()
    (tmp_path / "public").write_bytes(public_key(key))
    words = ["verify", path, "--points", "500", "--trusted", tmp_path / "public", "--json"]
    save_controller(path, law)
    code, out = run(words, capsys)
    assert (code, out["certificate"]["ok"]) == (1, False)
    attach_certificate(path, certificate_bytes(certificate))
    code, out = run(words, capsys)
    assert code == 1
    assert "not signed" in out["certificate"]["failure"]
    attach_certificate(path, certificate_bytes(certificate, key))
    code, out = run(words, capsys)
    assert code == 0
    assert out["certificate"]["signed_by"] == public_key(key).hex()


def test_a_wrong_certificate_in_a_controller_is_named_with_its_row(law, certificate, tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    from yannctl.assurance import certificate_bytes
    from yannctl.export import attach_certificate, controller_file

    path = tmp_path / "c"
    save_controller(path, law)
    h = certificate.found.h.copy()
    h[0] += 0.5
    wrong = certificate_bytes(replace(certificate, found=replace(certificate.found, h=h)))
    with pytest.raises(FileFormatError, match="proof does not hold"):
        attach_certificate(path, wrong)
    # Written all the same, with a digest that fits.
    with monkeypatch.context() as patch:
        patch.setattr(controller_file, "certificate_of", lambda *_: None)
        attach_certificate(path, wrong)
    code, out = run(["verify", path, "--points", "1000", "--json"], capsys)
    assert code == 1
    assert not out["certificate"]["ok"]
    assert "row" in out["certificate"]["failure"] or "corner" in out["certificate"]["failure"]


def test_a_wrong_analytic_certificate_is_refused_although_it_is_signed(law, tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    from yannctl.assurance import ANALYTIC, certificate_bytes, new_key, public_key
    from yannctl.export import attach_certificate, controller_file

    path, key, right = tmp_path / "c", new_key(), ANALYTIC["robot-stop"]()
    save_controller(path, law)
    attach_certificate(path, certificate_bytes(right, key))
    assert run(["verify", path, "--points", "1000", "--trusted", public_key(key).hex(), "--json"], capsys)[0] == 0
    numbers = {**right.numbers, "decay": right.numbers["decay"] * 0.9}
    wrong = certificate_bytes(replace(right, numbers=numbers), key)
    with pytest.raises(FileFormatError, match="proof does not hold: the decay of a period with the largest lag"):
        attach_certificate(path, wrong)
    with monkeypatch.context() as patch:
        patch.setattr(controller_file, "certificate_of", lambda *_: None)
        attach_certificate(path, wrong)
    code, out = run(["verify", path, "--points", "1000", "--trusted", public_key(key).hex(), "--json"], capsys)
    assert code == 1
    assert "the decay of a period with the largest lag is not above exp(-dt / lag)" in out["certificate"]["failure"]


@pytest.mark.parametrize(("name", "statements"), [("CSTR", 6361), ("DifferentialDrive", 18)])
def test_training_writes_the_certificate_of_an_analytic_set_into_the_policy(name, statements, tmp_path):
    import gymnasium

    from yannctl import PwaLaw
    from yannctl.cli.console import Output
    from yannctl.cli.training import _controller
    from yannctl.export import certificate_of, load_controller, read_parts
    from yannctl.rl.safeguard import safeguard_of
    from yannctl.rl.task import task_of

    env = gymnasium.make(f"yannctl/{name}-v0")
    plant, task = env.unwrapped.plant, task_of(env)
    n, nu = plant.nx, plant.nu
    made = PwaLaw(
        row_start=np.array([0, 2 * n]), H=np.vstack([np.eye(n), -np.eye(n)]), k=np.full(2 * n, 1e3),
        F=np.zeros((1, nu, n)), g=plant.u_min[None], theta_min=np.full(n, -1e3), theta_max=np.full(n, 1e3),
        theta_names=plant.x_names, out_names=plant.u_names,
    )  # fmt: skip
    result = SimpleNamespace(safeguard=safeguard_of(env, task), deployed=encode_actor(made, form="gather"))
    written = _controller(result, env, tmp_path, Output(True))
    assert written["certified"]
    carried = certificate_of(load_controller(written["controller"]))  # proved again
    assert (carried.statement.plant, carried.check().n_checked) == (name, statements)
    with pytest.raises(ModelError, match="no clip to lines"):
        read_parts(written["controller"])
    law, residual, clip = read_parts(written["controller"], bare=True)
    assert (law.n_out, residual, clip) == (nu, None, None)


def test_a_certificate_for_other_states_is_refused(law, certificate, tmp_path):
    from yannctl.assurance import certificate_bytes
    from yannctl.export import attach_certificate
    from yannctl.models import Pendulum

    path = tmp_path / "c"
    save_controller(path, law, plant=Pendulum())
    with pytest.raises(FileFormatError, match="its certificate is for x_names"):
        attach_certificate(path, certificate_bytes(certificate))
