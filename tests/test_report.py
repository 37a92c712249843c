import json
import re
from html.parser import HTMLParser

from stages import report


class Page(HTMLParser):
    """Collects tags and the addresses a page would load or link to."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [(tag, attributes[name]) for name in ("src", "href") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        assert tag != "script"
        if tag == "img":
            assert attributes["alt"]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    page = Page()
    page.feed(html)
    assert page.open == []
    return page


def test_the_page_is_well_formed_and_needs_nothing_else(smoke):
    html = smoke.read("reports/index.html")
    page = parsed(html)
    assert all(a.startswith("data:image/svg+xml;base64,") for tag, a in page.addresses if tag == "img")
    links = [a for tag, a in page.addresses if tag != "img"]
    assert links
    assert all(a.startswith("#") and a[1:] in page.ids for a in links)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", html).replace(report_url(smoke), "")
    assert str(smoke.folder) not in html


def report_url(project):
    return re.search(r"text_url: (\S+)", project.read("params.yaml"))[1]


def test_it_shows_inputs_claims_figures_parameters_and_versions(smoke):
    html = smoke.read("reports/index.html")
    for entry in json.loads(smoke.read("data/inputs/provenance.json"))["inputs"]:
        assert entry["sha256"] in html
    for claim in json.loads(smoke.read("data/claims.json"))["claims"]:
        assert f'<tr id="{claim["id"]}">' in html
    assert html.count("<figure") == sum(len(figures) for _, figures in report.SECTIONS)
    assert "<code>train.width</code></td><td>32</td>" in html
    assert "torch 2." in html
    assert html.index("Where the inputs came from") < html.index("Claims and verdicts")


def test_every_figure_drawn_is_shown(smoke):
    drawn = {path.stem for path in (smoke.folder / "reports" / "figures").iterdir()}
    assert drawn == {f.name for _, figures in report.SECTIONS for f in figures if f.folder == report.FIGURES}


def test_what_it_shows_is_escaped(rebuilt):
    path = rebuilt.folder / "data" / "model5" / "seed-0" / "samples.json"
    path.write_text(json.dumps({"before": "<script>alert(1)</script>", "after": '"><img src=x>'}))
    assert rebuilt.stage("report", "data/model5/seed-0").returncode == 0
    html = rebuilt.read("reports/index.html")
    parsed(html)
    assert "&lt;script&gt;alert(1)" in html


def test_versions_are_those_of_the_lock():
    assert report.versions("numpy==1.2.3\n    # via x\ntorch==9.8 ; python\nother==1\n") == [
        ("numpy", "1.2.3"), ("torch", "9.8")
    ]  # fmt: skip


def test_models_of_which_little_can_be_said_are_shown(smoke, tmp_path):
    copy = smoke.copy(tmp_path / "copy")
    found = json.loads(copy.read("reports/metrics/layernorm.json"))
    found |= {"only beta": {"beta": {"n": 3, "not_finite": 0, "share_near_zero": 1.0}, "unrecognised": 2}}
    found |= {"only nan": {"gamma": {"n": 3, "not_finite": 3}, "unrecognised": 0}}
    (copy.folder / "reports/metrics/layernorm.json").write_text(json.dumps(found))
    done = copy.stage("report", "data/model5/seed-0")
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', copy.read("reports/index.html"), re.DOTALL))
    told = {model: re.findall("<td>(.*?)</td>", row) for model, row in rows.items()}
    assert told["only beta"] == ["0", "–", "–", "–", "–", "–", "100.0 %", "0", "2"]
    assert told["only nan"] == ["3", "–", "–", "–", "–", "–", "no β", "3", "0"]
