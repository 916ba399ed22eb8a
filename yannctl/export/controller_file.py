"""Controller files: an explicit law, learned tensors and what they are for, in one safetensors file.

The header states version, form, plant, units and sample time as JSON, and the SHA-256 of the whole file with the digest
itself set to zeros, so a change of any byte is found before any number is used. Nothing is unpickled or executed.
"""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yannctl.errors import FileFormatError, ModelError, YannctlError
from yannctl.files import write_whole
from yannctl.plant import AbstractPlant
from yannctl.pwa.law import PwaLaw
from yannctl.types import ArrayLike

if TYPE_CHECKING:
    from yannctl.assurance import AnalyticCertificate, Certificate

VERSION = 1
KIND = "yannctl controller"
MAX_BYTES = 1 << 30
_NO_DIGEST = "0" * 64
_EXTENSION, _LAW, _CERTIFICATE = "extension.", "law.", "certificate"


@dataclass(frozen=True)
class ControllerFile:
    """What a controller file holds.

    Args:
        law: the explicit law.
        form: how the controller is built from it, e.g. "explicit", "gather", "five_layer", "lattice".
        extension: learned tensors by name, empty for the law alone.
        plant: name of the plant's class, empty when not stated.
        sample_time: period the law was made for [s], None when not stated.
        x_names: names of the states.
        x_units: units of the states.
        u_names: names of the inputs.
        u_units: units of the inputs.
        metadata: further JSON values of the author.
        sha256: digest of the file, empty before it is saved.
        certificate: bytes of the certificate file that travels with it, empty for none; `certificate_of` proves it.
    """

    law: PwaLaw
    form: str = "explicit"
    extension: Mapping[str, np.ndarray] = field(default_factory=dict)
    plant: str = ""
    sample_time: float | None = None
    x_names: tuple[str, ...] = ()
    x_units: tuple[str, ...] = ()
    u_names: tuple[str, ...] = ()
    u_units: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    certificate: bytes = field(default=b"", repr=False)


_HEADER_FIELDS = ("form", "plant", "sample_time", "x_names", "x_units", "u_names", "u_units", "metadata")
_TUPLES = ("x_names", "x_units", "u_names", "u_units")


