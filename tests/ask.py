"""Run a module as `python -m MODULE` does, then print as JSON what the numerical libraries there compute with.

torch is asked where it is loaded, or if ASK_TORCH is set; what MKL and oneDNN tell of themselves, they print.

example: python ask.py stages.train --help
"""

import json
import os
import runpy
import sys
from pathlib import Path


def answers():
    import numpy._core._multiarray_umath as numpy
    import scipy.linalg  # noqa: F401  brings an OpenBLAS of its own
    import threadpoolctl

    # what NumPy may choose code for beyond its baseline, and what it chose; the processor's own features stay listed
    chosen = {found["current"] for types in numpy.__cpu_targets_info__.values() for found in types.values()}
    told = {
        "numpy": [name for name in numpy.__cpu_dispatch__ if numpy.__cpu_features__[name]],
        "functions": sorted(chosen),
    }
    if "torch" in sys.modules or "ASK_TORCH" in os.environ:
        import torch
        from torch.backends import mkl, mkldnn

        told["torch"] = [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
        with mkl.verbose(mkl.VERBOSE_ON), mkldnn.verbose(mkldnn.VERBOSE_ON):
            torch.ones(64, 64) @ torch.ones(64, 64)
            torch.ones(4, 4).to_mkldnn()  # oneDNN tells of itself when it is first used
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
    print(f"\n{json.dumps(answers())}", flush=True)


if __name__ == "__main__":
    main()
