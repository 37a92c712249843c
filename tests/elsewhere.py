"""Other processors, emulated, and a newer C library, for tests of what no machine may change.

`.ci/run` unpacks both from newer releases of Debian into a folder that the variable NEWER_DEBIAN names.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNPACKED = os.environ.get("NEWER_DEBIAN")
PROCESSORS = ("Haswell-noTSX", "EPYC")
"""The first ones with AVX2 and FMA by Intel (2013), and of today's kind by AMD (2017): seldom what tests run on."""
SORTS = "import numpy as np; x = np.random.default_rng(0).permutation(999); assert (x[x.argsort()] == np.sort(x)).all()"


def emulator() -> str:
    """The path of an emulator of x86-64 processors whose AVX2 is right; skips where there is none.

    What an emulated process forks is emulated; other programs that it starts are not.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("processors are emulated on Linux on x86-64 alone")
    search = f"{UNPACKED}/usr/bin{os.pathsep}{os.environ['PATH']}" if UNPACKED else None
    found = shutil.which("qemu-x86_64", path=search)
    if found is None:
        pytest.skip("no qemu-x86_64 here: it is in Debian's package qemu-user, see .ci/run")
    for processor in PROCESSORS:
        if subprocess.run([found, "-cpu", processor, sys.executable, "-c", SORTS], capture_output=True).returncode:
            pytest.skip(f"{found} -cpu {processor} does not sort, as that of QEMU 7.2; a newer one does, see .ci/run")
    return found


def with_newer_libc(folder: Path) -> Path:
    """Make a virtual environment that is this one with a newer C library, in a folder; skips where there is none.

    Returns:
        the folder's `bin`, whose `python` starts this Python with that library, and so does what it starts.
    """
    libraries = Path(UNPACKED or "nowhere") / "usr/lib/x86_64-linux-gnu"
    if not (libraries / "libc.so.6").exists():
        pytest.skip("no newer C library here: .ci/run unpacks one")
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copyfile(Path(sys.prefix) / "pyvenv.cfg", folder / "pyvenv.cfg")
    loader = f'"{libraries}/ld-linux-x86-64.so.2" --library-path "{libraries}" --argv0 "{python}"'
    python.write_text(f'#!/bin/sh\nexec {loader} "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python.parent
