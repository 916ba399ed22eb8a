"""The learner on another device: where it may be, the form that a graph repeats, and what a GPU makes of it."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from yannctl.errors import ModelError
from yannctl.rl import DsactSettings, TrainingSettings, construction, train, train_seeds
from yannctl.rl.checkpoint import digest, read_checkpoint
from yannctl.rl.construction import assemble, make_actor, make_critic, make_policy, make_policy_network
from yannctl.rl.descent import Adam, SteadyAdam
from yannctl.rl.device import Dial, device_of
from yannctl.rl.replay import Batch, Drawing, Replay
from yannctl.rl.run import Run
from yannctl.rl.seeds import Stack, StackedDrawing
from yannctl.rl.stochastic import gaussian_entropy
from yannctl.rl.task import another, task_of
from yannctl.rl.trained import Noise
from yannctl.rl.updates import Updates

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
EVERYWHERE = ["cpu", pytest.param("cuda", marks=on_gpu)]
ALGORITHMS = ("dsact", "td3", "ddpg")


def test_device_is_refused_where_it_is_not(monkeypatch, env, law, small):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(ModelError, match="torch sees no GPU here"):
        train(law, None, env, settings=small.changed({"device": "cuda"}))
    with pytest.raises(ModelError, match="torch sees no GPU here"):
        train_seeds(law, env, (0, 1), settings=small.changed({"device": "cuda"}))
    with pytest.raises(ModelError, match="device: got 'gpu', expected 'cpu', 'cuda' or 'auto'"):
        TrainingSettings(device="gpu")


def test_exact_critic_and_published_form_are_refused_on_a_gpu(monkeypatch, env, law, small):
    monkeypatch.setattr(construction, "device_of", lambda _name: torch.device("cuda"))
    policy = make_policy_network(law, task_of(env), 0, small)
    half, generator = torch.ones(1), torch.Generator()
    with pytest.raises(ModelError, match=r"critic_base.*no form for a GPU"):
        construction.make_learner("ddpg", policy, half, small, generator, lambda x, a, weight: weight)
    policy.kind = "published"
    with pytest.raises(ModelError, match=r"actor.*no form for a GPU"):
        construction.make_learner("ddpg", policy, half, small, generator, None)


def test_dial_is_a_float_or_a_place_that_stays():
    plain, steady = Dial(1.0), Dial(1.0, True)
    place = steady.value
    for dial in (plain, steady):
        dial.set(0.5)
        assert float(dial.value) == dial.last == 0.5 if dial is steady else dial.value == 0.5
    assert steady.value is place
    each = Dial(0.0, True, shape=(2, 1))
    each.set(torch.tensor([[1.0], [2.0]]))
    each.set(torch.tensor([[1.0], [3.0]]))
    assert each.value.tolist() == [[1.0], [3.0]]


@pytest.mark.parametrize("device", EVERYWHERE)
def test_steady_adam_is_adam(device):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(50, generator=generator)
    plain, steady = Adam(start.clone(), 1e-2), SteadyAdam(start.to(device), 1e-2)
    for k in range(60):
        grad = torch.randn(50, generator=generator)
        plain.step(grad)
        steady.step(grad.to(device))
        if k == 30:
            plain.rate = steady.rate = 1e-3
    assert steady.rate == 1e-3
    assert torch.allclose(plain.weights, steady.weights.cpu(), rtol=1e-5, atol=1e-6)
    assert torch.allclose(plain.moments, steady.moments.cpu(), rtol=1e-5, atol=1e-6)
    assert int(plain.count) == int(steady.count) == 60


def make(algorithm, env, law, settings, device="cpu", steady=None):
    """A learner whose weights do not depend on its form, with noise that does not either."""
    policy = make_policy_network(law, task_of(env), 0, settings)
    actor = make_actor(algorithm, policy, settings).to(device)
    critic = make_critic(algorithm, policy.features.size, 1, settings, torch.Generator().manual_seed(1), False)
    shape, generator = make_policy(policy, torch.ones(1), settings), torch.Generator().manual_seed(2)
    learner = assemble(algorithm, actor, critic.to(device), shape, settings, Noise(generator), None, steady)
    drawn = learner.noise
    learner.noise = lambda shape: drawn(shape).to(device)
    return learner


def random_batches(n, n_features, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        wide, box = (torch.rand(size, k, generator=generator) * 2 - 1 for k in (n_features, 1))
        x, one = torch.randn(size, 1, generator=generator), torch.rand(size, generator=generator)
        yield Batch(x, wide, box, box, 0.5 * box, -one, (one > 0.1).float(), x, wide, 0.4 * box, 0 * one, 0 * one)


@pytest.mark.parametrize("device", EVERYWHERE)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_steady_learner_is_the_plain_one(env, law, small, algorithm, device):
    plain = make(algorithm, env, law, small)
    steady = make(algorithm, env, law, small, device, steady=True)
    for k, batch in enumerate(random_batches(40, plain.actor.network.body[0].in_features)):
        if k == 20:
            for learner in (plain, steady):
                learner.actor.adam.rate = 3e-4
                if isinstance(learner.settings, DsactSettings):
                    learner.settings = dataclasses.replace(learner.settings, target_entropy=gaussian_entropy(0.05))
        plain.update(batch)
        steady.update(Batch(*(part.to(device) for part in batch)))
    assert plain.updates == steady.updates == 40
    for name, tensor in plain.tensors().items():
        assert torch.allclose(tensor.float(), steady.tensors()[name].cpu().float(), rtol=1e-3, atol=1e-5), name
    for name, value in plain.metrics().items():
        assert steady.metrics()[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("device", EVERYWHERE)
def test_sample_draws_what_is_there_and_all_of_it(device):
    replay = Replay(64, 1, 1, 1, device=torch.device(device))
    generator = torch.Generator(device).manual_seed(0)
    for count in (3, 40, 100):
        while replay.added < count:
            replay.add(torch.full((replay.table.shape[1],), float(replay.added)))
        seen = replay.sample(4000, generator)[:, 0].cpu()
        assert set(seen.tolist()) == set(np.arange(max(0, count - 64), count, dtype=float))
        middle, share = (count - 1 + max(0, count - 64)) / 2, seen.mean()
        assert share == pytest.approx(middle, abs=4 * len(replay) / np.sqrt(12 * 4000))
    assert torch.equal(replay.latest(2)[:, 0], torch.tensor([98.0, 99.0]))


@pytest.mark.parametrize("device", EVERYWHERE)
def test_one_batch_has_the_shares_and_the_proposals_of_many(device):
    one, two = (Replay(8, 1, 1, 1, device=torch.device(device)) for _ in range(2))
    for sign, replay in ((1.0, one), (-1.0, two)):
        row = sign * torch.arange(1.0, 1.0 + replay.table.shape[1])
        replay.extend(torch.stack([row, row]))
    generator = torch.Generator(device).manual_seed(0)
    batch = Drawing((one, two), (4, 2), 0).one(10.0, generator)
    assert batch.x[:, 0].tolist() == [1.0] * 4 + [-1.0] * 2
    assert batch.a[:, 0].tolist() == [4.0, 3.0, 4.0, 3.0, -4.0, -3.0]
    assert batch.reward.tolist() == [60.0] * 4 + [-60.0] * 2


@pytest.mark.parametrize("device", EVERYWHERE)
def test_stacked_draw_gives_each_seed_its_own(env, law, small, device):
    runs = [Run(law, None, another(env), "td3", seed, small) for seed in (0, 1, 2)]
    table = torch.zeros(3, *runs[0].replay.table.shape, device=device)
    for i, run in enumerate(runs):
        run.replay = run.replay.lying_at(table[i])
        for k in range(5):
            run.replay.add(torch.full((table.shape[2],), 10.0 * i + k))
    generator = torch.Generator(device).manual_seed(0)
    scale = torch.tensor([[1.0], [2.0], [3.0]], device=device)
    batch = StackedDrawing(tuple(runs), table).one(scale, generator)
    assert batch.x.shape == (3, 8, 1)
    for i in range(3):
        seen = set(batch.x[i, :, 0].tolist())
        assert seen <= {10.0 * i + k for k in range(5)}
        assert len(seen) > 1
        assert torch.allclose(batch.reward[i], (i + 1.0) * batch.x[i, :, 0])


@pytest.mark.parametrize("device", EVERYWHERE)
def test_steady_updates_are_counted_and_repeat(env, law, small, device):
    found = []
    for _ in range(2):
        learner = make("dsact", env, law, small, device, steady=True)
        generator = torch.Generator(device).manual_seed(5)
        replay = Replay(64, 1, learner.actor.network.body[0].in_features, 1, device=torch.device(device))
        replay.extend(torch.rand(40, replay.table.shape[1], generator=torch.Generator().manual_seed(4)))
        updates = Updates(learner, generator, graphs=False)
        updates.make(7, replay.drawing(8), 0.5)
        updates.make(3, replay.drawing(8), 0.25)
        assert learner.updates == 10
        found.append({name: tensor.cpu() for name, tensor in learner.tensors().items()})
    assert digest(found[0]) == digest(found[1])


@on_gpu
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_graph_does_what_single_kernels_do(env, law, small, algorithm):
    def trained(graphs):
        run = Run(law, None, another(env), algorithm, 3, small.changed({"device": "cuda"}))
        run.updates.graphs = graphs
        for _ in range(40):
            run.step()
        assert run.learner.updates == 42
        return run, {name: tensor.cpu() for name, tensor in run.learner.tensors().items()}

    (run, one), (other, two) = trained(True), trained(False)
    assert len(run.updates._recorded) == 2
    assert not other.updates._recorded
    assert digest(one) == digest(two)
    assert run.learner.metrics() == other.learner.metrics()


@on_gpu
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("graphs", [True, False])
def test_no_update_reads_the_gpu(env, law, small, algorithm, graphs):
    run = Run(law, None, env, algorithm, 3, small.changed({"device": "cuda"}))
    run.updates.graphs = graphs
    for _ in range(40):
        run.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.learn(20)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert run.learner.updates == 62
    assert run.learner.finite()


@on_gpu
@pytest.mark.parametrize("use", ["off", "on"])
def test_run_on_a_gpu_goes_on_bit_for_bit(env, law, small, tmp_path, use):
    few = {"model.use": use, "model.pretrain_updates": 60, "model.updates_per_round": 4, "model.episodes": 8}
    settings = small.changed({"device": "cuda", "checkpoint_every": 10, **few})
    whole = train(law, None, copy.deepcopy(env), steps=60, settings=settings, run_dir=tmp_path / "whole")
    train(law, None, copy.deepcopy(env), steps=37, settings=settings, run_dir=tmp_path / "parts")
    parts = train(law, None, copy.deepcopy(env), steps=60, settings=settings, resume=tmp_path / "parts")
    one, two = (read_checkpoint(tmp_path / name)[0] for name in ("whole", "parts"))
    assert digest(one) == digest(two)
    assert [row["learning_return"] for row in whole.history] == [row["learning_return"] for row in parts.history]


@on_gpu
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stacked_seeds_on_a_gpu(env, law, small, algorithm):
    def trained(graphs):
        stack = Stack([Run(law, None, another(env), algorithm, seed, small) for seed in (3, 4, 5)], device_of("cuda"))
        stack.updates.graphs = graphs
        for _ in range(40):
            stack.step()
            stack.heal()
        stack.give()
        return stack, [digest(run.learner.tensors()) for run in stack.runs]

    (stack, one), (_, two) = trained(True), trained(False)
    assert one == two
    assert len(set(one)) == 3
    run = stack.runs[1]
    run.learner.actor.weights.value.zero_()
    stack.take(1)
    stack.give()
    assert float(run.learner.actor.weights.value.abs().max()) == 0.0
    assert [digest(stack.runs[i].learner.tensors()) for i in (0, 2)] == [one[0], one[2]]


@on_gpu
def test_gpu_learns_what_the_cpu_learns(env, law, small, optimal_return):
    settings = small.changed({"device": "auto", "gate_every": 100, "updates_per_step": 4, "width": 16, "batch": 32})
    results = train_seeds(law, env, (0, 1), steps=400, settings=settings)
    alone = train(law, None, env, steps=400, settings=settings)
    starts = env.unwrapped.plant.sample_starts(200, 0)
    best = float(optimal_return(starts, 20).mean())
    for result in (*results, alone):
        assert result.history[-1]["deployed_return"] > 1.3 * best
