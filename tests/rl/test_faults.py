"""Nonsense, divergence and full disks: a typed stop or a rollback, and never a corrupt checkpoint."""

import dataclasses
import errno
import os

import gymnasium
import numpy as np
import pytest
import torch

from yannctl.rl import CheckpointError, DdpgSettings, DsactSettings, Td3Settings, TrainingError, evaluate, train
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.run import Run

CALLS = ("open", "write", "fsync", "ftruncate", "replace")


class FullDisk:
    """Fails the k-th call of the file layer that touches the run folder, and all after it."""

    def __init__(self, monkeypatch, k: int, half: bool) -> None:
        self.k, self.half, self.calls = k, half, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, call):
        def wrapped(*args, **keywords):
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR):
                return call(*args, **keywords)
            self.calls += 1
            if self.calls < self.k:
                return call(*args, **keywords)
            if name == "write" and self.half and self.calls == self.k:
                return call(args[0], args[1][: len(args[1]) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return wrapped


def settings_of(small):
    return dataclasses.replace(small, checkpoint_every=10, gate_every=20, gate_starts=4)


def stopped(law, env, place, settings) -> str:
    with pytest.raises(TrainingError) as caught:
        train(law, None, env, steps=30, run_dir=place, settings=settings)
    return str(caught.value)


def check_full_disk(env, law, small, folder, monkeypatch, numbers) -> None:
    settings = settings_of(small)
    train(law, None, env, steps=30, run_dir=folder / "whole", settings=settings)
    expected = digest(read_checkpoint(folder / "whole")[0])
    for k in numbers:
        for half in (False, True):
            place = folder / f"{k}{half}"
            with monkeypatch.context() as patch:
                FullDisk(patch, k, half)
                caught = stopped(law, env, place, settings)
            assert "space" in caught
            begun = (place / "settings.json").exists()
            keyword = {"resume": place} if begun else {"run_dir": place}
            train(law, None, env, steps=30, settings=settings, **keyword)
            assert digest(read_checkpoint(place)[0]) == expected
            assert not list(place.glob(".*.part"))


def calls_of_a_run(env, law, small, folder, monkeypatch) -> int:
    train(law, None, env, steps=30, run_dir=folder / "first", settings=settings_of(small))  # caches are filled
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, 10**9, False)
        train(law, None, env, steps=30, run_dir=folder / "count", settings=settings_of(small))
    return disk.calls


def test_full_disk_stops_with_a_type_and_resumes(env, law, small, tmp_path, monkeypatch):
    total = calls_of_a_run(env, law, small, tmp_path, monkeypatch)
    assert total > 50
    check_full_disk(env, law, small, tmp_path, monkeypatch, range(1, total + 1, 9))


@pytest.mark.slow
def test_full_disk_at_every_write(env, law, small, tmp_path, monkeypatch):
    total = calls_of_a_run(env, law, small, tmp_path, monkeypatch)
    check_full_disk(env, law, small, tmp_path, monkeypatch, range(1, total + 1))


class Broken(gymnasium.Wrapper):
    """Returns one wrong number at step 45."""

    def __init__(self, env, what, value):
        super().__init__(env)
        self.what, self.value, self.steps = what, value, 0

    def step(self, action):
        x, reward, *rest = self.env.step(action)
        self.steps += 1
        if self.steps == 45:
            x = x * 0 + self.value if self.what == "observation" else x
            reward = self.value if self.what == "reward" else reward
        return x, reward, *rest


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
@pytest.mark.parametrize("what", ["reward", "observation"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_nonsense_from_the_plant_stops_with_a_good_checkpoint(env, law, small, tmp_path, algorithm, what, value):
    settings = dataclasses.replace(small, checkpoint_every=10)
    with pytest.raises(TrainingError, match=r"returned|too large"):
        train(law, None, Broken(env, what, value), algorithm, steps=60, run_dir=tmp_path, settings=settings)
    tensors, state = read_checkpoint(tmp_path)
    assert state["counters"]["step"] == 40
    assert all(bool(tensor.isfinite().all()) for name, tensor in tensors.items() if name.startswith("learner"))
    train(law, None, env, algorithm, steps=60, resume=tmp_path, settings=settings)  # the plant is repaired


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
@pytest.mark.parametrize("part", ["actor", "critic"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonsense_in_a_gradient_is_rolled_back(env, law, small, algorithm, part, value):
    run = Run(law, None, env, algorithm, 0, small)
    for _ in range(40):
        run.step()
    assert not run.diverged()
    trained = getattr(run.learner, part)
    gradient = [torch.zeros_like(parameter) for parameter in trained.network.parameters()]
    gradient[0].view(-1)[0] = value
    trained.descend(gradient)
    assert run.diverged()
    run.rollback()
    assert not run.diverged()
    run.step()
    assert all(bool(tensor.isfinite().all()) for tensor in run.learner.tensors().values())


def test_action_that_is_not_a_number_is_never_sent(env, law, small):
    run = Run(law, None, env, "dsact", 0, small)
    before = run.episodes_sent = len(run.fleet[0].inputs)
    with pytest.raises(TrainingError, match="nothing was sent"):
        run.advance(torch.full((1, 1), float("nan")))
    assert len(run.fleet[0].inputs) == before


@pytest.mark.parametrize("algorithm", ["dsact", "td3", "ddpg"])
def test_million_times_the_rate_stops_or_stays_finite(env, law, small, tmp_path, algorithm):
    wild = dataclasses.replace(
        small,
        checkpoint_every=10,
        dsact=DsactSettings(actor_rate=1e3, critic_rate=1e3, alpha_rate=1e3),
        td3=Td3Settings(actor_rate=1e3, critic_rate=1e3),
        ddpg=DdpgSettings(actor_rate=1e3, critic_rate=1e3),
    )
    try:
        deployed = train(law, None, env, algorithm, steps=150, run_dir=tmp_path, settings=wild).deployed
    except TrainingError as error:
        deployed = error.deployed
    tensors, _ = read_checkpoint(tmp_path)
    starts = np.linspace(-1.0, 1.0, 21)[:, None]
    policies = (evaluate(policy, env.plant, starts, 20).returns.mean() for policy in (deployed, law))
    assert next(policies) >= next(policies)
    assert all(bool(tensor.isfinite().all()) for name, tensor in tensors.items() if name.startswith("learner"))


def test_corrupt_checkpoint_is_never_loaded(env, law, small, tmp_path):
    train(law, None, env, steps=30, run_dir=tmp_path, settings=small)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot read|corrupt"):
        train(law, None, env, steps=60, resume=tmp_path, settings=small)
