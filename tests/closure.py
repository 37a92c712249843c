"""Which project modules does a module import, directly or not? Read from the sources, without importing anything."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("goldilocks", "stages", "tools")
PUBLIC = Path("goldilocks/__init__.py")
"""Names for notebooks, loaded when asked for. No stage uses one, so none depends on it."""


@functools.cache
def path_of(module: str) -> Path | None:
    """The file of a project module or package, None if it is not the project's."""
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@functools.cache
def imports(path: Path) -> set[str]:
    """Every module of the project that a source names in an import, anywhere in it, with the packages on the way."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    steps = {".".join(name.split(".")[: i + 1]) for name in named for i in range(name.count(".") + 1)}
    return {name for name in steps if name.split(".")[0] in PACKAGES and path_of(name)}


@functools.cache
def has_code(path: Path) -> bool:
    """Whether a source is more than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text("utf-8")).body)


def closure(module: str) -> set[str]:
    """The files of a module and of all project modules it imports, relative to the root; empty packages left out."""
    seen: set[str] = set()
    parts = module.split(".")
    waiting = {".".join(parts[: i + 1]) for i in range(len(parts))}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        path = path_of(name)
        assert path is not None, name
        waiting |= imports(path) - seen
    files = {path_of(name) for name in seen} - {ROOT / PUBLIC}
    return {path.relative_to(ROOT).as_posix() for path in files if path and has_code(path)}
