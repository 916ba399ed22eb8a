"""Controller files: what goes in comes out, and every changed byte is found."""

import json
import sys

import numpy as np
import pytest

from yannctl.errors import FileFormatError, ModelError
from yannctl.export import load_controller, save_controller
from yannctl.pwa.law import PwaLaw


@pytest.fixture
def law():
    """U = sat(-0.7 x, ±1) on [-3, 3]."""
    knee = 1 / 0.7
    return PwaLaw(
        row_start=np.array([0, 2, 4, 6]),
        H=np.array([[-1 / 3], [1 / 3]] * 3),
        k=np.array([1.0, -knee / 3, knee / 3, knee / 3, -knee / 3, 1.0]),
        F=np.array([[[0.0]], [[-0.7]], [[0.0]]]),
        g=np.array([[1.0], [0.0], [-1.0]]),
        theta_min=np.array([-3.0]),
        theta_max=np.array([3.0]),
        theta_names=("angle",),
    )


@pytest.fixture
def saved(law, tmp_path):
    path = tmp_path / "c.safetensors"
    extension = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "layer.bias": [0.5, -0.5]}
    save_controller(path, law, form="gather", extension=extension, metadata={"note": "Prüfstand 3", "gain": 1.5})
    return path


def test_content_survives(law, saved):
    found = load_controller(saved)
    theta = np.linspace(-3.5, 3.5, 101)[:, None]
    np.testing.assert_array_equal(found.law(theta), law(theta))
    assert found.law.theta_names == ("angle",)
    assert found.form == "gather"
    assert found.metadata == {"note": "Prüfstand 3", "gain": 1.5}
    np.testing.assert_array_equal(found.extension["layer.weight"], np.arange(6).reshape(2, 3))
    assert found.extension["layer.weight"].dtype == np.float32
    assert set(found.extension) == {"layer.weight", "layer.bias"}
    assert len(found.sha256) == 64


def test_same_content_gives_the_same_file(law, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    assert save_controller(first, law).sha256 == save_controller(second, law).sha256
    assert first.read_bytes() == second.read_bytes()


def test_every_sampled_byte_is_guarded(saved, tmp_path):
    raw = saved.read_bytes()
    size = 8 + int.from_bytes(raw[:8], "little")
    generator = np.random.default_rng(0)
    places = [*range(0, 200), *generator.integers(0, size, 100), *generator.integers(size, len(raw), 200)]
    broken = tmp_path / "broken"
    for place in places:
        flipped = bytearray(raw)
        flipped[place] ^= 1 << int(generator.integers(8))
        broken.write_bytes(flipped)
        with pytest.raises(FileFormatError):
            load_controller(broken)


def test_cut_and_padded_files_are_refused(saved, tmp_path):
    raw = saved.read_bytes()
    broken = tmp_path / "broken"
    for content in [*(raw[:n] for n in range(0, len(raw), 37)), raw[:-1], raw + b"\0", b"\0" * len(raw)]:
        broken.write_bytes(content)
        with pytest.raises(FileFormatError):
            load_controller(broken)


@pytest.mark.parametrize(
    "content", [b"\x80\x04\x95" + b"c" * 40, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"[" * 9000]
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        load_controller(path)
    header = json.dumps({"__metadata__": {"yannctl": "[" * 5000}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(FileFormatError):
        load_controller(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFO")
def test_a_pipe_or_folder_does_not_hang(tmp_path):
    import os

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileFormatError, match="regular"):
        load_controller(pipe)


def test_another_version_is_named(saved):
    import hashlib

    raw = saved.read_bytes()
    text = json.loads(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["yannctl"])
    changed = raw.replace(b'\\"version\\": 1', b'\\"version\\": 9').replace(text["sha256"].encode(), b"0" * 64)
    assert changed != raw
    saved.write_bytes(changed.replace(b"0" * 64, hashlib.sha256(changed).hexdigest().encode()))
    with pytest.raises(FileFormatError, match="version 9"):
        load_controller(saved)


def test_mistakes_are_named_and_leave_no_file(law, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(ModelError, match="extension"):
        save_controller(path, law, extension={"w": np.array([np.nan])})
    with pytest.raises(ModelError, match="metadata"):
        save_controller(path, law, metadata={"x": float("nan")})
    with pytest.raises(ModelError, match="partial"):
        save_controller(path, law.with_status("partial", "budget"))
    assert list(tmp_path.iterdir()) == []
