"""The command line: help that reads, bad input in one line with exit code 2, JSON last on standard output."""

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import yannctl.cli.operation
from yannctl import condense, solve_mpqp
from yannctl.assurance.targets import certified
from yannctl.cli.app import main
from yannctl.cli.machine import EXTRAS
from yannctl.cli.problem_file import read_problem
from yannctl.models import Pendulum
from yannctl.yann import encode_actor, verify

PROBLEM = """
[model]
A = [[1.0, 1.0], [0.0, 1.0]]
B = [[0.5], [1.0]]
dt = 1.0
[weights]
Q = [[1.0, 0.0], [0.0, 1.0]]
R = [[0.1]]
N = 3
[bounds]
x_min = [-5.0, -5.0]
x_max = [5.0, 5.0]
u_min = [-1.0]
u_max = [1.0]
"""


def run(arguments: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.toml"
    path.write_text(PROBLEM)
    return path


@pytest.mark.parametrize("command", ["demo", "solve", "verify", "train", "export", "bench", "doctor", "eval", "tune"])
def test_every_command_is_listed_and_explains_itself(command, capsys):
    _, overview, _ = run(["--help"], capsys)
    code, text, _ = run([command, "--help"], capsys)
    assert command in overview
    assert code == 0
    assert "Usage" in text


def test_solve_verify_and_export_follow_one_another(problem, tmp_path, capsys):
    law = tmp_path / "law.safetensors"
    code, out, _ = run(["solve", str(problem), "--out", str(law), "--json"], capsys)
    solved = json.loads(out.splitlines()[-1])
    assert code == 0
    assert solved["status"] == "complete"
    assert solved["audit_open_facets"] == 0
    code, out, _ = run(["verify", str(law), "--points", "2000", "--json"], capsys)
    verified = json.loads(out.splitlines()[-1])
    assert code == 0
    assert verified["ok"]
    assert verified["coverage"] == 1.0
    code, out, _ = run(["export", "c", str(law), "--out", str(tmp_path / "c"), "--json"], capsys)
    exported = json.loads(out.splitlines()[-1])
    assert code == 0
    assert all(Path(file).is_file() for file in exported["files"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("dt = 1.0", ""), "model.dt"),
        (("N = 3", "N = 0"), "N"),
        (("N = 3", 'N = "three"'), "weights.N"),
        (("R = [[0.1]]", "R = [[-0.1]]"), "R"),
        (("[weights]", "[weigths]"), "weigths"),
        (("u_min = [-1.0]", "u_min = [2.0]"), "u_m"),
        (("B = [[0.5], [1.0]]", "B = [[0.5], [nan]]"), "B[1, 0]"),
        (("[model]", "[model"), "TOML"),
        (("Q = [[1.0, 0.0], [0.0, 1.0]]", "Q = [1, 2, 3]"), "(2, 2)"),
        (("Q = [[1.0, 0.0], [0.0, 1.0]]", "Q = [1, true]"), "weights.Q: give a matrix"),
        (("R = [[0.1]]", 'R = "0.1"'), "weights.R: give a matrix"),
    ],
)
def test_bad_problem_is_one_line_and_exit_code_2(change, named, problem, capsys):
    problem.write_text(PROBLEM.replace(*change))
    code, out, err = run(["solve", str(problem), "--out", str(problem.with_suffix(".st"))], capsys)
    assert code == 2
    assert err.count("\n") == 1
    assert named in err
    assert "Traceback" not in out + err
    assert not problem.with_suffix(".st").exists()


def test_weights_may_be_a_diagonal_or_one_number(problem):
    matrices = read_problem(problem)
    problem.write_text(PROBLEM.replace("Q = [[1.0, 0.0], [0.0, 1.0]]", "Q = [1, 1]").replace("[[0.1]]", "0.1"))
    short = read_problem(problem)
    np.testing.assert_array_equal(short.Q, matrices.Q)
    np.testing.assert_array_equal(short.R, matrices.R)


@pytest.mark.parametrize("command", [["verify"], ["export", "c"], ["export", "st"], ["pil", "verify"]])
def test_a_problem_in_place_of_a_law_names_the_command_that_solves_it(command, problem, capsys):
    code, _, err = run([*command, str(problem)], capsys)
    assert code == 2
    assert f"solve it first, 'yannctl solve {problem} --out problem.safetensors'" in err


def test_public_results_show_as_one_line(problem):
    ocp = read_problem(problem)
    mpqp = condense(ocp)
    law = solve_mpqp(mpqp)
    plant = Pendulum()
    shown = {
        "LinearModel(x = (x1, x2), u = (u1)": ocp.lin,
        "Ocp((x1, x2) -> (u1), N = 3": ocp,
        "MpQp(3 decisions": mpqp,
        "PwaLaw(complete": law,
        "Verification(holds": verify(encode_actor(law), law, n_random=100, n_facet=10),
        "Rollout(2 runs of 3 steps": plant.rollout(lambda x: np.zeros((len(x), 1)), np.zeros((2, 2)), 3),
        "Certificate(Pendulum": certified("pendulum-upright")[1],
    }
    for begin, result in shown.items():
        assert repr(result).startswith(begin)
        assert "\n" not in repr(result)
        assert len(repr(result)) < 200


