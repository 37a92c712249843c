"""Checksums of committed result folders that other results are built on, so that damage is detected.

The file of hashes is what `sha256sum` writes: `cd reports/paper && sha256sum --check SHA256SUMS` does the same.
"""

from __future__ import annotations

from pathlib import Path

from goldilocks.core import files

SUMS = "SHA256SUMS"


def found(folder: Path) -> dict[str, str]:
    """The hash of every file in a folder by name, except hidden files and the file of hashes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {
        name: files.sha256(folder / name) for path in paths if (name := path.relative_to(folder).as_posix()) != SUMS
    }


def seal(folder: Path) -> None:
    """Write the file of hashes of a folder."""
    files.write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in found(folder).items()))


def differing(folder: Path) -> list[str]:
    """The files of a folder that are not as their recorded hashes say, or are not recorded, or gone."""
    lines = (line.partition("  ") for line in (folder / SUMS).read_text("utf-8", "replace").splitlines())
    noted, now = {name: digest for digest, _, name in lines}, found(folder)
    return sorted(name for name in noted.keys() | now.keys() if noted.get(name) != now.get(name))


def problems(folder: Path) -> list[str]:
    """A line for each file of a folder that differs from its recorded hash."""
    sums = folder / SUMS
    if not sums.is_file():
        return [f"{sums}: no such file; `git checkout {folder}` brings it back"]
    return [
        f"{folder / name}: damaged or edited, {sums} says; `git checkout {folder}` brings back what is committed"
        for name in differing(folder)
    ]