def save_controller(
    path: str | Path,
    law: PwaLaw,
    plant: AbstractPlant | None = None,
    form: str = "explicit",
    extension: Mapping[str, ArrayLike] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ControllerFile:
    """Write a controller file in one step.

    Args:
        path: the file; an older one is replaced only when the new one is complete on disk.
        law: a complete explicit law.
        plant: the plant it is for; its name, units and sample time are stated and checked on loading.
        form: how the controller is built from the law.
        extension: learned tensors by name, e.g. a state dict on the CPU; finite numbers.
        metadata: further JSON values.

    Returns:
        What was written, with its digest.

    Raises:
        ModelError: a law that is not complete, a tensor that is not finite, or metadata that is not JSON.
    """
    if law.status != "complete":
        raise ModelError(
            "law", f"is {law.status}: {law.message}", remedy="only a complete law is saved as a controller"
        )
    tensors = {f"{_EXTENSION}{name}": np.ascontiguousarray(value) for name, value in (extension or {}).items()}
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "fiub" or not np.all(np.isfinite(tensor)):
            raise ModelError("extension", f"{name.removeprefix(_EXTENSION)!r} is not an array of finite numbers")
    content = ControllerFile(law=law, form=form, metadata=dict(metadata or {}), **_plant_fields(plant))
    try:
        header = json.dumps({key: getattr(content, key) for key in _HEADER_FIELDS}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(
            "metadata", f"is not JSON: {error}", remedy="give texts, finite numbers, lists and dicts"
        ) from error
    arrays, law_text = _law_parts(law)
    text = {
        "kind": KIND,
        "version": VERSION,
        "sha256": _NO_DIGEST,
        "header": header,
        "law": dict(sorted(law_text.items())),
    }
    _write(Path(path), {**arrays, **tensors}, text)
    return load_controller(path)


def attach_certificate(path: str | Path, certificate: bytes) -> ControllerFile:
    """Put a certificate into a controller file, so that the proof travels with the controller.

    Args:
        path: a controller file; it is replaced when the new one is complete on disk.
        certificate: bytes of a certificate file, signed or not. They are proved first, and stored as they are.

    Returns:
        What the file holds now.

    Raises:
        FileFormatError: a certificate whose proof does not hold, or that speaks about other states, inputs or another
            period than the controller.
    """
    from safetensors.numpy import load

    content = load_controller(path)
    certificate_of(replace(content, certificate=certificate), str(path))
    raw = _read(Path(path))
    text = json.loads(_header(raw)["__metadata__"]["yannctl"])
    tensors = {**load(raw), _CERTIFICATE: np.frombuffer(certificate, np.uint8)}
    _write(Path(path), tensors, {**text, "sha256": _NO_DIGEST})
    return load_controller(path)


def certificate_of(
    content: ControllerFile, path: str = "controller", trusted: bytes | None = None
) -> "Certificate | AnalyticCertificate | None":
    """Read the certificate of a controller file and prove every inequality of it again, exactly.

    Args:
        content: what `load_controller` gave.
        path: name for messages.
        trusted: public Ed25519 key (32 bytes) that must have signed the certificate; None accepts an unsigned one.

    Returns:
        The certificate, None where the file has none.

    Raises:
        FileFormatError: the proof does not hold, with the row that fails; or states, inputs or the period differ from
            those the file states.
    """
    from yannctl.assurance import read_certificate

    if not content.certificate:
        return None
    certificate = read_certificate(content.certificate, f"{path}, certificate", trusted)
    said = certificate.statement
    for name in _TUPLES:
        ours, theirs = getattr(content, name), getattr(said, name)
        if ours and ours != theirs:
            raise FileFormatError(f"{path}: its certificate is for {name} {theirs!r}, the controller has {ours!r}")
    if content.sample_time is not None and content.sample_time != said.dt:
        raise FileFormatError(f"{path}: its certificate is for a period of {said.dt}, not {content.sample_time}")
    return certificate


def _write(path: Path, tensors: dict[str, np.ndarray], text: dict[str, Any]) -> None:
    """Write tensors and header with the digest of both."""
    from safetensors.numpy import save

    raw = save(tensors, {"yannctl": json.dumps(text)})
    digest = hashlib.sha256(raw).hexdigest()
    write_whole(path, raw.replace(_NO_DIGEST.encode(), digest.encode(), 1))


def load_controller(path: str | Path, plant: AbstractPlant | None = None) -> ControllerFile:
    """Read a controller file, checking its digest before anything else is used.

    Args:
        path: a file written by `save_controller`.
        plant: the plant it is to run on; its name, states, inputs, units and sample time must equal the file's.

    Returns:
        The law, the learned tensors and the statements of the header.

    Raises:
        FileFormatError: a changed or cut file, another kind or version, or a file made for another plant.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = _read(Path(path))
    try:
        text = json.loads(_header(raw)["__metadata__"]["yannctl"])
        kind, version, digest = text["kind"], text["version"], text["sha256"]
        _check_digest(raw, digest)
        if kind != KIND or version != VERSION:
            raise FileFormatError(f"{path}: {kind} of version {version}; this program reads version {VERSION}")
        tensors = load(raw)
        header = json.loads(text["header"])
        law = _law_from_parts(_without(_LAW, tensors), text["law"])
        fields: dict[str, Any] = {key: tuple(header[key]) if key in _TUPLES else header[key] for key in _HEADER_FIELDS}
        extension = _without(_EXTENSION, tensors)
        proof = tensors[_CERTIFICATE].tobytes() if _CERTIFICATE in tensors else b""
        content = ControllerFile(law=law, extension=extension, sha256=digest, certificate=proof, **fields)
    except FileFormatError:
        raise
    except (SafetensorError, YannctlError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not a controller file or a damaged one ({error}); save it again") from error
    if plant is not None:
        _check_plant(content, plant, Path(path))
    return content


def _plant_fields(plant: AbstractPlant | None) -> dict[str, Any]:
    """What a file states about its plant."""
    if plant is None:
        return {}
    names = {key: tuple(str(text) for text in getattr(plant, key)) for key in _TUPLES}
    return {"plant": type(plant).__name__, "sample_time": float(plant.dt), **names}


def _check_plant(content: ControllerFile, plant: AbstractPlant, path: Path) -> None:
    """Refuse a file made for another plant."""
    for key, value in _plant_fields(plant).items():
        if getattr(content, key) != value:
            raise FileFormatError(f"{path}: made for {key} {getattr(content, key)!r}, the plant here has {value!r}")


def _read(path: Path) -> bytes:
    """All bytes of a regular file of bounded size; pipes and devices are refused without waiting."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not 8 <= status.st_size <= MAX_BYTES:
            raise FileFormatError(f"{path}: not a regular file of 8 to {MAX_BYTES} bytes")
        return file.read(MAX_BYTES)


def _check_digest(raw: bytes, digest: str) -> None:
    """Compare the digest with that of the file in which it is set to zeros."""
    stated = digest.encode()
    if (
        len(stated) != len(_NO_DIGEST)
        or hashlib.sha256(raw.replace(stated, _NO_DIGEST.encode(), 1)).hexdigest() != digest
    ):
        raise FileFormatError("the digest does not match: the file was changed or damaged; copy or save it again")


def _header(raw: bytes) -> dict[str, Any]:
    """The JSON header of safetensors bytes."""
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


def _law_parts(law: PwaLaw) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and texts of the law's own file, so that they lie open in this one."""
    from safetensors.numpy import load

    with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
        path = Path(folder) / "law"
        law.save(path)
        raw = path.read_bytes()
    return {f"{_LAW}{name}": array for name, array in load(raw).items()}, _header(raw)["__metadata__"]


def _law_from_parts(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> PwaLaw:
    """The law, checked once more by its own reader."""
    from safetensors.numpy import save

    with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
        path = Path(folder) / "law"
        path.write_bytes(save(arrays, texts))
        return PwaLaw.load(path)


def _without(prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of one prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
