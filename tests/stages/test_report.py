import json
import re
from urllib.parse import unquote

from markup import Page

from stages import report

LARGEST = 3_000_000  # bytes


def test_the_page_is_well_formed_and_needs_nothing_else(smoke, committed):
    html = smoke.read("reports/index.html")
    page = Page(html)
    assert all(a.startswith("data:image/svg+xml,") for tag, a in page.addresses if tag == "img")
    inside = [a for tag, a in page.addresses if tag != "img" and a.startswith("#")]
    outside = {a for tag, a in page.addresses if tag != "img"} - set(inside)
    assert len(inside) > 30
    assert all(a[1:] in page.ids for a in inside)
    assert len(set(page.ids)) == len(page.ids)
    assert {tag for tag, a in page.addresses} == {"a", "img"}
    assert [a for a in outside if not (smoke.folder / "reports" / a).resolve().is_file()] == [], "tables and code"
    assert str(smoke.folder) not in html
    assert "default-src 'none'" in html
    assert "unsafe-eval" not in html
    assert "window.vegaEmbed=" in html
    assert (committed / "reports" / "index.html").stat().st_size <= LARGEST


def test_it_shows_inputs_claims_figures_parameters_and_versions(smoke):
    html = smoke.read("reports/index.html")
    for entry in json.loads(smoke.read("data/inputs/provenance.json"))["inputs"]:
        assert entry["sha256"] in html
    for claim in json.loads(smoke.read("data/claims.json"))["claims"]:
        assert f'<tr id="{claim["id"]}">' in html
    assert "<code>train.width</code></td><td>32</td>" in html
    assert "torch 2." in html
    assert html.index("claims on this") < html.index("Where the inputs came from") < html.index('<h2 id="growth">')


def test_every_figure_drawn_is_shown_once(smoke):
    html = smoke.read("reports/index.html")
    drawn = [*(smoke.folder / "reports" / "figures").iterdir(), *(smoke.folder / "reports/ablations").glob("*.svg")]
    shown = [address for tag, address in Page(html).addresses if tag == "img"]
    assert {unquote(address.removeprefix("data:image/svg+xml,")) for address in shown} == {
        path.read_text("utf-8") for path in drawn
    }
    assert len(shown) == len(drawn)


LITTLE = {
    "only beta": {"beta": {"n": 3, "not_finite": 0, "share_near_zero": 1.0}, "unrecognised": 2},
    "only nan": {"gamma": {"n": 3, "not_finite": 3}, "unrecognised": 0},
}


def test_what_is_shown_are_the_runs_own_numbers_and_of_models_what_can_be_said(rebuilt):
    """Of a run with other numbers, with models of which little can be said, and with markup in its samples."""
    metrics = rebuilt.folder / "reports" / "metrics"
    sweep, layernorm = (json.loads((metrics / f"{name}.json").read_text()) for name in ("sweep", "layernorm"))
    sweep["monte_carlo"]["sigma_QKt"]["value"] = 4.321
    (metrics / "sweep.json").write_text(json.dumps(sweep))
    (metrics / "layernorm.json").write_text(json.dumps(layernorm | LITTLE))
    samples = {"before": "<script>alert(1)</script>", "after": '"><img src=x>'}
    (rebuilt.folder / "data" / "model5" / "seed-0" / "samples.json").write_text(json.dumps(samples))
    done = rebuilt.here("report", "data/model5/seed-0")
    assert done.returncode == 0, done.stderr
    html = rebuilt.read("reports/index.html")
    Page(html)
    assert "&lt;script&gt;alert(1)" in html
    assert re.search(r'<ol class="answer">(.*?)</ol>', html, re.DOTALL)[1].count("<li>") == 3
    assert "σ = 4.32" in html
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html, re.DOTALL))
    told = {model: re.findall("<td>(.*?)</td>", row) for model, row in rows.items()}
    assert told["only beta"] == ["0", "–", "–", "–", "–", "–", "100.0 %", "0", "2"]
    assert told["only nan"] == ["3", "–", "–", "–", "–", "–", "no β", "3", "0"]


def test_versions_are_those_of_the_lock():
    assert report.pinned_versions("numpy==1.2.3\n    # via x\ntorch==9.8 ; python\nother==1\n") == [
        ("numpy", "1.2.3"), ("torch", "9.8")
    ]  # fmt: skip
