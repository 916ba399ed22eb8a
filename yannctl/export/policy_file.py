"""Policies as controller files: the network's own weights beside the law they came from, tuned or not.

The weights are the tensors of `policy.state_dict()`, the rest of the policy stands in the header as JSON; loading
builds the same module again and executes nothing from the file. Without torch, `load_controller` still gives the law.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import FileFormatError, ModelError
from yannctl.plant import AbstractPlant

from .controller_file import ControllerFile, load_controller, save_controller

if TYPE_CHECKING:
    from torch import nn

KEY = "policy"  # of the header's metadata
DTYPES = ("float64", "float32")
SUPPRESSION = "o - 1"  # what M multiplies in a five-layer network; files without this entry hold M in the bias


def save_policy(
    path: str | Path,
    policy: "nn.Module",
    plant: AbstractPlant | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ControllerFile:
    """Write an exact or an extended actor as a controller file.

    Args:
        path: the file; an older one is replaced only when the new one is complete on disk.
        policy: what `encode_actor` or `extend` made, or a policy of `rl.train` that stands on an explicit law.
        plant: the plant it is for; its name, units and sample time are stated and checked on loading.
        metadata: further JSON values.

    Returns:
        What was written, with its digest.

    Raises:
        ModelError: a module of another kind, or a weight that is not a finite number.
    """
    from yannctl.yann import ExtendedActor

    base: Any = policy.base if isinstance(policy, ExtendedActor) else policy
    form, description = _base_description(base)
    if isinstance(policy, ExtendedActor):
        description["extension"] = _extension_description(policy)
    tensors: dict[str, Any] = {name: tensor.detach().cpu().numpy() for name, tensor in policy.state_dict().items()}
    return save_controller(
        path,
        base.source.law,
        plant=plant,
        form=form,
        extension=tensors,
        metadata={**(metadata or {}), KEY: description},
    )


def load_policy(path: str | Path, plant: AbstractPlant | None = None) -> "nn.Module":
    """Build the policy of a controller file again: the same bits as the one that was saved.

    Args:
        path: a file written by `save_policy`.
        plant: the plant it is to run on; it must be the one the file was made for.

    Returns:
        Module `policy(x (..., nx)) -> u (..., nu)` [physical units].

    Raises:
        FileFormatError: a changed file, a file without a policy, or one made for another plant.
    """
    return policy_of(load_controller(path, plant), str(path))


def policy_of(content: ControllerFile, name: str = "controller file") -> "nn.Module":
    """Build the policy that a controller file describes.

    Args:
        content: what `load_controller` returned.
        name: of the file, for messages.

    Returns:
        The policy.

    Raises:
        FileFormatError: the file holds no policy, or one that does not fit together.
    """
    import torch

    description = content.metadata.get(KEY)
    if not isinstance(description, dict):
        raise FileFormatError(f"{name}: holds a law but no policy; use load_controller, or write it with save_policy")
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in content.extension.items()}
    try:
        policy = _build(content, description, tensors)
        policy.load_state_dict(tensors)
    except (ModelError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise FileFormatError(f"{name}: its policy does not fit together ({error}); save it again") from error
    return policy.requires_grad_(False)


def _base_description(base: Any) -> tuple[str, dict[str, Any]]:
    """Name the form of an exact actor, and what its tensors do not say."""
    from yannctl.yann import FiveLayerActor, GatherActor, LatticeActor

    for form, kind in (("gather", GatherActor), ("five_layer", FiveLayerActor), ("lattice", LatticeActor)):
        if isinstance(base, kind):
            weight = next(t for t in (*base.parameters(), *base.buffers()) if t.is_floating_point())
            description: dict[str, Any] = {"dtype": str(weight.dtype).removeprefix("torch.")}
            if isinstance(base, LatticeActor):
                description |= {"certified": base.certified, "merging": base.merging}
            if isinstance(base, FiveLayerActor):
                description["suppression"] = SUPPRESSION
            return form, description
    raise ModelError(
        "policy",
        f"got {type(base).__name__}, which is no exact actor",
        remedy="save what encode_actor or extend made, or the checkpoint of a run that learned from scratch",
    )


def _extension_description(policy: Any) -> dict[str, Any]:
    """What an extended actor is built with."""
    features = policy.features
    if policy.kind == "published":
        raise ModelError("policy", "the published form has no file", remedy="the run's checkpoint holds its weights")
    lower, upper = np.full(features.nx, -np.pi), np.full(features.nx, np.pi)  # what an angle's bound is does not matter
    centre, half = features.centre.double().cpu().numpy(), features.half_range.double().cpu().numpy()
    lower[list(features.others)], upper[list(features.others)] = centre - half, centre + half
    weight = next(iter(policy.learned.parameters()))
    return {
        "kind": policy.kind,
        "hidden": list(policy.hidden),
        "authority": policy.authority,
        "layer_norm": policy.layer_norm,
        "saturation": policy.saturation,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "x_min": lower.tolist(),
        "x_max": upper.tolist(),
        "u_min": policy.u_min.double().tolist(),
        "u_max": policy.u_max.double().tolist(),
        "angles": list(features.angles),
        "centre": centre.tolist(),
        "half_range": half.tolist(),
    }


def _build(content: ControllerFile, description: dict[str, Any], tensors: dict[str, Any]) -> "nn.Module":
    """Make the module of a description; its weights come after."""
    from yannctl.yann import Bounds, LatticeActor, encode_actor, extend

    extension = description.get("extension")
    dtype = _dtype(description["dtype"])
    if content.form == "lattice":
        lattices = _lattices(description, tensors, "" if extension is None else "base.", content.law.n_out)
        base: Any = LatticeActor(content.law, dtype, lattices)
    else:
        if content.form == "five_layer" and description.get("suppression") != SUPPRESSION:
            raise ModelError("suppression", "written by a version whose bias held M: compile the law again")
        base = encode_actor(content.law, content.form, dtype)
    if extension is None:
        return base
    x_min, x_max, u_min, u_max = (extension[name] for name in ("x_min", "x_max", "u_min", "u_max"))
    bounds = Bounds(x_min, x_max, u_min, u_max, tuple(extension["angles"]))
    policy = extend(
        base,
        bounds,
        extension["hidden"],
        authority=extension["authority"],
        layer_norm=extension["layer_norm"],
        kind=extension["kind"],
        saturation=extension["saturation"],
        dtype=_dtype(extension["dtype"]),
    )
    for name in ("centre", "half_range"):  # from the bounds they would come back with another last bit
        buffer = getattr(policy.features, name)
        buffer.copy_(buffer.new_tensor(extension[name]))
    return policy


def _dtype(name: str) -> Any:
    import torch

    if name not in DTYPES:
        raise ModelError("dtype", f"got {name!r}, expected one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def _lattices(description: dict[str, Any], tensors: dict[str, Any], prefix: str, n_out: int) -> list[Any]:
    """Read the lattice of each output off its tensors: to search for its terms again would take longer."""
    from yannctl.yann.lattice_terms import Lattice

    lattices = []
    for output in range(n_out):
        F, g, rows = (tensors[f"{prefix}law.{output}.{name}"].double().numpy() for name in ("F", "g", "terms"))
        terms = [np.unique(row).astype(np.int64) for row in rows]
        if not terms or min(int(term.min()) for term in terms) < 0 or max(int(term.max()) for term in terms) >= len(F):
            raise ModelError("terms", f"of output {output} name laws that are not there")
        lattices.append(Lattice(F, g, terms, bool(description["certified"]), float(description["merging"])))
    return lattices
