"""Resume: after SIGKILL at any instant, after a torn record, and never in the wrong folder."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from yannctl.rl import CheckpointError, train
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.episodes import Transition
from yannctl.rl.transitions import Layout, TransitionWriter, read_layout, read_records

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def kill(n: int) -> dict:
    done = subprocess.run([sys.executable, str(CHAOS), "--kills", str(n)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_runs_go_on_bit_for_bit():
    result = kill(2)
    assert result["bit_exact"] == result["trials"] >= 1


@pytest.mark.slow
def test_killed_runs_go_on_bit_for_bit_two_hundred_times():
    result = kill(200)
    assert result["killed"] >= 200
    assert result["bit_exact"] == result["trials"]


def step(number: float, end: bool = False) -> Transition:
    x, x1, u = np.array([number, 1.0]), np.array([number, 2.0]), np.array([0.5])
    return Transition(x, u, -number, x1, end, False, False, np.array([0.75]))


LAYOUT = Layout(2, 1, 3)
ROW = np.arange(3, dtype=np.float32)


def write(path: Path, numbers: range, done: int = 0) -> None:
    writer = TransitionWriter(path, LAYOUT, done)
    for number in numbers:
        assert writer.append(step(number, number == 2), ROW) == number
    writer.sync()
    writer.close()


def test_log_gives_back_what_was_acknowledged(tmp_path):
    path = tmp_path / "transitions.bin"
    write(path, range(5))
    records = read_records(path)
    assert read_layout(path) == LAYOUT
    assert records["number"].tolist() == list(range(5))
    assert records["x"][:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert records["reward"].tolist() == [0.0, -1.0, -2.0, -3.0, -4.0]
    assert records["flags"].tolist() == [0, 0, 1, 0, 0]
    assert np.array_equal(records["row"], np.tile(ROW, (5, 1)))
    assert read_records(path, start=3)["number"].tolist() == [3, 4]


@pytest.mark.parametrize("cut", [1, 40, "header"])
def test_torn_end_is_cut_off_and_written_again(tmp_path, cut):
    path = tmp_path / "transitions.bin"
    write(path, range(4))
    data = path.read_bytes()
    path.write_bytes(data[:20] if cut == "header" else data[:-cut])
    write(path, range(4))
    assert path.read_bytes() == data


def test_damage_in_the_middle_is_found(tmp_path):
    path = tmp_path / "transitions.bin"
    write(path, range(4))
    data = bytearray(path.read_bytes())
    data[len(LAYOUT.header()) + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="transition 0 is damaged"):
        read_records(path)


def test_step_that_does_not_repeat_itself_is_found(tmp_path):
    path = tmp_path / "transitions.bin"
    write(path, range(4))
    writer = TransitionWriter(path, LAYOUT, 2)
    writer.append(step(2, True), ROW)
    with pytest.raises(CheckpointError, match="step 3 came out differently"):
        writer.append(step(7), ROW)
    with pytest.raises(CheckpointError, match="holds 4 transitions, the checkpoint knows 9"):
        TransitionWriter(path, LAYOUT, 9)


class Wandering(gymnasium.Wrapper):
    """Adds noise that no seed repeats."""

    noise = np.random.default_rng(0)

    def step(self, action):
        x, reward, *rest = self.env.step(action)
        return x + 1e-3 * self.noise.standard_normal(1), reward, *rest


def test_environment_that_does_not_repeat_itself_is_refused(env, law, small, tmp_path):
    train(law, None, Wandering(env), steps=30, run_dir=tmp_path, settings=small)
    with pytest.raises(CheckpointError, match="repeats itself"):
        train(law, None, Wandering(env), steps=60, resume=tmp_path, settings=small)


def test_run_killed_before_its_first_checkpoint_starts_again(env, law, small, tmp_path):
    train(law, None, env, steps=40, run_dir=tmp_path / "whole", settings=small)
    train(law, None, env, steps=15, run_dir=tmp_path / "cut", settings=small)
    (tmp_path / "cut" / "checkpoint.safetensors").unlink()
    train(law, None, env, steps=40, resume=tmp_path / "cut", settings=small)
    first, second = (digest(read_checkpoint(tmp_path / name)[0]) for name in ("whole", "cut"))
    assert first == second
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(law, None, env, steps=40, run_dir=tmp_path / "cut", settings=small)


@pytest.mark.parametrize("environments", [1, 3])
def test_several_environments_keep_the_updates_a_step(env, law, small, environments):
    settings = dataclasses.replace(small, environments=environments, updates_per_step=0.5)
    result = train(law, None, env, steps=75, settings=settings)
    assert result.history[-1]["step"] == 75
    assert result.history[-1]["updates"] == int(0.5 * (75 - 20 + environments))
