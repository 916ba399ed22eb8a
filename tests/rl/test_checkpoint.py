"""Checkpoints: whole or not at all, checked on reading, one writer at a time."""

import os

import pytest
import torch

from yannctl.rl import CheckpointError, RunLockedError
from yannctl.rl.checkpoint import FILE_NAME, digest, read_checkpoint, run_lock, write_checkpoint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "rng": torch.arange(4, dtype=torch.uint8), "n": torch.tensor(3)}


def test_what_is_written_is_read(tmp_path):
    sha = write_checkpoint(tmp_path, TENSORS, {"step": 5, "return": float("nan")})
    tensors, state = read_checkpoint(tmp_path)
    assert digest(tensors) == sha == digest(TENSORS)
    assert state["step"] == 5
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_leaves_the_last_one(tmp_path, monkeypatch, call):
    write_checkpoint(tmp_path, TENSORS, {"step": 1})

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(CheckpointError, match="No space left"):
            write_checkpoint(tmp_path, {"a": torch.zeros(1)}, {"step": 2})
    assert read_checkpoint(tmp_path)[1]["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_one_flipped_bit_is_found(tmp_path):
    write_checkpoint(tmp_path, TENSORS, {})
    data = bytearray((tmp_path / FILE_NAME).read_bytes())
    data[-3] ^= 1
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(CheckpointError, match="corrupt"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("data", [b"", b"not a checkpoint at all"])
def test_foreign_file_is_refused(tmp_path, data):
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path)


def test_second_writer_is_refused(tmp_path):
    with run_lock(tmp_path), pytest.raises(RunLockedError, match="another run"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):  # the lock went with its holder
        assert (tmp_path / "run.lock").exists()
