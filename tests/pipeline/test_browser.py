"""The page in a real browser: what it logs and asks for, what moves, who can read it."""

import re
import shutil

import numpy as np
import pytest
from closure import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test adds it")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install Chromium (Debian: apt install chromium)"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
WIDTHS = (360, 820, 1440)
SHOTS = ROOT / ".screenshots"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def opened(browser, path, **how):
    """A page with every interactive chart built, and what it logged and asked for."""
    page = browser.new_context(**how).new_page()
    page.told = []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("request", lambda asked: page.told.append(asked.url) if asked.url[:5] not in ("file:", "data:") else None)
    page.goto(path.as_uri())
    if how.get("java_script_enabled", True):
        for explored in page.locator(".explored").all():
            explored.scroll_into_view_if_needed()
            explored.locator(".explorer[data-ready]").wait_for(timeout=20_000)
    return page


@pytest.fixture(scope="module")
def page(browser, smoke):
    return opened(browser, smoke.folder / "reports" / "index.html", viewport={"width": 1280, "height": 900})


def choose(explorer, name, position):
    """Move a control as a keyboard does, or choose from a list, and wait for the charts."""
    control = explorer.locator(f"[name={name}]")
    if control.get_attribute("type") == "range":
        control.focus()
        control.press("Home")
        for _ in range(position):
            control.press("ArrowRight")
    else:
        control.select_option(index=position)
    explorer.page.wait_for_timeout(150)


def drawn(explorer):
    return [chart.inner_html() for chart in explorer.locator(".chart svg").all()]


