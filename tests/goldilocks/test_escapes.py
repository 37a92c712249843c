"""Names and texts of others stay names and texts: in folders, on terminals, in the page and in its figures."""

import html
import json
import re
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from closure import ROOT
from markup import Page
from safetensors.numpy import save_file
from test_inputs import gpt2_tensors

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.resolve import resolve
from goldilocks.checkpoints.tensors import read_index
from goldilocks.core import params
from goldilocks.core.cli import UserError
from goldilocks.data_sources import layout
from goldilocks.plotting import batch, norms, style
from stages import inputs, report


@pytest.mark.parametrize("name", ["..", "a/b", "/x", "a\x1b[31mb", "\u202ex", "a:b", ""])
def test_a_name_that_a_user_gives_is_no_path(tmp_path, name):
    save_file(gpt2_tensors(), tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"no name for a checkpoint|no such file or folder"):
        read(f"{name}={tmp_path}/m.safetensors")


@pytest.mark.parametrize("where", ["http://host/..", "http://host/a/../model.safetensors", "http://host/."])
def test_a_name_is_never_a_way_out_of_a_folder(where):
    assert resolve(where, Client()).name == "model"


@pytest.mark.parametrize("name", ["a\x1b[31m\nb", "x=y", "$(touch pwned)`x`;x", "-x", "..x", "a\\b", "\u202ex"])
def test_a_name_that_a_folder_has_stays_in_its_place(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    save_file(gpt2_tensors(), tmp_path / name / "model.safetensors")
    monkeypatch.setattr(inputs, "IGNORED", ROOT / ".dvcignore")
    folder = tmp_path / "inputs"
    (origin,) = inputs.bring(folder, [str(tmp_path / name)], Client())
    (there,) = (folder / layout.CHECKPOINTS).iterdir()
    assert origin.input == f"{layout.CHECKPOINTS}/{there.name}"
    assert there.name.isprintable()
    assert [path.name for path in there.iterdir()] == ["model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "inputs"])


@pytest.mark.parametrize("name", ["x.tmp", ".git", ".dvc", "__pycache__"])
def test_a_name_that_dvc_would_not_see_is_refused(tmp_path, monkeypatch, name):
    save_file(gpt2_tensors(), tmp_path / "m.safetensors")
    monkeypatch.setattr(inputs, "IGNORED", ROOT / ".dvcignore")
    with pytest.raises(UserError, match=f"DVC ignores {re.escape(name)}; write NAME="):
        inputs.bring(tmp_path / "inputs", [f"{name}={tmp_path}/m.safetensors"], Client())
    assert not (tmp_path / "inputs").exists()


BELOW = "points to .*, which is no safetensors file in its folder"


def index(*files):
    return {"weight_map": dict(enumerate(files))}


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        *((index(way_out), BELOW) for way_out in ("../x.safetensors", "/x.safetensors", "a/../../x.safetensors", ".")),
        *((index(f"{other}.safetensors"), BELOW) for other in ("a\\b", "http://x/y", "x?y", "x#y", "x\0")),
        *((index(nonsense), BELOW) for nonsense in ("model.bin", ".safetensors", 1)),
        (index(*(f"{i}.safetensors" for i in range(5000))), "points to 5,000 files, more than the 4,096 allowed"),
        *((nothing, "not an index of safetensors files") for nothing in ({"weights": {}}, index(), {"weight_map": 1})),
        ([1], "not a JSON object"),
    ],
)
def test_an_index_leads_nowhere_else(contents, said):
    with pytest.raises(UserError, match=f"^it: .*{said}"):
        read_index(json.dumps(contents).encode(), "it")


def replaced(value, text):
    """A nested value with `text` for every string in it."""
    if isinstance(value, dict):
        return {key: replaced(entry, text) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(entry, text) for entry in value]
    return text if isinstance(value, str) else value


def content(found, text):
    """What a page shows with `text` in each place that may come from outside."""
    places = ("title", "provenance", "claims", "by_id", "labels", "samples", "parameters", "versions")
    (norms,) = list(found["metrics"]["layernorm"].values())[:1]
    models = {f"model {text}": norms, "little": {"unrecognised": text}}
    chart = found["explorers"]["layernorm_by_block"]
    controls = tuple(control._replace(label=text, values=[text, text]) for control in chart.controls)
    chart = chart._replace(title=text, about=(text,), controls=controls)
    return found | {name: replaced(found[name], text) for name in places} | {
        "metrics": found["metrics"] | {"layernorm": models},
        "explorers": found["explorers"] | {"layernorm_by_block": chart},
    }  # fmt: skip


INJECTED = "|".join([
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='x", "&lt;b&gt;", "{{ 7 * 7 }}{% raw %}",
    "</title></head><body onload=x>", "$\\frac{$", "\0\x1b[31m\u202egpj.exe", "</style><style>*{}", "<!--",
])  # fmt: skip


def test_the_page_has_no_element_but_its_own(smoke, monkeypatch):
    """Without the interactive charts' data, which test_page.py looks at."""
    monkeypatch.chdir(smoke.folder)
    settings, run = params.load("report", report.Settings, report.Run)
    contents = report.contents(settings, run.root_seed, Path("data/model5/seed-0"))
    contents |= {"packed": lambda _: "", "runtime": "", "script": ""}
    plain, found = (Page(report.render(**content(contents, text))) for text in ("x", INJECTED))
    assert found.elements == plain.elements
    assert not any(name.startswith("on") for _, *names in found.elements for name in names)
    assert found.text.count(report.printable(INJECTED)) >= 200
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", found.text + "".join(found.attributes))


NAMES = ["$\\frac{$", "a\\$b$ $x$", "</title><script>x</script>-->", "&lt;_%s{0}"]


def table():
    """Norms of models of these names."""
    rows = [
        (model, kind, block, "attention input", 0.3 + block)
        for model, kind, block in product(NAMES, ("gamma", "beta"), (0, 1))
    ]
    return pd.DataFrame(rows, columns=["model", "kind", "block", "place", "value"])


@pytest.mark.parametrize(
    ("draw", "each"), [(norms.histograms, 2), (norms.by_block, 2), (lambda *x: norms.by_model(*x, 0.2, 0.4, {}), 1)]
)
def test_models_names_are_drawn_as_they_are(draw, each):
    with style.applied():
        written = batch.svg(draw(table()), 50)
    root = ElementTree.fromstring(written)
    assert not {"script", "foreignObject", "a"} & {one.tag.split("}")[-1] for one in root.iter()}
    assert not any(name.startswith("on") for one in root.iter() for name in one.attrib)
    drawn = [html.unescape(text).replace("- ", "-") for text in re.findall(r"<!-- (.*?) -->", written, re.DOTALL)]
    for name in NAMES:  # Matplotlib notes what it draws as outlines in a comment
        assert sum(text.startswith(name) for text in drawn) == each, name
