"""What DVC takes on trust is looked at again wherever it may have been touched since it was found sound.

DVC restores whatever lies in its cache under the right name, and takes an output for unchanged that has the size and
the time it noted. So inode, size and both times of all of these are kept in `.dvc/tmp/known.json`. Objects of the cache
that differ from that are read, and those that don't hold what their name says are found damaged; outputs that differ
get a new time, so that DVC reads them. What is as it was is not read, so this takes milliseconds however much there is.
(Without that file all is read again: after a disk has gone bad, say. The first look at a cache that several clones
share reads all of it.)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stages.common import cli

KNOWN = Path(".dvc/tmp/known.json")
CACHE = Path(".dvc/cache")
OBJECTS = Path("files/md5")
OUTPUTS = (Path("data"), Path("reports"))
HASH = re.compile(r"([0-9a-f]{32})(\.dir)?")

CACHE_DIR = re.compile(r"^\s*dir\s*=", re.MULTILINE | re.IGNORECASE)

Marks = dict[str, list[int]]


def configurations() -> list[Path]:
    """The files that DVC is configured by, there or not: of the system, the user, the repository and this clone."""
    import platformdirs

    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative")
    user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative")
    return [Path(system, "config"), Path(user, "config"), Path(".dvc/config"), Path(".dvc/config.local")]


def cache() -> Path:
    """The folder of DVC's cache. DVC is asked only where a configuration names one: it takes long to load.

    Raises:
        UserError: if DVC can't read its configuration.
    """
    if not any(path.is_file() and CACHE_DIR.search(path.read_text("utf-8", "replace")) for path in configurations()):
        return CACHE
    from dvc.config import Config, ConfigError

    try:
        return Path(Config(str(Path(".dvc").absolute()))["cache"].get("dir", CACHE))
    except ConfigError as error:
        raise cli.UserError(f"DVC's configuration: {error}") from None


def mark(path: Path) -> list[int]:
    """What changes when anybody writes a file, even one who sets its time back."""
    now = path.stat()
    return [now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns]


def marks(paths: Iterable[Path]) -> Marks:
    """The marks of those files that are still there."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path.as_posix()] = mark(path)
    return found


def known() -> Marks:
    """The marks of what was found sound; none if they can't be read."""
    try:
        noted = json.loads(KNOWN.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def name_of(path: Path) -> str:
    """The hash that an object of the cache goes by."""
    return path.parent.name + path.name


def is_sound(path: Path) -> bool:
    """Whether an object of the cache holds what its name says, or has gone."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "md5").hexdigest() == name_of(path).removesuffix(".dir")
    except FileNotFoundError:
        return True


def touch(path: Path) -> None:
    """Give a file a new time, if it is still there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        error.filename = str(path)  # which Python leaves out here
        raise


class Look:
    """One look at the cache and the outputs, beside what is known of them.

    Args:
        cache: DVC's.
    """

    def __init__(self, cache: Path = CACHE) -> None:
        self.known = known()
        self.objects = marks(path for path in (cache / OBJECTS).glob("??/*") if HASH.fullmatch(name_of(path)))

    def doubtful(self, found: Marks) -> list[Path]:
        return [Path(name) for name, marked in found.items() if self.known.get(name) != marked]

    def damaged(self) -> list[Path]:
        """The objects of the cache that are not what they seem."""
        waiting = self.doubtful(self.objects)
        if not waiting:
            return []
        from stages.common.progress import Progress

        found, sizes = [], {path: self.objects[path.as_posix()][1] for path in waiting}
        with Progress("reading what is new in DVC's cache", sum(sizes.values()), "byte") as progress:
            for path, size in sizes.items():
                if not is_sound(path):
                    found.append(path)
                progress.add(size)
        return found

    def note(self) -> None:
        """Note all of it as known, where no object is damaged; DVC reads for itself the outputs that were not known."""
        outputs = marks(path for folder in OUTPUTS for path in folder.rglob("*") if path.is_file())
        touched = self.doubtful(outputs)
        for path in touched:
            touch(path)
        found = self.objects | outputs | marks(touched)
        if found == self.known:
            return
        from stages.common import files

        with suppress(OSError):  # then it is read again next time
            files.write_text(KNOWN, json.dumps(found))
