"""`yannctl verify` and `yannctl export onnx` on law files and controller files; exit code 1 for one wrong weight."""

import json

import numpy as np
import pytest
import torch

from yannctl import LinearModel, Ocp, condense, solve_mpqp
from yannctl.cli.app import main
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
        tensor.view(-1)[int(torch.argmax(tensor.abs()))] += 1e-6
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
