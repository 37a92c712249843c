"""Run a module as `python -m MODULE` does, then ask the numerical libraries in that process what they compute with.

The answers go to a file in the folder ASKED. torch is asked where it is loaded, or if ASK_TORCH is set.

example: ASKED=/tmp python ask.py stages.train --help
"""

import ctypes
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path


def printed(use):
    """What the standard output of C gets while a function is called."""
    flush, stdout = ctypes.CDLL(None).fflush, os.dup(1)
    flush(None)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 1)
        use()
        flush(None)
        os.dup2(stdout, 1)
        caught.seek(0)
        return caught.read().decode()


def use_mkl(torch):
    with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        torch.ones(64, 64) @ torch.ones(64, 64)


def use_onednn(torch):
    """It tells of itself when it is first used."""
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        torch.ones(4, 4).to_mkldnn()


def answers():
    import numpy._core._multiarray_umath as numpy
    import scipy.linalg  # noqa: F401  brings an OpenBLAS of its own
    import threadpoolctl

    features = sorted(name for name, there in numpy.__cpu_features__.items() if there)
    told = {"numpy": features}
    if "torch" in sys.modules or "ASK_TORCH" in os.environ:
        import torch

        told["torch"] = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
        told["mkl"], told["onednn"] = printed(lambda: use_mkl(torch)), printed(lambda: use_onednn(torch))
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
