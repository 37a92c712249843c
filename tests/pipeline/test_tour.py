import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from closure import ROOT

TOUR = json.loads((ROOT / "docs/tour.ipynb").read_text("utf-8"))
CODE = [  # with a call in place of IPython's command
    re.sub(r"%pip (.*)", r'pip(f"\1")', "".join(cell["source"]))
    for cell in TOUR["cells"]
    if cell["cell_type"] == "code"
]
SHOWN = """
import matplotlib.pyplot as plt
shown = []
def show():
    shown.append(len(plt.gca().lines))
    plt.close()
plt.show = show
"""
CHECKS = """
assert shown == [3, 4, 2], shown
np.testing.assert_allclose(measured / np.sqrt(dimensions), 1, atol=0.2)
where = table.set_index(["d", "scaling"])["where"]
assert set(where.xs("scaled", level="scaling")) == {"inside"}, where
assert where[256, "unscaled"] == "saturated" and where[256, "scaled_by_d"] == "flat", where
assert inputs[-1] > 10 * inputs[0], "the last loop is without LayerNorm"
"""


def test_no_output_is_committed():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in TOUR["cells"] if "outputs" in cell)


@pytest.mark.parametrize(
    ("there", "repository", "installed"),
    [(True, "", []), (False, "https://github.com/me/it", ["install --quiet git+https://github.com/me/it"])],
)
def test_its_first_cell_installs_the_library_where_it_is_not(monkeypatch, there, repository, installed):
    asked, called = [], []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: asked.append(name) or (there or None))
    exec(CODE[0].replace('REPOSITORY = ""', f"REPOSITORY = {repository!r}"), {"pip": called.append})
    assert (asked, called) == (["goldilocks"], installed)


def test_its_first_cell_asks_for_the_address_of_the_repository(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="write the repository's address into REPOSITORY"):
        exec(CODE[0], {})


@pytest.mark.slow
def test_the_tour_runs_and_shows_what_it_says(tmp_path):
    script = "\n".join([SHOWN, *CODE, CHECKS])
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
