"""Laws as files: safetensors arrays with a JSON header and a digest, written in one step."""

import hashlib
import json
import os
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from yannctl.errors import FileFormatError, YannctlError
from yannctl.files import write_whole

from .evaluation import attach_tree
from .law import PwaLaw
from .search_tree import SearchTree
from .settings import Settings

FORMAT = "yannctl-pwa-law"
VERSION = 1
_ARRAYS = ("row_start", "H", "k", "F", "g", "theta_min", "theta_max", "P", "p", "c")
_TREE = ("planes", "child", "first", "members", "answer", "box", "limits", "depth")
_FACETS = ("facet.centre", "facet.neighbour", "facet.code")


def save(law: PwaLaw, path: str | os.PathLike) -> None:
    """Write a law; the program it solves goes along when there is one.

    Args:
        law: the law to write.
        path: file to write; an existing one is replaced in one step, its folder is created.

    Raises:
        OSError: the file cannot be written; an older one is then untouched.
    """
    from safetensors.numpy import save as to_bytes

    arrays, header = _pack(law)
    trees = {} if law.tree is None else {"tree": law.tree, "tree.regions": law.tree.regions}
    for mark, tree in trees.items():
        if tree is not None:
            arrays |= {f"{mark}.{name}": np.asarray(getattr(tree, name)) for name in _TREE}
    if law.origin is not None:
        arrays |= {"facet.centre": law.origin.centre}
        arrays |= {f"facet.{name}": getattr(law.origin, name).astype(np.int32) for name in ("neighbour", "code")}
    elif law.facet_notes is not None:
        arrays |= dict(zip(_FACETS, law.facet_notes, strict=True))
    header["mpqp"] = _pack_mpqp(law.mpqp, arrays)
    if law.unmerged is not None:
        more, header["unmerged"] = _pack(law.unmerged)
        arrays |= {f"unmerged.{name}": value for name, value in more.items()}
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    text = json.dumps(header)
    metadata = {"format": FORMAT, "version": str(VERSION), "header": text, "sha256": _digest(arrays, text)}
    write_whole(Path(path), to_bytes(arrays, metadata))


def _pack(law: PwaLaw) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the other fields of a law, without its tree, its program and the law it was merged from."""
    arrays = {name: getattr(law, name) for name in _ARRAYS}
    sizes = [len(rows) for rows in law.active]
    arrays["active_start"] = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    arrays["active_rows"] = np.array([row for rows in law.active for row in rows], dtype=np.int64)
    return arrays, {
        "theta_names": list(law.theta_names or ()), "out_names": list(law.out_names or ()), "status": law.status,
        "message": law.message, "settings": asdict(law.settings),
    }  # fmt: skip


def load(path: str | os.PathLike) -> PwaLaw:
    """Read a law written by `save`.

    Args:
        path: file to read.

    Raises:
        FileFormatError: there is no such file, or it is damaged, of another version, or not a law.
    """
    arrays, metadata = _read(path)
    try:
        header = json.loads(metadata["header"])
        if _digest(arrays, metadata["header"]) != metadata["sha256"]:
            raise FileFormatError(f"{path}: the digest does not match, the file is damaged; copy or solve it again")
        mpqp = _unpack_mpqp(header["mpqp"], arrays)
        unmerged = None
        if "unmerged" in header:
            mark = "unmerged."
            own = {name.removeprefix(mark): value for name, value in arrays.items() if name.startswith(mark)}
            unmerged = _unpack(own, header["unmerged"], mpqp, None)
        law = _unpack(arrays, header, mpqp, unmerged)
        if _FACETS[0] in arrays:
            law.__dict__["facet_notes"] = tuple(arrays[name] for name in _FACETS)
        if "tree.planes" in arrays:
            attach_tree(law, _unpack_tree(arrays, law))
        return law
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, YannctlError) as error:
        raise FileFormatError(f"{path}: not a valid law ({error}); solve and save it again") from error


def _unpack(arrays: dict[str, np.ndarray], header: dict[str, Any], mpqp: Any, unmerged: PwaLaw | None) -> PwaLaw:
    """Return the law that `_pack` took apart."""
    start, rows = arrays["active_start"], arrays["active_rows"]
    return PwaLaw(
        **{name: arrays[name] for name in _ARRAYS},
        active=tuple(tuple(map(int, rows[s:e])) for s, e in pairwise(start)),
        theta_names=tuple(header["theta_names"]), out_names=tuple(header["out_names"]), status=header["status"],
        message=header["message"], settings=Settings(**header["settings"]), mpqp=mpqp, unmerged=unmerged,
    )  # fmt: skip


def _unpack_tree(arrays: dict[str, np.ndarray], law: PwaLaw) -> SearchTree:
    """Return the tree of a file after checking that its indices stay inside its arrays."""
    tree = None
    for mark in ("tree.regions", "tree"):
        if f"{mark}.planes" in arrays:
            values = {name: np.require(arrays[f"{mark}.{name}"], requirements=["C", "W"]) for name in _TREE}
            depth = int(values.pop("depth").ravel()[0])
            tree = SearchTree(**values, depth=depth, regions=tree)
    if tree is None:
        raise KeyError("tree.planes")
    tree.check(law.n_regions, law.ntheta)
    return tree


def _read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return arrays and metadata of a safetensors file of our format and version."""
    from safetensors import SafetensorError, safe_open

    if os.path.isdir(path):
        raise FileFormatError(f"{path}: is a folder; give the file that `save` wrote")
    if not os.path.exists(path):
        raise FileFormatError(f"{path}: no such file; yannctl solve or `law.save` writes one")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{path}: not a readable safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not a law of yannctl (format {metadata.get('format')!r}, expected {FORMAT!r})")
    if metadata.get("version") != str(VERSION):
        raise FileFormatError(
            f"{path}: version {metadata.get('version')}, this package reads version {VERSION}; solve and save it again"
        )
    return arrays, metadata


def _digest(arrays: dict[str, np.ndarray], header: str) -> str:
    """Return the SHA-256 of the header and all arrays in the order of their names."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _pack_mpqp(mpqp: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Put the program's arrays beside the law's and return the rest of its fields."""
    if mpqp is None:
        return None
    rest = {}
    for item in fields(mpqp):
        value = getattr(mpqp, item.name)
        if isinstance(value, np.ndarray):
            arrays[f"mpqp.{item.name}"] = value
        elif isinstance(value, np.generic):
            rest[item.name] = value.item()
        else:
            rest[item.name] = value
    return rest


def _unpack_mpqp(rest: dict[str, Any] | None, arrays: dict[str, np.ndarray]) -> Any:
    """Rebuild the program from its arrays and the rest of its fields."""
    if rest is None:
        return None
    from yannctl.mpqp.problem import MpQp

    values = {name: tuple(value) if isinstance(value, list) else value for name, value in rest.items()}
    values |= {name.removeprefix("mpqp."): value for name, value in arrays.items() if name.startswith("mpqp.")}
    return MpQp(**values)
