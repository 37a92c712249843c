import json
import re
from collections import Counter
from urllib.parse import unquote
from xml.etree.ElementTree import canonicalize

import pandas as pd
import pytest
from markup import Page
from pydantic import ValidationError

from stages import report

LARGEST = 2_000_000  # bytes


def test_the_page_is_well_formed_and_needs_nothing_else(smoke, committed):
    html = smoke.read("reports/index.html")
    page = Page(html)
    assert all(a.startswith("data:image/svg+xml,") for tag, a in page.addresses if tag == "img")
    inside = [a for tag, a in page.addresses if tag != "img" and a.startswith("#")]
    outside = {a for tag, a in page.addresses if tag != "img"} - set(inside)
    sources = {a for a in outside if a.startswith("https://github.com/")}
    assert len(sources) == 3, "two articles and a course"
    outside -= sources
    assert len(inside) > 30
    assert all(a[1:] in page.ids for a in inside)
    assert len(set(page.ids)) == len(page.ids)
    assert {tag for tag, a in page.addresses} == {"a", "img"}
    assert [a for a in outside if not (smoke.folder / "reports" / a).resolve().is_file()] == [], "tables and code"
    assert str(smoke.folder) not in html
    assert "default-src 'none'" in html
    assert "unsafe-eval" not in html
    assert (committed / "reports" / "index.html").stat().st_size <= LARGEST


def test_it_shows_inputs_claims_figures_parameters_and_versions(smoke):
    html = smoke.read("reports/index.html")
    for entry in json.loads(smoke.read("data/inputs/provenance.json"))["inputs"]:
        assert entry["sha256"] in html
    for claim in json.loads(smoke.read("data/claims.json"))["claims"]:
        assert f'<tr id="{claim["id"]}">' in html
    assert "<code>train.width</code></td><td>32</td>" in html
    assert "torch 2." in html
    places = ('class="flow"', 'class="glance"', 'class="answer"', 'class="chips"', '<h2 id="growth">')
    assert [html.count(place) for place in places] == [1] * len(places), "the first minute"
    assert max(html.index(place) for place in places) == html.index(places[-1])


def test_the_verdicts_at_a_glance_count_every_claim_and_say_what_the_kept_run_is(smoke):
    first = smoke.read("reports/index.html").split("<main")[0]
    counted = {text: int(n) for n, text in re.findall(r'<span class="badge [\w-]+">(\d+) ([^<]+)</span>', first)}
    claims = json.loads(smoke.read("data/claims.json"))["claims"]
    assert counted == {"not reproduced": 0} | Counter(report.shown(claim)["text"] for claim in claims)
    assert any("kept run" in text for text in counted)
    assert "The <dfn>kept run</dfn> is one training at" in first


def test_every_figure_drawn_is_shown_once(smoke):
    html = smoke.read("reports/index.html")
    drawn = [*(smoke.folder / "reports" / "figures").iterdir(), *(smoke.folder / "reports/ablations").glob("*.svg")]
    shown = [address for tag, address in Page(html).addresses if tag == "img"]
    inside = {canonicalize(unquote(address.removeprefix("data:image/svg+xml,"))) for address in shown}
    assert inside == {canonicalize(path.read_text("utf-8")) for path in drawn}
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
    assert re.search(r"deviation σ is 4\.3", html)
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html, re.DOTALL))
    told = {model: re.findall("<td>(.*?)</td>", row) for model, row in rows.items()}
    assert told["only beta"] == ["0", "–", "–", "–", "–", "–", "100\u00a0%", "0", "2"]
    assert told["only nan"] == ["3", "–", "–", "–", "–", "–", "no β", "3", "0"]


def test_versions_are_those_of_the_lock():
    assert report.pinned_versions("numpy==1.2.3\n    # via x\ntorch==9.8 ; python\nother==1\n") == [
        ("numpy", "1.2.3"), ("torch", "9.8")
    ]  # fmt: skip


def test_a_claim_that_only_the_kept_run_measured_says_one_thing():
    of_gpt2 = {"id": "S10", "verdict": "not measured here", "kept": {"verdict": "reproduced"}}
    assert report.shown(of_gpt2) == {"kind": "reproduced", "text": "reproduced for GPT-2 small (kept run)"}
    assert report.shown(of_gpt2 | {"id": "S7"})["text"] == "reproduced in the kept run"
    here = {"id": "S7", "verdict": "undecided", "kept": {"verdict": "reproduced"}}
    assert report.shown(here) == {"kind": "undecided", "text": "undecided"}
    assert report.shown(here | {"verdict": "not measured here", "kept": {"verdict": "not measured here"}})["kind"] == (
        "not-measured-here"
    )


def test_the_steepest_step_is_found_and_an_update_that_is_large_then():
    steps = [0, 1, 2, 10, 20, 30, 40]
    std = dict(zip(steps, [1, 1.1, 1.2, 1.3, 1.4, 2.1, 2.2], strict=True))
    update = dict.fromkeys(steps, 0.01) | {20: 0.07}
    entropy = dict(zip(steps, [1, 1, 1, 0.9, 0.6, 0.3, 0.2], strict=True))
    rows = [
        {"quantity": name, "step": step, "block": block, "mean": of[step] + block * above}
        for name, of, above in (("std", std, 0), ("update_ratio", update, 0), ("normalised_entropy", entropy, 0.05))
        for step in steps
        for block in (0, 1)
    ]
    found = report.steepest(pd.DataFrame(rows))
    assert (found["earlier"], found["before"], found["after"]) == (10, 20, 30)
    assert (found["growth"], found["moved"], found["moved_earlier"]) == pytest.approx((0.5, 0.07, 0.01))
    assert (found["entropy_earlier"], found["entropy_after"]) == (0.9, 0.3), "of the block where it is lowest"
    calm = pd.DataFrame([row | {"mean": 0.1} if row["quantity"] == "update_ratio" else row for row in rows])
    assert report.steepest(calm)["moved"] is None
    assert report.steepest(pd.DataFrame(rows).query("step < 2")) is None


@pytest.mark.parametrize(
    ("address", "files", "colab"),
    [
        ("https://example.org/me/it/blob/main", "https://example.org/me/it/blob/main/", None),
        ("https://github.com/me/it", "https://github.com/me/it/blob/main/", "me/it/blob/main"),
        ("https://github.com/me/it/blob/main/", "https://github.com/me/it/blob/main/", "me/it/blob/main"),
    ],
)
def test_links_lead_to_a_repository_if_it_is_named_and_the_tour_to_colab_if_it_is_on_github(
    rebuilt, address, files, colab
):
    rebuilt.configure(f"report.repository={address}")
    done = rebuilt.here("report", "data/model5/seed-0")
    assert done.returncode == 0, done.stderr
    addresses = {a for tag, a in Page(rebuilt.read("reports/index.html")).addresses if tag == "a"}
    assert {f"{files}stages/sweep.py", f"{files}docs/tour.ipynb"} <= addresses
    assert not [a for a in addresses if a.startswith("..") or "/data/" in a], "which no repository has"
    in_colab = [a for a in addresses if "colab" in a]
    assert in_colab == ([f"https://colab.research.google.com/github/{colab}/docs/tour.ipynb"] if colab else [])


@pytest.mark.parametrize("address", ["javascript:alert(1)", "../elsewhere", "https://a b"])
def test_a_repository_must_have_an_address(address):
    with pytest.raises(ValidationError, match="http"):
        report.Settings(title="t", repository=address)
