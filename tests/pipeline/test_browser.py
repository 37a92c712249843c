"""The page in a real browser: what it logs and asks for, what moves, who can read it."""

import re
import shutil

import numpy as np
import pytest
from browsing import choose, drawn, numbers, opened, plain
from closure import ROOT

from goldilocks.plotting import palette

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test adds it")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install Chromium (Debian: apt install chromium)"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
WIDTHS = (375, 820, 1440)
SHOTS = ROOT / ".screenshots"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page(browser, smoke):
    return opened(browser, smoke.folder / "reports" / "index.html", viewport={"width": 1280, "height": 900})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_committed_page_logs_nothing_asks_for_nothing_and_is_for_everyone_on_every_screen(
    browser, scheme, committed
):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    SHOTS.mkdir(exist_ok=True)
    page = opened(browser, committed / "reports" / "index.html", color_scheme=scheme)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=SHOTS / f"{width}-{scheme}.png", full_page=True)
        found = axe.run(page).response
        assert [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found["violations"]] == []
        assert {"color-contrast", "region", "landmark-one-main"} <= {each["id"] for each in found["passes"]}
    assert page.told == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_charts_stand_in_the_place_of_their_figures_which_stand_there_without_javascript(browser, page, smoke):
    for explored in page.locator(".explored").all():
        assert explored.locator(".explorer").is_visible()
        assert not explored.locator("figure").is_visible()
        assert all("<text" in chart for chart in drawn(explored))
    assert page.told == []
    still = opened(browser, smoke.folder / "reports" / "index.html", java_script_enabled=False)
    for explored in still.locator(".explored").all():
        assert explored.locator("figure img").is_visible()
        assert not explored.locator(".explorer").is_visible()


def test_question_drawing_map_and_verdicts_are_seen_at_once(page):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.evaluate("scrollTo(0, 0)")
    parts = {name: page.locator(name).bounding_box() for name in ("h1", ".flow", ".answer", ".glance", ".chips")}
    page.set_viewport_size({"width": 1280, "height": 900})
    assert all(0 <= box["y"] < box["y"] + box["height"] <= 900 for box in parts.values()), parts


def test_a_longer_query_saturates_softmax_unless_it_is_scaled(page):
    explorer = page.locator("#softmax .explorer")
    assert explorer.locator("output").inner_text() == "50", "the articles' dimension"
    seen = {}
    for d in (0, 45):
        for scaling in range(3):
            choose(explorer, "dimension", d)
            choose(explorer, "scaling", scaling)
            charts, shown = drawn(explorer), numbers(explorer)
            assert charts not in [before for before, _ in seen.values()]
            logits, p = (np.array([plain(cell) for cell in shown[name]]) for name in ("logit", "probability"))
            expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            np.testing.assert_allclose(p, expected, atol=0.02)
            np.testing.assert_allclose([plain(cell) for cell in shown["derivative"]], p * (1 - p), atol=2e-3)
            even = np.full(p.size, 1 / p.size)
            jacobian, its = (np.linalg.norm(np.diag(of) - np.outer(of, of)) for of in (expected, even))
            told = explorer.locator("[aria-live]").inner_text()
            found = re.search(r"largest probability is (.+?) \(.* Jacobian norm (.+?) \(", told).groups()
            assert [plain(x) for x in found] == pytest.approx([expected.max(), jacobian / its], rel=0.1, abs=0.02)
            seen[d, scaling] = charts, expected.max()
    assert explorer.locator("output").inner_text() == "4,096"
    assert explorer.locator("[name=dimension]").get_attribute("aria-valuetext") == "4,096"
    assert seen[45, 0][1] > 0.99 > 0.8 > seen[45, 1][1] > seen[45, 2][1]


def test_bars_are_as_high_as_their_values_on_a_scale_that_ticks_tell_and_show_their_numbers(page):
    explorer = page.locator("#softmax .explorer")
    choose(explorer, "dimension", 10)
    choose(explorer, "scaling", 1)
    shown = numbers(explorer)
    for chart, name in ((0, "logit"), (1, "probability"), (2, "derivative")):
        bars = explorer.locator(".chart").nth(chart).locator("rect[data-value]").all()
        values = [float(bar.get_attribute("data-value")) for bar in bars]
        assert values == pytest.approx([plain(cell) for cell in shown[name]], rel=1e-2, abs=1e-4)
        heights = np.array([float(bar.get_attribute("height")) for bar in bars])
        if name == "logit":  # a logarithmic scale beyond ±1
            size = np.abs(values)
            values = np.where(size < 1, size, 1 + np.log(np.maximum(size, 1)))
        high = heights > 2  # pixels; smaller ones are drawn so that they can be seen
        assert high.sum() >= 3
        ratio = heights[high] / np.array(values)[high]
        np.testing.assert_allclose(ratio, ratio[0], rtol=0.02)
    words = explorer.locator(".chart").first.locator("text").all_text_contents()
    assert {"0", "1", "3", "10", "−1", "−3", "−10"} <= set(words)
    assert "log scale" in words[0]
    mark = explorer.locator(".chart").nth(1).locator("rect[data-value]").first
    assert mark.locator("title").text_content() == f"key 1: {shown['probability'][0]}"


