"""What is said before kernels are compiled."""

from types import SimpleNamespace

from yannctl.pwa.compilation import announce


def test_compilation_is_announced_once_per_machine(tmp_path, capsys):
    kernel = SimpleNamespace(py_func=announce, signatures=[], _cache=SimpleNamespace(cache_path=tmp_path))
    announce(kernel)
    assert "once per machine" in capsys.readouterr().err
    (tmp_path / "compilation.announce-33.py313.nbi").touch()
    announce(kernel)
    assert capsys.readouterr().err == ""
    (tmp_path / "compilation.announce-33.py313.nbi").unlink()
    kernel.signatures.append("compiled in this process")
    announce(kernel)
    assert capsys.readouterr().err == ""
