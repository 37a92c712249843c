"""The page in a browser: opening it, moving what moves, reading what it shows."""


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


def plain(shown):
    """A number as the page writes it, as one."""
    found = shown.replace("−", "-").replace(",", "").split("\u00a0×\u00a010")
    return float(found[0]) * 10.0 ** int(
        found[1].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) if found[1:] else 0
    )
