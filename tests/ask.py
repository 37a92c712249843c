"""Run a module as `python -m MODULE` does, then ask the numerical libraries in that process what they compute with.

The answers go to a file in the folder ASKED. torch is asked where it is loaded, or if ASK_TORCH is set.

example: ASKED=/tmp python ask.py stages.train --help
"""

import contextlib
import ctypes
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path


@contextlib.contextmanager
def printed():
    """What is printed meanwhile on the standard output of C, in a list."""
    flush, stdout, lines = ctypes.CDLL(None).fflush, os.dup(1), []
    flush(None)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 1)
        yield lines
        flush(None)
        os.dup2(stdout, 1)
        caught.seek(0)
        lines.append(caught.read().decode())


def printed_by_mkl():
    """What MKL says of a product."""
    import torch

    matrix = torch.ones(64, 64)
    with printed() as lines, torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        _ = matrix @ matrix
    return lines[0]


def printed_by_onednn():
    """What oneDNN says of itself when it is first used."""
    import torch

    with printed() as lines, torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        torch.ones(4, 4).to_mkldnn()
    return lines[0]


def answers():
    import numpy._core._multiarray_umath as numpy
    import scipy.linalg  # noqa: F401  brings an OpenBLAS of its own
    import threadpoolctl

    features = sorted(name for name, there in numpy.__cpu_features__.items() if there)
    told = {"numpy": features}
    if "torch" in sys.modules or "ASK_TORCH" in os.environ:
        import torch

        told["torch"] = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
        told["mkl"], told["onednn"] = printed_by_mkl(), printed_by_onednn()
    told["pools"] = [
        {name: pool.get(name) for name in ("internal_api", "architecture", "num_threads")}
        for pool in threadpoolctl.threadpool_info()
    ]
    return told


def main():
    module, *sys.argv[1:] = sys.argv[1:]
    sys.path[0] = str(Path.cwd())
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        assert not ended.code, ended.code
    Path(os.environ["ASKED"], f"{os.getpid()}.json").write_text(json.dumps(answers()))


if __name__ == "__main__":
    main()