def test_histograms_follow_step_block_matrix_and_head_with_a_bar_for_each_bin_as_high_as_its_share(page):
    explorer = page.locator("#qkv_histograms .explorer")
    before = drawn(explorer)
    for name, position in (("step", 1), ("block", 1), ("part", 1), ("head", 1), ("step", 0)):
        choose(explorer, name, position)
        assert drawn(explorer) != before, name
        before = drawn(explorer)
    sigma = float(re.match(r"σ = (\S+),", explorer.locator("[aria-live]").inner_text())[1])
    assert sigma == pytest.approx(0.02, rel=0.1)
    shown = {name: np.array([plain(cell) for cell in cells]) for name, cells in numbers(explorer).items()}
    assert shown["share"].sum() == pytest.approx(100, abs=3)
    x, y, width, height = explorer.locator("rect[data-value]").evaluate_all(
        "bars => ['x', 'y', 'width', 'height'].map(a => bars.map(bar => +bar.getAttribute(a)))"
    )
    edges = np.polyfit(shown["left"], x, 1)
    np.testing.assert_allclose(np.polyval(edges, shown["left"]), x, atol=0.1)
    np.testing.assert_allclose(np.polyval(edges, shown["right"]), np.add(x, width), atol=0.1)
    scale = max(height) / max(shown["share"])
    np.testing.assert_allclose(height, scale * shown["share"], atol=0.01 * max(height))
    np.testing.assert_allclose(np.add(y, height), y[0] + height[0], atol=1e-6, err_msg="all stand on one line")


def test_the_mean_of_many_is_marked_where_the_axis_says_it(page):
    chart = page.locator("#softmax .chart").nth(1)
    told = plain(chart.locator("text.on").text_content().split(": ")[1])
    rule = float(chart.locator("line.rule").get_attribute("y1"))
    bars = chart.locator("rect[data-value]").evaluate_all(
        "bars => bars.map(b => [+b.dataset.value, +b.getAttribute('y')])"
    )
    (high, top), zero = max(bars), float(chart.locator("line.zero").get_attribute("y1"))
    assert rule == pytest.approx(zero + (top - zero) * told / high, abs=0.5)


def read_out(explorer):
    """Dimension, exponent and value that the sentence below the map tells."""
    told = explorer.locator("[aria-live]").inner_text()
    found = r"At d = (\S+), logits times d to the power −(\S+): the largest probability is (\S+), .* zone\.$"
    return re.match(found, told).groups()


def test_the_map_has_the_colour_of_each_cells_value_and_an_outline_around_the_zone(page):
    explorer = page.locator("#goldilocks_map .explorer")
    shown = numbers(explorer)
    fills = explorer.locator("[data-cell]").evaluate_all("cells => cells.map(cell => cell.getAttribute('fill'))")
    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in palette.VIRIDIS])
    at = np.linspace(0, 1, len(colours))
    for fill, value in zip(fills, map(plain, shown["value"]), strict=True):
        expected = [np.interp(value, at, channel) for channel in colours.T]
        np.testing.assert_allclose([int(part) for part in re.findall(r"\d+", fill)], expected, atol=1.5)
    inside = np.array(shown["zone"]).reshape(len(set(shown["dimension"])), -1) == "inside"
    around = np.pad(inside, 1)
    edges = sum(np.abs(np.diff(around.astype(int), axis=axis)).sum() for axis in (0, 1))
    assert explorer.locator("path.edge").get_attribute("d").count("M") == edges > 0


