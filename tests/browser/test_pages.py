"""The reports in a real browser: nothing fails, nothing is asked of a network, everything can be seen and read."""

import pytest
from helpers.synthetic import HOSTILE

from overpaint.report.pages import NAV

pytestmark = pytest.mark.browser
PAGES = sorted(NAV.values())
WIDTHS = (390, 1200)  # a phone, a desk


@pytest.fixture
def opened(browser, pages):
    """Open a page at a width: the page, what it complained of, and what it asked for."""
    contexts = []

    def open_page(name: str, width: int, text: str | None = None):
        if text is not None:
            (pages / name).write_text(text)
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}))
        page, complaints, requests = contexts[-1].new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: requests.append(request.url))
        page.goto((pages / name).as_uri(), wait_until="load")
        return page, complaints, requests

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_and_complains_of_nothing(opened, pages, name, width):
    page, complaints, requests = opened(name, width)
    assert complaints == []
    assert requests == [(pages / name).as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # wide things scroll inside themselves


def test_a_complaint_and_a_request_would_be_seen(opened, pages):
    text = (pages / "index.html").read_text()
    spoilt = text.replace("<main>", '<main><script>alert(1)</script><img src="http://127.0.0.1:9/x.png">')
    _, complaints, _ = opened("spoilt.html", 1200, spoilt)
    assert len(complaints) == 2 and all("Content Security Policy" in text for text in complaints)
    unsafe = spoilt.replace("Content-Security-Policy", "nothing")
    _, complaints, requests = opened("unsafe.html", 1200, unsafe)
    assert "1" in complaints and "http://127.0.0.1:9/x.png" in requests
    page, _, _ = opened("wide.html", 390, text.replace("<main>", '<main><p style="width: 900px">wide</p>'))
    assert page.evaluate("document.documentElement.scrollWidth") > 390


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_seen(opened, name, width):
    page, _, _ = opened(name, width)
    figures = page.locator("figure svg[role=img]").all()
    assert figures or name in ("completions.html", "provenance.html")
    for figure in figures:
        figure.scroll_into_view_if_needed()
        box = figure.bounding_box()
        assert figure.is_visible() and box["width"] >= 300 and box["height"] >= 50
        assert figure.get_attribute("aria-label")
        # its marks have a place inside it
        inside = figure.evaluate("""svg => [...svg.querySelectorAll("path")].filter(path => {
            const a = path.getBoundingClientRect(), b = svg.getBoundingClientRect();
            return a.width + a.height > 0 && a.left >= b.left - 1 && a.right <= b.right + 1;
        }).length""")
        assert inside > 5


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_is_text(opened, width):
    page, complaints, _ = opened("completions.html", width)
    assert complaints == []
    shown = page.locator("main").inner_text()
    for piece in ("<script>alert(1)</script>", "**bold**", "$\\frac{1}{2}$", "[link](javascript:alert(1))", "שלום"):
        assert piece in HOSTILE and piece in shown
    assert "tower" * 20_000 in shown  # the line of 100 kB is whole, and wraps
    assert page.locator("main script, main img, main b, main a[href^=javascript]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_sorts_a_table_and_the_download_has_its_rows(opened, tmp_path):
    page, complaints, _ = opened("finding.html", 1200)
    table = page.locator("table").filter(has_text="hazardous, points lost").first
    heads = table.locator("th").all_inner_texts()
    at = heads.index("hazardous, points lost")

    def column() -> list[float]:
        return [float(text) for text in table.locator(f"tbody td:nth-child({at + 1})").all_inner_texts()]

    before = column()
    assert before != sorted(before, reverse=True)
    table.locator("th button").nth(at).click()
    assert column() == sorted(before)
    table.locator("th button").nth(at).click()
    assert column() == sorted(before, reverse=True)
    recovered = heads.index("recovered by 'topic'")  # a cell without a number is last, whichever way
    for _ in range(2):
        table.locator("th button").nth(recovered).click()
        assert table.locator(f"tbody td:nth-child({recovered + 1})").last.inner_text() == "undefined"
    with page.expect_download() as download:
        page.get_by_role("link", name="checks.csv").first.click()
    rows = download.value.path().read_text().splitlines()
    assert len(rows) == 1 + len(before) and rows[0].startswith("layer,c,")
    assert complaints == []


def test_a_printed_page_leaves_out_the_navigation(opened):
    page, _, _ = opened("index.html", 1200)
    assert page.locator("nav").is_visible()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible() and page.locator("figure svg").first.is_visible()
