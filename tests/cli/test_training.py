"""`yannctl train`: what it refuses, in one line and before it writes anything, and what a resume may change."""

import json
from types import SimpleNamespace

import pytest

from yannctl import PwaLaw
from yannctl.cli.training_command import Command
from yannctl.cli.training_folder import published_size
from yannctl.cli.training_teacher import teacher_section
from yannctl.rl import GateEvent

from .test_app import run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log", "nowhere.csv"], "--log: nowhere.csv: No such file or directory"),
        (["--log", "LOG"], "log.csv: has no column 'theta'; it has a, b"),
        (["--set", "batsch=3"], "batsch: is no setting of training; did you mean batch"),
        (["--set", "states=3"], "states: is no setting of training; did you mean imitation.states?"),
        (["--set", "nonsense=3"], "nonsense: is no setting of training; settings.json of any run has every name"),
        (
            ["--set", "model.use=on", "--env", "Pendulum-v1"],
            "model.use: is 'on', this environment has no nominal model",
        ),
        (["--horizon", "5"], "--horizon: asks for a planner to imitate, but there is no law to start from; give --law"),
        (
            ["--horizon", "5", "--env", "Pendulum-v1"],
            "--horizon: asks for a planner to imitate, but Pendulum-v1 has no",
        ),
        (
            ["--horizon", "5", "--problem", "nowhere.toml", "--set", "model.use=off"],
            "--horizon: asks for a planner to imitate, but model.use is 'off'",
        ),
        (["--set", "batch=2.5"], "batch: got 2.5, expected a whole number"),
        (["--rate", "10", "--log", "LOG"], "--log: is not taken by an asynchronous run"),
    ],
)
def test_refusal_is_one_line_and_leaves_no_folder(words, said, tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("a,b\n1,2\n")
    words = [word.replace("LOG", str(log)) for word in words]
    code, out, err = run(["train", *words, "--steps", "5", "--out", str(tmp_path / "run")], capsys)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "run").exists()


def test_resume_takes_more_steps_and_refuses_what_would_be_another_run(tmp_path, capsys):
    folder = tmp_path / "run"
    begin = ["train", "--steps", "5", "--filter", "none", "--no-report", "--out", str(folder)]
    assert run(begin, capsys)[0] == 0
    kept = (folder / "command.json").read_bytes()
    code, out, err = run(["train", "--resume", str(folder), "--seed", "3", "--set", "batch=9"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("yannctl: --resume: --seed, --set do not go with it; a run goes on with what")
    assert (folder / "command.json").read_bytes() == kept
    code, out, _ = run(["train", "--resume", str(folder), "--steps", "8", "--no-report"], capsys)
    assert code == 0
    assert "the run goes on to step 8, not 5" in out
    assert json.loads((folder / "command.json").read_text())["steps"] == 8
    assert json.loads((folder / "settings.json").read_text())["seed"] == 0


def test_resume_of_no_run_says_so_without_an_error_number(tmp_path, capsys):
    code, _, err = run(["train", "--resume", str(tmp_path / "nowhere")], capsys)
    assert code == 2
    assert err.startswith(f"yannctl: --resume: {tmp_path / 'nowhere'} is no folder; give the --out")
    assert "Errno" not in err
    assert "holds no command.json" in run(["train", "--resume", str(tmp_path)], capsys)[2]


@pytest.mark.parametrize(("regions", "said"), [(185, "about 2.6 GB of memory"), (25, "")])
def test_large_published_network_is_announced(regions, said, tmp_path, monkeypatch):
    law = SimpleNamespace(n_regions=regions, ntheta=2, n_out=1)
    monkeypatch.setattr(PwaLaw, "load", lambda path: law)
    command = Command("yannctl/Pendulum-v0", True, "ddpg", 10, 0, "published", {}, problem=True)
    line = published_size(command, tmp_path)
    assert said in line
    assert bool(line) == bool(said)


def test_page_tells_of_a_planner_that_was_imitated():
    events = [GateEvent(0, 0, "imitated", "40 labels"), GateEvent(0, 1, "kept", "no"), GateEvent(0, 0, "rollback", "x")]
    (section,) = teacher_section(events, 12)
    assert "looks 12 steps ahead" in section.text
    assert section.rows == [["0", "imitated", "40 labels"]]
    assert teacher_section(events[1:], 12) == []
