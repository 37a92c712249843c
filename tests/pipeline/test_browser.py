"""The page in a real browser: what it logs and asks for, what moves, who can read it."""

import re
import shutil
from itertools import combinations, product

import numpy as np
import pytest
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


def choose(explorer, name, position):
    """Move a slider, or choose from a list, and wait for the charts."""
    control = explorer.locator(f"[name={name}]")
    if control.get_attribute("type") == "range":
        control.fill(str(position))
    else:
        control.select_option(index=position)
    explorer.page.wait_for_timeout(150)


def drawn(explorer):
    return [chart.inner_html() for chart in explorer.locator(".chart svg").all()]


def numbers(explorer):
    """The columns of the table of the numbers shown, as numbers if they are."""
    details = explorer.locator("details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
        details.locator("td").first.wait_for()
    names = details.locator("th").all_inner_texts()
    cells = details.locator("td").all_inner_texts()
    columns = {name: cells[i :: len(names)] for i, name in enumerate(names)}
    return {
        name: np.array([plain(cell) for cell in column] if all(cell[-1].isdigit() for cell in column) else column)
        for name, column in columns.items()
    }


def plain(shown):
    """A number as the page writes it, as one."""
    written = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789", ",")
    return float(shown.replace("\u00a0×\u00a010", "e").translate(written))


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
def test_the_committed_page_logs_and_asks_for_nothing_and_is_for_everyone_on_any_screen(browser, scheme, committed):
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
    largest, charts = {}, []
    for d, scaling in product((0, 45), range(3)):
        choose(explorer, "dimension", d)
        choose(explorer, "scaling", scaling)
        charts.append(drawn(explorer))
        logits, p, derivative = (numbers(explorer)[name] for name in ("logit", "probability", "derivative"))
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(p, expected, atol=0.02)
        np.testing.assert_allclose(derivative, p * (1 - p), atol=2e-3)
        told = re.search(r"largest probability is (.+?) \(", explorer.locator("[aria-live]").inner_text())[1]
        assert plain(told) == pytest.approx(expected.max(), rel=0.1, abs=0.02)
        largest[d, scaling] = expected.max()
    assert all(one != other for one, other in combinations(charts, 2))
    told = explorer.locator("output").inner_text(), explorer.locator("[name=dimension]").get_attribute("aria-valuetext")
    assert told == ("4,096", "4,096")
    assert largest[45, 0] > 0.99 > 0.8 > largest[45, 1] > largest[45, 2]


def bars_of(chart):
    """Value, left edge, top, width and height of each bar."""
    bars = "bars => ['data-value', 'x', 'y', 'width', 'height'].map(a => bars.map(bar => +bar.getAttribute(a)))"
    return map(np.array, chart.locator("rect[data-value]").evaluate_all(bars))


def test_bars_are_as_high_as_their_values_on_a_scale_that_ticks_tell_and_show_their_numbers(page):
    explorer = page.locator("#softmax .explorer")
    choose(explorer, "dimension", 10)
    choose(explorer, "scaling", 1)
    shown = numbers(explorer)
    for chart, name in zip(explorer.locator(".chart").all(), ("logit", "probability", "derivative"), strict=True):
        values, _, _, _, heights = bars_of(chart)
        np.testing.assert_allclose(values, shown[name], rtol=1e-2, atol=1e-4)
        if name == "logit":  # a logarithmic scale beyond ±1
            size = np.abs(values)
            values = np.where(size < 1, size, 1 + np.log(np.maximum(size, 1)))
        high = heights > 2  # pixels; smaller ones are drawn so that they can be seen
        assert high.sum() >= 3
        ratio = heights[high] / values[high]
        np.testing.assert_allclose(ratio, ratio[0], rtol=0.02)
    words = explorer.locator(".chart").first.locator("text").all_text_contents()
    assert {"0", "1", "3", "10", "−1", "−3", "−10"} <= set(words)
    assert "log scale" in words[0]
    chart = explorer.locator(".chart").nth(1)
    hint = chart.locator("rect[data-value] title").first.text_content()
    assert (hint[:7], plain(hint[7:])) == ("key 1: ", shown["probability"][0])
    told = plain(chart.locator("text.on").text_content().split(": ")[1])
    rule, zero = (float(chart.locator(f"line.{kind}").get_attribute("y1")) for kind in ("rule", "zero"))
    values, _, tops, _, _ = bars_of(chart)
    scale = (tops[values.argmax()] - zero) / values.max()
    assert rule == pytest.approx(zero + scale * told, abs=0.5), "the mean of many, where the axis says it"


def test_histograms_follow_step_block_matrix_and_head_with_a_bar_for_each_bin_as_high_as_its_share(page):
    explorer = page.locator("#qkv_histograms .explorer")
    before = drawn(explorer)
    for name, position in (("step", 1), ("block", 1), ("part", 1), ("head", 1), ("step", 0)):
        choose(explorer, name, position)
        assert drawn(explorer) != before, name
        before = drawn(explorer)
    sigma = float(re.match(r"σ = (\S+),", explorer.locator("[aria-live]").inner_text())[1])
    assert sigma == pytest.approx(0.02, rel=0.1)
    shown = numbers(explorer)
    assert shown["share"].sum() == pytest.approx(100, abs=3)
    _, x, y, width, height = bars_of(explorer)
    edges = np.polyfit(shown["left"], x, 1)
    np.testing.assert_allclose(np.polyval(edges, shown["left"]), x, atol=0.1)
    np.testing.assert_allclose(np.polyval(edges, shown["right"]), x + width, atol=0.1)
    scale = max(height) / max(shown["share"])
    np.testing.assert_allclose(height, scale * shown["share"], atol=0.01 * max(height))
    np.testing.assert_allclose(y + height, y[0] + height[0], atol=1e-6, err_msg="all stand on one line")


def test_the_map_has_the_colour_of_each_cells_value_and_an_outline_around_the_zone(page):
    explorer = page.locator("#goldilocks_map .explorer")
    shown = numbers(explorer)
    cells = explorer.locator("[data-cell]")
    fills = cells.evaluate_all("cells => cells.map(cell => cell.getAttribute('fill').match(/\\d+/g).map(Number))")
    colours = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in palette.VIRIDIS])
    at = np.linspace(0, 1, len(colours))
    expected = np.stack([np.interp(shown["value"], at, channel) for channel in colours.T], axis=1)
    np.testing.assert_allclose(fills, expected, atol=1.5)
    around = np.pad(shown["zone"].reshape(len(set(shown["dimension"])), -1) == "inside", 1)
    edges = sum(np.abs(np.diff(around.astype(int), axis=axis)).sum() for axis in (0, 1))
    assert explorer.locator("path.edge").get_attribute("d").count("M") == edges > 0
    boxes = cells.evaluate_all("cells => cells.map(c => ['x', 'y', 'width', 'height'].map(a => +c.getAttribute(a)))")
    assert all(float(part).is_integer() for box in boxes for part in box)
    lefts, rights = ({x + extra * width for x, _, width, _ in boxes} for extra in (0, 1))
    assert len(lefts ^ rights) == 2, "each cell begins where another ends, but at the edges"


