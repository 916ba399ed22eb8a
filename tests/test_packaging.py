"""The two ways the code is reached (links for tools, package-dir for wheels) must agree."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("models", "controllers", "hil")


def test_every_package_is_listed_for_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"yannctl"}
    for folder in ("yannctl", *LINKED):
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            found.add(".".join(parts if parts[0] == "yannctl" else ("yannctl", *parts)))
    assert found == set(listed)


def test_links_reach_the_real_folders():
    for folder in LINKED:
        link = ROOT / "yannctl" / folder
        assert link.resolve() == ROOT / folder
        assert not (ROOT / folder).is_symlink()


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_stays_light():
    loaded = _modules_after("import yannctl")
    assert not loaded & {"torch", "casadi", "numba", "matplotlib", "cvxpy", "control", "daqp"}


def test_every_public_name_resolves():
    import yannctl

    for name in yannctl.__all__:
        assert getattr(yannctl, name) is not None, name


def test_environments_are_registered_on_import():
    import gymnasium

    import yannctl  # noqa: F401

    assert "yannctl/Pendulum-v0" in gymnasium.registry
