"""Learned part and safety filter as tensors of a controller file, and back.

Names: `residual.weights.0`, `residual.biases.0`, …, `residual.centre`, `residual.scale`, `residual.reach`,
`residual.u_min`, `residual.u_max`, `residual.angles`, `residual.activation` (its place in `ACTIVATIONS`), and
`filter.F_low`, `filter.g_low`, `filter.F_high`, `filter.g_high`, `filter.u_min`, `filter.u_max`; for a filter from a
certificate `filter.reach` and `filter.source` (ASCII codes) too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.errors import FileFormatError, ModelError
from yannctl.pwa.law import PwaLaw

from .clip_tables import ClipTables
from .controller_file import ControllerFile, certificate_of, load_controller
from .policy_file import KEY, policy_of
from .projection_tables import ProjectionTables, filter_tables
from .residual_tables import ACTIVATIONS, ResidualTables

_RESIDUAL = ("centre", "scale", "reach", "u_min", "u_max")
_FILTER = ("F_low", "g_low", "F_high", "g_high", "u_min", "u_max")


def controller_tensors(extension: Any = None, clip: Any = None) -> dict[str, np.ndarray]:
    """Give the tensors that `save_controller` keeps beside the law.

    Args:
        extension: a `yann.ExtendedActor` or `ResidualTables`, or None.
        clip: a safety filter such as `assurance.ClipFilter`, the `assurance.Certificate` it comes from, or None.

    Returns:
        Arrays by name, for `save_controller(..., extension=...)`.
    """
    tensors: dict[str, np.ndarray] = {}
    if extension is not None:
        tables = ResidualTables.of(extension, "double")
        for i, (weight, bias) in enumerate(zip(tables.weights, tables.biases, strict=True)):
            tensors[f"residual.weights.{i}"], tensors[f"residual.biases.{i}"] = weight, bias
        tensors |= {f"residual.{name}": getattr(tables, name) for name in _RESIDUAL}
        tensors["residual.angles"] = np.array(tables.angles, np.int64)
        tensors["residual.activation"] = np.array([ACTIVATIONS.index(tables.kind)], np.int64)
    if clip is not None:
        tables = ClipTables.of(clip)
        tensors |= {f"filter.{name}": np.atleast_1d(getattr(tables, name)) for name in _FILTER}
        if tables.reach is not None:
            tensors["filter.reach"] = tables.reach
        if tables.source:
            tensors["filter.source"] = np.frombuffer(tables.source.encode("ascii", "replace"), np.uint8)
    return tensors


def controller_parts(tensors: Mapping[str, np.ndarray]) -> tuple[ResidualTables | None, ClipTables | None]:
    """Read learned part and filter from the tensors of a controller file.

    Args:
        tensors: arrays by name.

    Returns:
        The learned part and the filter in double precision, None where the file has none.

    Raises:
        FileFormatError: a tensor is missing, or there are tensors of another kind.
    """
    known = tuple(name for name in tensors if name.startswith(("residual.", "filter.")))
    if len(known) != len(tensors):
        foreign = next(name for name in tensors if name not in known)
        raise FileFormatError(f"tensor {foreign!r} has no C form; save learned parts with controller_tensors")
    try:
        return _residual(tensors), _filter(tensors)
    except KeyError as error:
        raise FileFormatError(f"tensor {error.args[0]!r} is missing; save the controller again") from error


def read_parts(
    path: str | Path, bare: bool = False
) -> tuple[PwaLaw, ResidualTables | None, ClipTables | ProjectionTables | None]:
    """Read a law file or a controller file.

    Args:
        path: a file written by `PwaLaw.save`, `save_controller` or `save_policy`.
        bare: whether to leave out the filter of a certificate that is no clip to lines, instead of refusing the file.

    Returns:
        The law, the learned part and the filter, None where there is none; the filter of a certificate in the file
        where it brings no other, proved again.

    Raises:
        FileFormatError: neither kind of file, a damaged one, or a certificate whose proof does not hold.
        ModelError: a certificate whose filter is no clip to lines, or for other states than the law's.
    """
    try:
        content = load_controller(path)
    except FileFormatError as error:
        if "digest" in str(error):
            raise
        return PwaLaw.load(path), None, None
    if KEY in content.metadata:
        residual, own = _policy_residual(content, str(path)), None
    else:
        residual, own = controller_parts(content.extension)
    clip: ClipTables | ProjectionTables | None = own
    certificate = certificate_of(content, str(path)) if clip is None else None
    if certificate is not None and not (bare and not hasattr(certificate, "clip")):
        clip = _clip_of(certificate, content.law, str(path))
    return content.law, residual, clip


def certified_clip(path: str | Path, law: PwaLaw) -> ClipTables | ProjectionTables:
    """Read a certificate file, prove it again and give its filter for a law.

    Args:
        path: a file written by `assurance.save_certificate` or `yannctl certify`.
        law: the law whose output is filtered.

    Returns:
        The filter in double precision.

    Raises:
        FileFormatError: a damaged file, or one whose proof does not hold.
        ModelError: states that are not the first parameters of the law.
    """
    from yannctl.assurance import load_certificate

    return _clip_of(load_certificate(path), law, str(path))


def _clip_of(certificate: Any, law: PwaLaw, name: str) -> ClipTables | ProjectionTables:
    """The filter of a certificate, where it is one of lines and for the states of a law."""
    wanted, names = certificate.statement.x_names, law.theta_names or ()
    if len(wanted) > law.F.shape[2] or any(a != b for a, b in zip(wanted, names, strict=False)):
        text = f"{name} is for the states {', '.join(wanted)}; the law's parameters are {', '.join(names)}"
        raise ModelError("certificate", text, remedy="give the certificate of this plant, states in the law's order")
    return filter_tables(certificate)


def _policy_residual(content: ControllerFile, name: str) -> ResidualTables | None:
    """The learned part of a policy file, None for the law as a network."""
    from yannctl.yann import ExtendedActor

    policy = policy_of(content, name)
    return ResidualTables.of(policy, "double") if isinstance(policy, ExtendedActor) else None


def _residual(tensors: Mapping[str, np.ndarray]) -> ResidualTables | None:
    """The learned part, if there is one."""
    count = sum(name.startswith("residual.weights.") for name in tensors)
    if count == 0:
        return None
    kind = int(tensors["residual.activation"][0])
    if not 0 <= kind < len(ACTIVATIONS):
        raise FileFormatError(f"activation {kind} is unknown; save the controller again")
    return ResidualTables(
        weights=tuple(tensors[f"residual.weights.{i}"] for i in range(count)),
        biases=tuple(tensors[f"residual.biases.{i}"] for i in range(count)),
        kind=ACTIVATIONS[kind],
        angles=tuple(int(i) for i in tensors["residual.angles"]),
        **{name: tensors[f"residual.{name}"] for name in _RESIDUAL},
    )


def _filter(tensors: Mapping[str, np.ndarray]) -> ClipTables | None:
    """The filter, if there is one."""
    if "filter.F_low" not in tensors:
        return None
    arrays = [tensors[f"filter.{name}"] for name in _FILTER]
    source = tensors.get("filter.source", np.zeros(0, np.uint8)).tobytes().decode("ascii", "replace")
    limits = (np.asarray(bound[0]) for bound in arrays[4:])
    return ClipTables(*arrays[:4], *limits, reach=tensors.get("filter.reach"), source=source)