@pytest.mark.parametrize(
    "arguments",
    [
        ["solve", "missing.toml"],
        ["verify", "missing.safetensors"],
        ["export", "c", "missing.safetensors"],
        ["nonsense"],
        ["solve"],
        ["bench", "nonsense"],
        ["demo", "rocket"],
        ["train", "--env", "CartPole-v1"],
        ["train", "--env", "yannctl/CSTR-v0", "--filter", "pendulum-upright"],
        ["train", "--filter", "nonsense"],
        ["train", "--recipe", "published"],
        ["train", "--profile", "published", "--algorithm", "td3"],
        ["train", "--steps", "many"],
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, capsys):
    code, _, err = run(arguments, capsys)
    assert code == 2
    assert err.startswith("yannctl: ")
    assert err.count("\n") == 1


def test_a_file_that_is_no_law_is_refused(tmp_path, capsys):
    path = tmp_path / "law.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      rubbish")
    code, _, err = run(["verify", str(path)], capsys)
    assert code == 2
    assert str(path.name) in err


def test_doctor_prints_what_the_machine_has_and_what_optional_parts_lack(capsys, monkeypatch):
    known = importlib.metadata.version

    def version(name):
        if name == "asyncua":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, out, _ = run(["doctor", "--json"], capsys)
    found = json.loads(out.splitlines()[-1])
    assert code == 0
    assert found["packages"]["numpy"]
    assert found["missing"]["opcua"] == ["asyncua"]
    code, out, _ = run(["doctor"], capsys)
    assert "yannctl[opcua]" in out


def test_doctor_knows_every_extra():
    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {extra: {re.match(r"[\w-]+", line)[0] for line in lines} for extra, lines in declared.items()}
    del names["dev"]
    assert {extra: set(packages) for extra, (_, packages) in EXTRAS.items()} == names


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["rig.toml", "--law", "law.safetensors"], "--law: is not taken"),
        (["rig.toml", "--env", "yannctl/CSTR-v0"], "--env: is not taken"),
        (["rig.yaml"], "give CONFIG.toml"),
    ],
)
def test_training_on_a_rig_takes_no_second_opinion(words, why, capsys):
    code, _, err = run(["train", "--rig", *words], capsys)
    assert code == 2
    assert why in err


def test_training_on_a_rig_goes_through_the_bridge(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(yannctl.cli.operation, "learn", lambda *arguments: asked.append(arguments))
    words = ["--rig", "rig.toml", "--steps", "9", "--seed", "3", "--set", "width=8", "--out", str(tmp_path)]
    assert run(["train", *words], capsys)[0] == 0
    assert asked == [(Path("rig.toml"), 9, "dsact", 3, ["width=8"], tmp_path, False)]


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path, capsys):
    mine = tmp_path / "training" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    code, _, err = run(["demo", "--short", "--out", str(tmp_path)], capsys)
    assert code == 2
    assert "not a training folder of ours" in err
    assert mine.read_text() == "years of work"


def test_training_refuses_a_law_for_another_plant_and_a_used_folder(problem, tmp_path, capsys):
    law = tmp_path / "law.safetensors"
    assert run(["solve", str(problem), "--out", str(law)], capsys)[0] == 0
    code, _, err = run(["train", "--law", str(law), "--out", str(tmp_path / "run")], capsys)
    assert code == 2
    assert err.startswith("yannctl: --law: made for (")
    used = tmp_path / "used"
    used.mkdir()
    (used / "progress.csv").write_text("step\n")
    code, _, err = run(["train", "--out", str(used)], capsys)
    assert code == 2
    assert "--resume" in err


def test_a_run_too_short_for_the_gate_says_so(tmp_path, capsys):
    code, out, err = run(["train", "--steps", "5", "--out", str(tmp_path / "run"), "--json"], capsys)
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    assert found["deployed_return"] is None
    assert found["gain"] == 0.0
    assert Path(found["report"]).stat().st_size > 100_000
    assert f"report: {found['report']}" in err


@pytest.mark.parametrize(
    ("choice", "said", "used"),
    [("auto", "filter reactor-limit: T <= 365 K", "reactor-limit"), ("none", "no filter: switched off", "none")],
)
def test_training_says_which_filter_it_is_behind(choice, said, used, tmp_path, capsys):
    folder = tmp_path / "run"
    command = ["train", "--env", "yannctl/CSTR-v0", "--filter", choice, "--steps", "5", "--out", str(folder), "--json"]
    code, out, err = run([*command, "--no-report"], capsys)
    assert code == 0
    assert said in err
    assert said in json.loads((folder / "settings.json").read_text())["facts"]["filter"]
    assert json.loads(out.splitlines()[-1])["filter"] == used


def test_interruption_is_one_line_and_130(monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("yannctl.rl.training.train", interrupted)
    monkeypatch.setattr("yannctl.rl.train", interrupted, raising=False)
    code, out, err = run(["train", "--out", str(tmp_path / "run")], capsys)
    assert code == 130
    assert "--resume" in out
    assert err == "yannctl: interrupted\n"


def test_no_command_shows_the_help_alone(capsys):
    code, out, err = run([], capsys)
    assert code == 2
    assert "Usage" in out
    assert not err


def test_a_wrong_choice_is_named_without_the_librarys_words(capsys):
    code, _, err = run(["bench", "learnin"], capsys)
    assert code == 2
    assert "'learnin' is not one of" in err
    assert "Value error" not in err


def test_help_of_train_fits_its_longest_setting(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, text, _ = run(["train", "--help"], capsys)
    assert "dsact.actor_rate=3e-4" in text
    assert "yannctl/Pendulum-v0" in text