def numbers(explorer):
    """The rows of the table of the numbers shown, by column."""
    details = explorer.locator("details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
        details.locator("td").first.wait_for()
    names = details.locator("th").all_inner_texts()
    cells = details.locator("td").all_inner_texts()
    return {name: cells[i :: len(names)] for i, name in enumerate(names)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_committed_page_logs_nothing_asks_for_nothing_and_fits_every_screen(browser, scheme, committed):
    SHOTS.mkdir(exist_ok=True)
    page = opened(browser, committed / "reports" / "index.html", color_scheme=scheme)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=SHOTS / f"{width}-{scheme}.png", full_page=True)
    assert page.told == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_charts_stand_in_the_place_of_their_figures_and_nothing_is_logged(page):
    for explored in page.locator(".explored").all():
        assert explored.locator(".explorer").is_visible()
        assert not explored.locator("figure").is_visible()
        assert all("<path" in chart for chart in drawn(explored))
    assert page.told == []


def test_without_javascript_the_figures_stand_there(browser, smoke):
    page = opened(browser, smoke.folder / "reports" / "index.html", java_script_enabled=False)
    for explored in page.locator(".explored").all():
        assert explored.locator("figure img").is_visible()
        assert not explored.locator(".explorer").is_visible()


def test_a_longer_query_saturates_softmax_unless_it_is_scaled(page):
    explorer = page.locator("#softmax .explorer")
    seen = {}
    for d in (0, 42):
        for scaling in range(3):
            choose(explorer, "dimension", d)
            choose(explorer, "exponent", scaling)
            charts, shown = drawn(explorer), numbers(explorer)
            assert charts not in [before for before, _ in seen.values()]
            logits, p = (np.array(shown[name], float) for name in ("logit", "probability"))
            expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            np.testing.assert_allclose(p, expected, atol=0.02)
            np.testing.assert_allclose(np.array(shown["gradient"], float), p * (1 - p), atol=2e-3)
            jacobian = np.linalg.norm(np.diag(expected) - np.outer(expected, expected))
            told = re.fullmatch(r"Logits of RMS (\S+): .* is (\S+), the norm .* gradient, (\S+)\.",
                                explorer.locator("[aria-live]").inner_text())  # fmt: skip
            assert [float(x) for x in told.groups()] == pytest.approx(
                [np.sqrt((logits**2).mean()), expected.max(), jacobian], rel=0.05, abs=0.01
            )
            seen[d, scaling] = charts, float(told[2])
    assert explorer.locator("output").inner_text() == "4,096"
    assert explorer.locator("[name=dimension]").get_attribute("aria-valuetext") == "4,096"
    assert seen[42, 0][1] > 0.99 > 0.8 > seen[42, 1][1] > seen[42, 2][1]
    assert seen[42, 2][1] == pytest.approx(1 / 16, rel=0.2)


def test_histograms_follow_step_block_matrix_and_head(page):
    explorer = page.locator("#qkv_histograms .explorer")
    before = drawn(explorer)
    for name in ("step", "block", "part", "head"):
        choose(explorer, name, 1)
        assert drawn(explorer) != before, name
        before = drawn(explorer)
    shares = np.array(numbers(explorer)["share"], float)
    assert shares.sum() == pytest.approx(100, abs=3)
    choose(explorer, "step", 0)
    told = explorer.locator("[aria-live]").inner_text()
    sigma = float(re.match(r"σ = (\S+),", told)[1])
    assert sigma == pytest.approx(0.02, rel=0.1)


def test_the_map_reads_out_the_cell_that_was_walked_to(page):
    explorer = page.locator("#goldilocks_map .explorer")
    before = drawn(explorer)
    choose(explorer, "quantity", 1)
    choose(explorer, "dimension", 2)
    choose(explorer, "exponent", 0)
    assert drawn(explorer) != before
    told = explorer.locator("[aria-live]").inner_text()
    read = re.match(r"At d = 8, logits times d\^-0.00: largest probability (\S+), .* the Goldilocks zone\.$", told)
    shown = numbers(explorer)
    cells = zip(shown["value"], shown["dimension"], shown["exponent"], strict=True)
    (expected,) = [float(shown) for shown, d, exponent in cells if (d, exponent) == ("8", "0")]
    assert float(read[1]) == pytest.approx(expected, rel=1e-2)


def test_norms_are_shown_by_model_and_parameter(page):
    explorer = page.locator("#layernorm_by_block .explorer")
    models = explorer.locator("[name=model] option").all_inner_texts()
    assert "gpt2, in the kept run" in models
    choose(explorer, "model", models.index("gpt2, in the kept run"))
    gamma = numbers(explorer)
    assert len(gamma["block"]) == 25
    assert 0.1 < float(gamma["median"][0]) < 0.4
    choose(explorer, "kind", 1)
    assert abs(float(numbers(explorer)["median"][0])) < 0.1


def test_pointing_at_a_mark_shows_its_numbers(page):
    explorer = page.locator("#softmax .explorer")
    choose(explorer, "dimension", 0)
    probability = numbers(explorer)["probability"][0]
    mark = explorer.locator(".chart").nth(1).locator("svg .mark-rect path").first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    hint = page.locator("#vg-tooltip-element")
    hint.get_by_text("softmax").wait_for()
    shown = re.search(r"softmax\s+(\S+)", hint.inner_text())[1]
    assert float(shown) == pytest.approx(float(probability), rel=1e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDTHS[0], WIDTHS[-1]])
def test_axe_finds_nothing(browser, smoke, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    path = smoke.folder / "reports" / "index.html"
    page = opened(browser, path, color_scheme=scheme, viewport={"width": width, "height": 900})
    found = axe.run(page).response
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found["violations"]] == []
    assert {"color-contrast", "region", "landmark-one-main"} <= {each["id"] for each in found["passes"]}


def test_a_link_into_a_folded_part_opens_it(page):
    assert not page.locator("#one_pair").is_visible()
    page.evaluate("location.hash = '#one_pair'")
    page.locator("#one_pair img").wait_for()
    assert page.locator("#one_pair").is_visible()


def test_paper_gets_no_controls(page):
    page.emulate_media(media="print")
    assert not page.locator(".controls").first.is_visible()
    assert page.locator("#softmax .chart").first.is_visible()
    page.emulate_media(media="screen")
