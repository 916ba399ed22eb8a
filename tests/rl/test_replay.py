"""The replay memory: what goes in comes out, in the right column, and the ring overwrites the oldest."""

import torch

from yannctl.rl.replay import Replay


def row(value: float, live: float = 1.0) -> torch.Tensor:
    sizes = {"x": 2, "phi": 3, "a": 1, "proposed": 1, "base": 1, "reward": 1, "live": 1, "weight": 1}
    sizes |= {"x1": 2, "phi1": 3, "base1": 1, "weight1": 1}
    columns = {name: torch.full((n,), value + 0.01 * i) for i, (name, n) in enumerate(sizes.items())}
    columns["live"] = torch.tensor([live])
    return torch.cat(list(columns.values()))


def test_columns_keep_their_place_and_rewards_are_scaled():
    replay = Replay(4, 2, 3, 1)
    replay.add(row(1.0))
    (batch,) = replay.drawing(5).batches(1, 10.0, torch.Generator().manual_seed(0))
    assert batch.x.shape == (5, 2)
    assert batch.phi.shape == (5, 3)
    names = ("x", "phi", "a", "proposed", "base", "reward", "live", "weight", "x1", "phi1", "base1", "weight1")
    for i, name in enumerate(names):
        expected = 1.0 if name == "live" else (1.0 + 0.01 * i) * (10.0 if name == "reward" else 1.0)
        assert torch.allclose(getattr(batch, name), torch.tensor(expected))


def test_every_second_action_of_a_batch_may_be_the_proposal():
    batches = []
    for proposals in (False, True):
        replay = Replay(4, 2, 3, 1, proposals)
        for value in range(4):
            replay.add(row(float(value)))
        batches += replay.drawing(7).batches(1, 1.0, torch.Generator().manual_seed(0))
    plain, mixed = batches
    assert torch.equal(plain.a, plain.x[:, :1] + 0.02)
    assert torch.equal(mixed.a[::2], plain.a[::2])
    assert torch.equal(mixed.a[1::2], plain.proposed[1::2])
    assert torch.equal(plain.phi1, mixed.phi1)


def test_ring_overwrites_the_oldest():
    replay = Replay(3, 2, 3, 1)
    for value in range(5):
        replay.add(row(float(value)))
    assert len(replay) == 3
    (batch,) = replay.drawing(200).batches(1, 1.0, torch.Generator().manual_seed(0))
    assert set(batch.x[:, 0].tolist()) == {2.0, 3.0, 4.0}


def test_same_generator_same_batches():
    replay = Replay(10, 2, 3, 1)
    for value in range(10):
        replay.add(row(float(value)))
    draws = [
        torch.stack([batch.x for batch in replay.drawing(4).batches(3, 1.0, torch.Generator().manual_seed(7))])
        for _ in range(2)
    ]
    assert torch.equal(*draws)
