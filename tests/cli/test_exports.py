"""`yannctl export c` with a budget, `yannctl export st` and `yannctl pil verify`."""

import json

import numpy as np
import pytest

from yannctl import LinearModel, Ocp, condense, solve_mpqp
from yannctl.cli.app import main
from yannctl.export import budget
from yannctl.export.pil import boards


@pytest.fixture(scope="module")
def law_file(tmp_path_factory):
    model = LinearModel([[1.0, 1.0], [0.0, 1.0]], [[0.5], [1.0]], dt=0.1)
    ocp = Ocp(model, Q=np.eye(2), R=[[0.1]], N=3, x_min=[-5, -5], x_max=[5, 5], u_min=[-1], u_max=[1], terminal="lqr")
    path = tmp_path_factory.mktemp("law") / "law.safetensors"
    solve_mpqp(condense(ocp)).save(path)
    return path


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, words), "--json"])
    out = capsys.readouterr().out.strip()
    return stop.value.code, json.loads(out.splitlines()[-1]) if out else None


@pytest.fixture
def emulated(tool):
    for name, package in boards.TOOLS.items():
        tool(name, package)


def test_pil_verify(law_file, capsys, emulated):
    code, found = run(capsys, "pil", "verify", law_file, "--points", 600, "--search", "tree")
    assert code == 0
    assert found["ok"]
    assert found["n_different_bits"] == 0
    assert found["n_points"] > 600


def test_a_budget_chooses_or_says_what_is_missing(law_file, tmp_path, capsys, emulated, monkeypatch):
    measure, measured = budget.forms_of, []

    def once(*parts):
        if not measured:
            measured.append(measure(*parts))
        return measured[0]

    monkeypatch.setattr(budget, "forms_of", once)
    out, plot = tmp_path / "c", tmp_path / "cost.png"
    words = ("export", "c", law_file, "--out", out)
    code, found = run(capsys, *words, "--max-instructions", 5000, "--flash", "16k", "--plot", plot)
    assert code == 0
    assert "chosen" in found
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "instructions median" in (out / "controller_README.txt").read_text()
    code, found = run(capsys, *words, "--max-instructions", 20, "--flash", "1k")
    assert code == 1
    assert "instructions too many and" in found["budget"]
    assert "B flash too many" in found["budget"]
    code, _ = run(capsys, *words, "--flash", "much")
    assert code == 2


def test_structured_text(law_file, tmp_path, capsys):
    code, found = run(capsys, "export", "st", law_file, "--out", tmp_path)
    assert code == 0
    assert found["verified_on_plc"] is False
    assert (tmp_path / "controller.st").exists()


def test_the_chain_of_proof(law_file, tmp_path, capsys, emulated):
    law, page = tmp_path / "mine.safetensors", tmp_path / "mine_proof" / "proof.html"
    law.write_bytes(law_file.read_bytes())
    code, found = run(capsys, "verify", law, "--points", 400, "--pil")
    assert code == 0
    assert [link["ok"] for link in found["chip"]] == [True] * 5
    assert json.loads(page.with_suffix(".json").read_text())["ok"] is True
    text = page.read_text()
    for link in ("law = online QP", "network", "C, double = law", "cortex-m4 (mps2-an386) = C", "cortex-m3"):
        assert link in text