def test_the_map_reads_out_the_cell_that_was_walked_to_or_clicked_and_the_hint_says_the_same(page):
    explorer = page.locator("#goldilocks_map .explorer")
    before = drawn(explorer)
    choose(explorer, "quantity", 1)
    choose(explorer, "dimension", 2)
    choose(explorer, "exponent", 0)
    assert drawn(explorer) != before
    d, exponent, value = read_out(explorer)
    assert (d, exponent) == ("8", "0.000")
    shown = numbers(explorer)
    cells = zip(shown["value"], shown["dimension"], shown["exponent"], strict=True)
    (expected,) = [plain(shown) for shown, d, exponent in cells if (d, exponent) == ("8", "0")]
    assert plain(value) == pytest.approx(expected, rel=1e-2)
    cell = explorer.locator('[data-cell^="16 "]').nth(3)
    hint = cell.locator("title").text_content()
    cell.click()
    assert explorer.locator("[aria-live]").inner_text() == hint
    d, exponent, _ = read_out(explorer)
    assert (d, plain(exponent)) == ("16", pytest.approx(float(cell.get_attribute("data-cell").split()[1]), abs=6e-4))
    assert explorer.locator("output").all_inner_texts() == ["16", f"−{exponent}"]


def test_cells_of_the_map_leave_no_lines_between_them(page):
    boxes = page.locator("#goldilocks_map .chart").evaluate(
        "chart => [...chart.querySelectorAll('[data-cell]')]"
        ".map(c => ['x', 'y', 'width', 'height'].map(a => +c.getAttribute(a)))"
    )
    assert all(float(part).is_integer() for box in boxes for part in box)
    lefts, rights = ({x + extra * width for x, _, width, _ in boxes} for extra in (0, 1))
    assert len(lefts ^ rights) == 2, "each cell begins where another ends, but at the edges"


def test_gpt2_is_shown_first_then_the_models_of_the_run(page):
    explorer = page.locator("#layernorm_by_block .explorer")
    models = explorer.locator("[name=model] option").all_inner_texts()
    assert models[:4] == ["GPT-2 small", "GPT-2 medium", "GPT-2 large", "GPT-2 XL"]
    assert 0.1 < plain(numbers(explorer)["q50"][0]) < 0.4
    assert explorer.locator(".band").count() == 1
    assert "17.4" in explorer.locator("[aria-live]").inner_text(), "the extremes are told"
    dots = explorer.locator("circle[data-value]").all()
    y = {plain(dot.get_attribute("data-value")): float(dot.get_attribute("cy")) for dot in dots}
    low, high = min(y), max(y)
    for value, at in y.items():
        assert at == pytest.approx(y[low] + (value - low) / (high - low) * (y[high] - y[low]), abs=0.01)
    choose(explorer, "model", 4)
    assert drawn(explorer)
    choose(explorer, "model", 0)
    choose(explorer, "kind", 1)
    assert abs(plain(numbers(explorer)["q50"][0])) < 0.1
    assert explorer.locator(".band").count() == 0


def test_charts_stand_beside_each_other_or_below_and_claims_are_cards_where_there_is_little_room(page):
    for width in (*WIDTHS, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        boxes = [chart.bounding_box() for chart in page.locator("#softmax .chart").all()]
        tops, lefts = {round(box["y"]) for box in boxes}, {round(box["x"]) for box in boxes}
        assert (len(tops), len(lefts)) == ((3, 1) if width == 375 else (1, 3))
        cut = page.evaluate(
            """[...document.querySelectorAll('.chart text')].filter(text => {
                const [box, whole] = [text, text.closest('.chart')].map(one => one.getBoundingClientRect());
                return box.left < whole.left - 1 || box.right > whole.right + 1;
            }).map(text => text.textContent)"""
        )
        assert cut == []
        table = page.locator("table.cards")
        shown = table.evaluate("t => getComputedStyle(t.rows[1]).display")
        assert shown == ("block" if width < 960 else "table-row")
        assert table.evaluate("t => t.parentElement.scrollWidth <= t.parentElement.clientWidth")


def test_no_letter_of_a_figure_is_cut_off(browser, committed):
    page = browser.new_page()
    for path in [*(committed / "reports/figures").glob("*.svg"), *(committed / "reports/ablations").glob("*.svg")]:
        page.set_content(path.read_text("utf-8"))
        cut = page.evaluate(
            """() => {
                const whole = document.querySelector("svg").getBoundingClientRect();
                return [...document.querySelectorAll("svg g > use")].filter(one => {
                    const box = one.getBoundingClientRect();
                    return box.left < whole.left - 1 || box.right > whole.right + 1
                        || box.top < whole.top - 1 || box.bottom > whole.bottom + 1;
                }).length;
            }"""
        )
        assert cut == 0, path.name


def test_a_link_into_a_folded_part_opens_it_and_paper_gets_no_controls(page):
    assert not page.locator("#one_pair").is_visible()
    page.evaluate("location.hash = '#one_pair'")
    page.locator("#one_pair img").wait_for()
    assert page.locator("#one_pair").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".controls").first.is_visible()
    assert page.locator("#softmax .chart").first.is_visible()
    page.emulate_media(media="screen")