def test_the_map_reads_out_the_cell_that_was_walked_to_or_clicked_and_the_hint_says_the_same(page):
    explorer = page.locator("#goldilocks_map .explorer")
    sentence = r"At d = (\S+), logits times d to the power −(\S+): the largest probability is (\S+), .* zone\.$"
    before = drawn(explorer)
    for name, position in (("quantity", 1), ("dimension", 2), ("exponent", 0)):
        choose(explorer, name, position)
    assert drawn(explorer) != before
    d, exponent, value = re.match(sentence, explorer.locator("[aria-live]").inner_text()).groups()
    assert (d, exponent) == ("8", "0.000")
    shown = numbers(explorer)
    (expected,) = shown["value"][(shown["dimension"] == 8) & (shown["exponent"] == 0)]
    assert plain(value) == pytest.approx(expected, rel=1e-2)
    cell = explorer.locator('[data-cell^="16 "]').nth(3)
    hint = cell.locator("title").text_content()
    cell.click()
    assert explorer.locator("[aria-live]").inner_text() == hint
    d, exponent, _ = re.match(sentence, hint).groups()
    assert (d, plain(exponent)) == ("16", pytest.approx(float(cell.get_attribute("data-cell").split()[1]), abs=6e-4))
    assert explorer.locator("output").all_inner_texts() == ["16", f"−{exponent}"]


def test_ranges_of_norms_have_their_band_their_extremes_and_dots_at_their_medians(page):
    explorer = page.locator("#layernorm_by_block .explorer")
    assert explorer.locator(".band").count() == 1
    assert "17.4" in explorer.locator("[aria-live]").inner_text(), "the extremes are told"
    dots = explorer.locator("circle[data-value]").evaluate_all(
        "all => all.map(one => [one.dataset.value, one.cy.baseVal.value])"
    )
    values, heights = np.array(dots, float).T
    np.testing.assert_allclose(np.polyval(np.polyfit(values, heights, 1), values), heights, atol=0.01)
    choose(explorer, "model", 4)
    assert drawn(explorer)
    choose(explorer, "model", 0)
    choose(explorer, "kind", 1)
    assert abs(numbers(explorer)["q50"][0]) < 0.1
    assert explorer.locator(".band").count() == 0


def test_charts_stand_beside_each_other_or_below_and_claims_are_cards_where_there_is_little_room(page):
    for width in (*WIDTHS, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        boxes = [chart.bounding_box() for chart in page.locator("#softmax .chart").all()]
        tops, lefts = {round(box["y"]) for box in boxes}, {round(box["x"]) for box in boxes}
        assert (len(tops), len(lefts)) == ((3, 1) if width == 375 else (1, 3))
        assert not page.evaluate(
            """[...document.querySelectorAll('.chart text')].filter(text => {
                const [box, whole] = [text, text.closest('.chart')].map(one => one.getBoundingClientRect());
                return box.left < whole.left - 1 || box.right > whole.right + 1;
            }).map(text => text.textContent)"""
        )
        table = page.locator("table.cards")
        shown = table.evaluate("t => getComputedStyle(t.rows[1]).display")
        assert shown == ("block" if width < 960 else "table-row")
        assert table.evaluate("t => t.parentElement.scrollWidth <= t.parentElement.clientWidth")


def test_no_letter_of_a_figure_is_cut_off(browser, committed):
    page = browser.new_page()
    for path in [*(committed / "reports/figures").glob("*.svg"), *(committed / "reports/ablations").glob("*.svg")]:
        page.set_content(path.read_text("utf-8"))
        assert not page.evaluate(
            """() => {
                const whole = document.querySelector("svg").getBoundingClientRect();
                return [...document.querySelectorAll("svg g > use")].filter(one => {
                    const box = one.getBoundingClientRect();
                    return box.left < whole.left - 1 || box.right > whole.right + 1
                        || box.top < whole.top - 1 || box.bottom > whole.bottom + 1;
                }).length;
            }"""
        ), path.name


def test_a_link_into_a_folded_part_opens_it_and_paper_gets_no_controls(page):
    assert not page.locator("#one_pair").is_visible()
    page.evaluate("location.hash = '#one_pair'")
    page.locator("#one_pair img").wait_for()
    assert page.locator("#one_pair").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".controls").first.is_visible()
    assert page.locator("#softmax .chart").first.is_visible()
    page.emulate_media(media="screen")
