"""Names and texts of others stay names and texts: in folders, on terminals, in the page and in its figures."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import Project
from safetensors.numpy import save_file
from test_inputs import gpt2_tensors

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.ranges import Tally
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core import params
from goldilocks.core.cli import UserError
from goldilocks.data_sources import layout
from goldilocks.plotting import norms, style
from stages import inputs, report

INJECTED = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='x", "<!--",
    "&lt;b&gt;", "{{ 7 * 7 }}{% raw %}", "</title></head><body onload=x>", "$\\frac{$", "\0\x1b[31m\u202egpj.exe",
    "</style><style>*{}",
]  # fmt: skip


def client():
    return Client(Tally(), 1.0, 0)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "/x", "a\nb", "a\x1b[31mb", "\u202ex", "a:b", ""])
def test_a_name_that_a_user_gives_is_no_path(tmp_path, name):
    save_file(gpt2_tensors(), tmp_path / "m.safetensors")
    argument = f"{name}={tmp_path}/m.safetensors"
    with pytest.raises(UserError, match=r"no name for a checkpoint|no such file or folder"):
        extract(resolve(argument, client()))


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x1b[31mb", "x=y", "$(touch pwned)", "`x`;x", "-x", "..x", "a\\b", "\u202ex"]
)
def test_a_name_that_a_folder_has_stays_in_its_place(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    save_file(gpt2_tensors(), tmp_path / name / "model.safetensors")
    monkeypatch.setattr(inputs, "IGNORED", ROOT_IGNORED)
    folder = tmp_path / "inputs"
    (origin,) = inputs.bring(folder, [str(tmp_path / name)], client())
    (there,) = (folder / layout.CHECKPOINTS).iterdir()
    assert origin.input == f"{layout.CHECKPOINTS}/{there.name}"
    assert there.name.isprintable()
    assert [path.name for path in there.iterdir()] == ["model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "inputs"])


ROOT_IGNORED = Path(inputs.__file__).parent.parent / ".dvcignore"


@pytest.mark.parametrize("name", ["x.tmp", ".git", ".dvc", "x~", "__pycache__", ".DS_Store"])
def test_a_name_that_dvc_would_not_see_is_refused(tmp_path, monkeypatch, name):
    save_file(gpt2_tensors(), tmp_path / "m.safetensors")
    monkeypatch.setattr(inputs, "IGNORED", ROOT_IGNORED)
    with pytest.raises(UserError, match=f"DVC ignores {re.escape(name)}; write NAME="):
        inputs.bring(tmp_path / "inputs", [f"{name}={tmp_path}/m.safetensors"], client())
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize(
    "file", ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "..\\x.safetensors", "x\0.safetensors", "."]
)
def test_an_index_leads_nowhere_else(tmp_path, file):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(gpt2_tensors(), tmp_path / "x.safetensors")
    index = {"weight_map": dict.fromkeys(gpt2_tensors(), file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"points to .*(outside of its folder|no safetensors file)"):
        extract(resolve(str(folder), client()))


def test_an_index_of_more_files_than_any_model_has_is_refused(tmp_path):
    index = {"weight_map": {f"h.{i}.ln_1.weight": f"{i}.safetensors" for i in range(5000)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="points to 5,000 files, more than the 4,096 allowed"):
        extract(resolve(str(tmp_path), client()))


def test_names_of_tensors_are_told_in_one_line_that_a_terminal_does_not_obey(tmp_path):
    strange = ["../../x.norm.weight", "/etc/norm.weight", "\x1b[31m\n.norm.weight", "<b>.norm.weight"]
    tensors = gpt2_tensors() | {name: np.ones(4, np.float32) for name in strange}
    save_file(tensors, tmp_path / "m.safetensors")
    done = Project(tmp_path).here("layernorm", f"a$(touch pwned)={tmp_path}/m.safetensors")
    assert done.returncode == 0, done.stderr
    assert "\\x1b[31m\\n.norm.weight" in done.stdout
    assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())


class Page(HTMLParser):
    """What a page consists of: its tags with their attributes' names, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.attributes = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [value for _, value in attrs if value]

    def handle_comment(self, _):
        self.tags.append(("a comment", ()))

    def handle_decl(self, decl):
        self.tags.append(("a declaration", (decl,)))

    def handle_pi(self, _):
        self.tags.append(("an instruction", ()))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def shown_by_a_run(smoke):
    """What a page shows, without the interactive charts' data, which test_page.py looks at, and that page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(smoke.folder)
        settings, run = params.load("report", report.Settings, report.Run)
        found = report.contents(settings, run, Path("data/model5/seed-0"))
        found |= {"packed": lambda _: "", "runtime": "", "script": ""}
        yield found, Page(report.render(**content(found, "x")))


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


@pytest.mark.parametrize("text", INJECTED)
def test_the_page_has_no_element_but_its_own(shown_by_a_run, text):
    contents, plain = shown_by_a_run
    found = Page(report.render(**content(contents, text)))
    assert found.tags == plain.tags
    assert not any(name.startswith("on") for _, names in found.tags for name in names)
    shown = "".join(found.text)
    assert shown.count(report.printable(text)) >= 200
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", shown + "".join(found.attributes))


@pytest.mark.parametrize("title", ["", "a\nb", "\x1b[31m", "x" * 201])
def test_a_title_is_one_line(title):
    with pytest.raises(ValueError, match="title"):
        report.Settings(title=title)


NAMES = ["$\\frac{$", "a\\$b$ $x$", "</title><script>x</script>-->", "&lt;_%s{0}"]


def table():
    """Norms of models of these names."""
    rows = [
        (model, kind, block, "attention input", 0.3 + block)
        for model in NAMES
        for kind in ("gamma", "beta")
        for block in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["model", "kind", "block", "place", "value"])


@pytest.mark.parametrize(
    ("draw", "each"), [(norms.histograms, 2), (norms.by_block, 2), (lambda *x: norms.by_model(*x, 0.2, 0.4, {}), 1)]
)
def test_models_names_are_drawn_as_they_are(tmp_path, draw, each):
    with style.applied():
        style.save(draw(table(), 7.0), tmp_path / "figure.svg", 50)
    written = (tmp_path / "figure.svg").read_text("utf-8")
    root = ElementTree.fromstring(written)
    assert not {"script", "foreignObject", "a"} & {one.tag.split("}")[-1] for one in root.iter()}
    assert not any(name.startswith("on") for one in root.iter() for name in one.attrib)
    drawn = [html.unescape(text).replace("- ", "-") for text in re.findall(r"<!-- (.*?) -->", written, re.DOTALL)]
    for name in NAMES:  # Matplotlib notes what it draws as outlines in a comment
        assert sum(text.startswith(name) for text in drawn) == each, name
