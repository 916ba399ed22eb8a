"""`yannctl eval` and `yannctl tune` from the command line."""

import json
from dataclasses import replace

import pytest

import yannctl
from yannctl.cli.app import main
from yannctl.cli.evaluation_figures import bands, telling_rows
from yannctl.controllers import Lqr
from yannctl.models import Pendulum
from yannctl.scenarios import draw_world, make_scenario, simulate, summarise
from yannctl.scenarios.pendulum import UPRIGHT, linear_problem
from yannctl.scenarios.weights import Weights


def run(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_eval_writes_table_json_and_figure(tmp_path, capsys):
    options = ["--starts", "2", "--controllers", "linear", "--out", str(tmp_path), "--json"]
    code, out, _ = run(["eval", "pendulum-upright", "--variant", "perturbed", *options], capsys)
    data = json.loads(out.splitlines()[-1])
    assert code == 0
    assert set(data["rows"]) == {"linear", "nmpc"}
    assert data["rows"]["nmpc"]["gap"] == 0.0
    assert data["commit"]
    assert data["machine"]["cores"] >= 1
    kept = json.loads((tmp_path / "pendulum-upright-perturbed.json").read_text())
    assert kept["rows"]["linear"]["cost"] == data["rows"]["linear"]["cost"]
    assert (tmp_path / "pendulum-upright-perturbed.png").stat().st_size > 20_000


def test_a_law_file_takes_part(tmp_path, capsys):
    ocp = linear_problem(Pendulum(), Weights(), UPRIGHT)
    law = yannctl.solve_mpqp(yannctl.condense(replace(ocp, theta_min=-UPRIGHT, theta_max=UPRIGHT)))
    law.save(tmp_path / "mine.safetensors")
    options = ["--starts", "2", "--controllers", "linear", "--law", str(tmp_path / "mine.safetensors"), "--json"]
    code, out, _ = run(["eval", "pendulum-upright", *options], capsys)
    rows = json.loads(out.splitlines()[-1])["rows"]
    assert code == 0
    assert set(rows) == {"mine", "linear", "nmpc"}
    assert rows["mine"]["cost"] == pytest.approx(rows["linear"]["cost"], rel=1e-6)
    code, _, err = run(["eval", "robot-kappa6", "--law", str(tmp_path / "mine.safetensors")], capsys)
    assert code == 2
    assert "the plant has 5 and 2" in err


def test_the_figure_shows_few_rows_and_lists_all():
    scenario = make_scenario("pendulum-upright")
    world = draw_world(scenario, 3, 0)
    names = ("linear", "offset-free", "tuned", "filtered", "filtered-offset-free", "filtered-tuned")
    policies = {name: Lqr.of(linear_problem(Pendulum(), Weights(), UPRIGHT)) for name in (*names, "nmpc")}
    runs = {name: simulate(replace(scenario, steps=5), world, policy) for name, policy in policies.items()}
    dearer = {name: replace(run, cost=run.cost * (1 + i % 3)) for i, (name, run) in enumerate(runs.items())}
    comparison = summarise(replace(scenario, steps=5), world, dearer)
    assert telling_rows(comparison) == ("linear", "filtered", "nmpc")
    figure = bands(comparison)
    legend = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert legend == ["linear", "filtered", "nmpc"]
    assert [label.get_text() for label in figure.axes[-1].get_yticklabels()] == list(names)
    assert len(bands(comparison, ("tuned",)).subfigs[0].legends[0].get_texts()) == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["eval", "nothing"], "choose from cstr-setpoint"),
        (["eval", "cstr-setpoint", "--variant", "x"], "choose from nominal"),
        (["eval", "cstr-setpoint", "--controllers", "x"], "choose from linear"),
        (["eval", "cstr-setpoint", "--starts", "1"], "--starts"),
        (["eval", "cstr-setpoint", "--show", "x"], "choose from linear"),
        (["tune", "cstr-setpoint", "--row", "x"], "choose from offset-free"),
    ],
)
def test_bad_input_is_one_line(arguments, text, capsys):
    code, _, err = run(arguments, capsys)
    assert code == 2
    assert text in err
    assert len(err.strip().splitlines()) == 1


def test_tune_writes_what_eval_reads(tmp_path, capsys):
    path = tmp_path / "tuned.json"
    options = ["--trials", "2", "--starts", "2", "--out", str(path), "--row", "all", "--json"]
    code, out, _ = run(["tune", "pendulum-upright", *options], capsys)
    assert code == 0
    rows = json.loads(out.splitlines()[-1])["rows"]
    assert list(rows) == ["tuned", "filtered-tuned"]
    assert all(row["cost"] <= row["plain_cost"] for row in rows.values())
    assert json.loads(path.read_text())["pendulum-upright:nominal"]["command"].startswith("yannctl tune")
