"""The HTML page and the file writer: whole, self-contained, escaped."""

import numpy as np
import pytest

from yannctl.cli import figures, report
from yannctl.cli.console import plain
from yannctl.files import write_whole


def test_page_holds_its_pictures_and_escapes_text(tmp_path):
    picture = tmp_path / "a.png"
    figure, _ = figures.new_figure(2.0, 1.0)
    figures.save_figure(figure, picture)
    section = report.Section("A < B", columns=("x",), rows=[["<script>"]], pictures=[report.Picture(picture, "seen")])
    report.write_report(tmp_path / "page.html", "T", "lead", [report.Card("1", "one", "good")], [section])
    text = (tmp_path / "page.html").read_text()
    assert "data:image/png;base64," in text
    assert "<script>" not in text
    assert "A &lt; B" in text
    assert "http" not in text


def test_writer_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("yannctl.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writer_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path, kind in ((tmp_path / "file" / "a.bin", NotADirectoryError), (tmp_path / "folder", IsADirectoryError)):
        with pytest.raises(kind) as caught:
            write_whole(path, b"new")
        assert caught.value.filename == str(path)
        assert caught.value.filename2 is None

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("yannctl.files.os.fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_whole(tmp_path / "b.bin", b"new")
    assert caught.value.filename == str(tmp_path / "b.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_plain_turns_numpy_into_json_values():
    data = {"a": np.float64(1.5), "b": np.arange(2), "c": float("nan"), "d": (np.bool_(True), None)}
    assert plain(data) == {"a": 1.5, "b": [0, 1], "c": None, "d": [True, None]}
