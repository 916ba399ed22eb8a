"""The deployed policy as a file for the process that drives: weights, shape, and answers to check them by.

Only what the gate has promoted is written, so whoever reads the file never sees a policy that is still learning.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from yannctl.errors import ModelError
from yannctl.files import write_whole
from yannctl.yann.extension import ExtendedActor

from .gate import GateEvent
from .run import Run

DEPLOYED_FILE = "deployed.safetensors"
PROBES = 64


def shape_record(policy: ExtendedActor) -> dict[str, Any]:
    """Describe what of a policy stays while its weights change.

    Args:
        policy: a law with a plain residual network.

    Returns:
        JSON values: sizes, angles, others, centre, half_range, u_min, u_max, reach.

    Raises:
        ModelError: a network of another kind.
    """
    if policy.kind != "residual" or policy.layer_norm:
        raise ModelError(
            "policy", "has another network than the plain residual one", remedy="train it with `yannctl train`"
        )
    features = policy.features
    arrays = {
        "centre": features.centre,
        "half_range": features.half_range,
        "u_min": policy.u_min,
        "u_max": policy.u_max,
        "reach": policy.reach,
    }
    return {
        "sizes": [features.size, *policy.hidden, len(policy.u_min)],
        "angles": list(features.angles),
        "others": list(features.others),
        **{name: array.double().tolist() for name, array in arrays.items()},
    }


def flat_weights(policy: ExtendedActor) -> np.ndarray:
    """Give the weights and biases of the learned part, layer by layer, as one vector.

    Args:
        policy: the policy.

    Returns:
        (n,), float64.
    """
    return torch.cat([part.detach().double().reshape(-1) for part in policy.learned.parameters()]).numpy().copy()


def publish_deployed(run: Run, folder: Path, event: GateEvent | None) -> None:
    """Write the deployed policy for the process that drives.

    Args:
        run: the learner's run.
        folder: its folder.
        event: the promotion; None for the first policy, which is the law.
    """
    policy, plant = run.deployed, run.task.plant
    if plant is None:
        raise ModelError("env", "has no nominal model", remedy="a rig is driven by what a gate has tested on one")
    probes = np.ascontiguousarray(plant.sample_starts(PROBES, run.seed), float)
    with torch.no_grad():
        answers = policy(torch.from_numpy(probes)).double().numpy()
    facts = {
        "shape": json.dumps(shape_record(policy)),
        "decision": "start" if event is None else event.decision,
        "step": str(0 if event is None else event.step),
        "lower_bound": repr(0.0 if event is None else event.lower_bound),
    }
    tensors = {"weights": flat_weights(policy), "probes": probes, "answers": np.ascontiguousarray(answers)}
    write_whole(folder / DEPLOYED_FILE, save(tensors, facts))
