"""Which project modules does a module import, directly or not? Read from the sources, without importing anything."""

from __future__ import annotations

import ast
from modulefinder import ModuleFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("goldilocks", "stages", "tools")
PUBLIC = Path("goldilocks/__init__.py")
"""Names for notebooks, loaded when asked for. No stage uses one, so none depends on it."""


def has_code(path: Path) -> bool:
    """Whether a source is more than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text("utf-8")).body)


def closure(module: str) -> set[str]:
    """The files of a module and of all project modules it imports, relative to the root; empty packages left out.

    Imports inside functions count, too.
    """
    finder = ModuleFinder([str(ROOT)])
    finder.import_hook(module)
    found = {Path(each.__file__) for each in finder.modules.values() if each.__file__}
    return {path.relative_to(ROOT).as_posix() for path in found - {ROOT / PUBLIC} if has_code(path)}
