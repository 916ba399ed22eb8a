"""What a checkpoint of a training run holds, and how a run goes on from it, bit for bit."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .counters import Counters
from .errors import CheckpointError

if TYPE_CHECKING:
    from .run import Run


def tensors_of(run: "Run") -> dict[str, Tensor]:
    """Every tensor a resumed run needs beside its log of transitions.

    Args:
        run: the run.

    Returns:
        Live tensors, on their own devices.
    """
    return {
        **{f"learner.{name}": tensor for name, tensor in run.learner.tensors().items()},
        **{f"good.{name}": tensor for name, tensor in run.good.items()},
        **{f"shown.{name}": tensor for name, tensor in run.learner.shown.items()},
        **{f"deployed.{name}": tensor for name, tensor in run.deployed.learned.state_dict().items()},
        "generator": run.generator.get_state(),
        **({} if run.updates.generator is run.generator else {"drawing_generator": run.updates.generator.get_state()}),
        **{f"inputs.{i}": torch.from_numpy(part.sent(run.task.nu)) for i, part in enumerate(run.fleet)},
        "x": torch.from_numpy(run.states()),
        "law": fingerprint(run),
        **({} if run.model is None else run.model.tensors()),
    }


def state_of(run: "Run") -> dict[str, Any]:
    """Counters and identity, as JSON can hold them.

    Args:
        run: the run.
    """
    return {
        "identity": run.identity(),
        "counters": vars(run.count),
        "added": run.replay.added,
        "updates": run.learner.updates,
        "pretrained": run.pretrained,
        "episodes": [part.state() for part in run.fleet],
        "promotion": run.promotion.state(),
        "model": None if run.model is None else run.model.state(),
    }


def restore(run: "Run", tensors: dict[str, Tensor], state: dict[str, Any], rows: np.ndarray | None) -> None:
    """Continue from a checkpoint.

    Args:
        run: a run that has not begun.
        tensors: what `tensors_of` gave.
        state: what `state_of` gave.
        rows: rows of the replay memory from the log of transitions (added, width); None: they are in already.

    Raises:
        CheckpointError: if it belongs to another run, or the environment does not repeat itself.
    """
    if state["identity"] != run.identity() or not torch.equal(tensors["law"], fingerprint(run)):
        raise CheckpointError(
            "the checkpoint belongs to a run with another law, algorithm, seed or settings, on another kind of device, "
            "or with other recorded data",
            "resume with the arguments of the first run (see its settings.json)",
        )
    for name, live in run.learner.tensors().items():
        live.copy_(tensors[f"learner.{name}"])
        run.good[name].copy_(tensors[f"good.{name}"])
    run.learner.shown = {name: tensors[f"shown.{name}"] for name in run.learner.shown}
    run.deployed.learned.load_state_dict(
        {name: tensors[f"deployed.{name}"] for name in run.deployed.learned.state_dict()}
    )
    run.learner.updates, run.pretrained = state["updates"], state["pretrained"]
    if rows is not None:
        run.replay.fill(rows)
    run.count = Counters(**state["counters"])
    run.promotion.restore(state["promotion"])
    if run.model is not None:
        run.model.restore(tensors, state["model"])
    if run.prior is not None:
        run.prior.scale = run.count.reward_scale
    for i, part in enumerate(run.fleet):
        part.restore(state["episodes"][i], tensors[f"inputs.{i}"].numpy(), tensors["x"][i].numpy())
    run.view = run.view_of(run.states())
    run.generator.set_state(tensors["generator"])
    if run.updates.generator is not run.generator:
        run.updates.generator.set_state(tensors["drawing_generator"])
    run.export()


def fingerprint(run: "Run") -> Tensor:
    """The law's inputs on fixed states, to recognise it.

    Args:
        run: the run.
    """
    low, high = np.asarray(run.task.bounds.x_min, float), np.asarray(run.task.bounds.x_max, float)
    if run.task.plant is not None:
        starts = run.task.plant.sample_starts(32, 0)
    else:
        starts = np.random.default_rng(0).uniform(low, high, (32, run.task.nx))
    with torch.no_grad():
        return run.learning.base(torch.from_numpy(starts)).double().contiguous()
