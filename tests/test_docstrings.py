"""Every public function and class says what it does, and names every argument it takes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path
    for folder in ("yannctl", "models", "controllers", "hil")
    for path in (ROOT / folder).rglob("*.py")
    if not any(part.is_symlink() for part in path.parents)
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _public_functions(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """Yield name, node and the text that may document its arguments (a class documents its own __init__)."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for item in node.body:
                if isinstance(item, Function) and (item.name == "__init__" or not item.name.startswith("_")):
                    yield (
                        f"{node.name}.{item.name}",
                        item,
                        (ast.get_docstring(item) or "") + (ast.get_docstring(node) or ""),
                    )


def _arguments(node: Function) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [a.arg for a in every if a.arg not in {"self", "cls"} and not a.arg.startswith("_") and not _is_option(a)]


def _is_option(argument: ast.arg) -> bool:
    """Say whether the command line documents it: `Annotated[..., typer.Option(help=...)]` or a shared alias of one."""
    text = ast.unparse(argument.annotation) if argument.annotation else ""
    known = {
        "Json", "Seed", "Short", "LawFile", "ConfigFile", "ControllerFile", "CertificateFile", "Cpu", "LogArgument",
        "OutFile", "Bare",
    }  # fmt: skip
    return text.startswith("Annotated[") or text in known


def _is_kernel(path: Path) -> bool:
    """Say whether a module holds compiled kernels: they are internal, their typed wrappers are documented."""
    return "kernel" in path.stem


def _overrides(tree: ast.Module, name: str) -> bool:
    """Say whether a method fulfils a contract of its base class, which documents the arguments."""
    owner, _, method = name.partition(".")
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    return bool(method) and method != "__init__" and owner in classes and bool(classes[owner].bases)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arguments_are_documented(path: Path):
    tree = ast.parse(path.read_text())
    faults = []
    for name, node, text in _public_functions(tree):
        missing = [] if text else ["no docstring"]
        if not _overrides(tree, name) and not _is_kernel(path):
            missing += [a for a in _arguments(node) if a not in text]
        if missing:
            faults.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}: {', '.join(missing)}")
    assert not faults, "\n".join(faults)
