"""One file that holds all of a training run, written whole or not at all, and read without running any code.

The file is safetensors; its header carries the counters, random states and a SHA-256 of the tensors as JSON.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from yannctl.files import write_whole

from .errors import CheckpointError, RunLockedError, typed_disk_errors

VERSION = 1
FILE_NAME = "checkpoint.safetensors"
LOCK_NAME = "run.lock"


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes, in order of the names.

    Args:
        tensors: tensors by name.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        total.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_checkpoint(run_dir: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> str:
    """Write a checkpoint to a temporary file, force it to disk and rename it.

    Args:
        run_dir: folder of the run.
        tensors: every tensor of the run, by name.
        state: counters and settings that JSON can hold.

    Returns:
        The SHA-256 of the tensors.

    Raises:
        CheckpointError: if the disk is full or cannot be written; the last checkpoint is untouched.
    """
    whole = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    sha = digest(whole)
    header = {"yannctl": json.dumps({"version": VERSION, "sha256": sha, "state": state})}
    try:
        write_whole(Path(run_dir) / FILE_NAME, save(whole, metadata=header))
    except OSError as error:
        raise CheckpointError(
            f"cannot write a checkpoint in {run_dir}: {error}", "free the disk; the last one is intact"
        ) from error
    return sha


def read_checkpoint(run_dir: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the checkpoint of a run and check that every byte is what was written.

    Args:
        run_dir: folder of the run.

    Returns:
        The tensors by name, and the state.

    Raises:
        CheckpointError: if there is none, or it is corrupt or of another version.
    """
    path = Path(run_dir) / FILE_NAME
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("yannctl", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}", "resume needs the folder of an earlier run") from error
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise CheckpointError(f"{path} is not a version {VERSION} checkpoint of yannctl", "train with a new run_dir")
    if digest(tensors) != header["sha256"]:
        raise CheckpointError(f"{path} is corrupt: its SHA-256 does not match", "restore it from a copy")
    return tensors, header["state"]


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the run folder for one writer; the lock goes when the process does, so it never becomes stale.

    Args:
        run_dir: folder of the run; it is created.

    Raises:
        RunLockedError: if another process, or another call in this one, holds it.
        CheckpointError: if the folder cannot be made.
    """
    import fcntl

    with typed_disk_errors(Path(run_dir)):
        Path(run_dir).mkdir(parents=True, exist_ok=True)
        handle = os.open(Path(run_dir) / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunLockedError(f"{run_dir} is being written by another run", "choose another run_dir") from error
        yield
    finally:
        os.close(handle)
