"""The reports in a real browser: nothing fails, nothing is asked of a network, everything can be seen and read."""

import pandas as pd
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
    assert figures or name in ("completions.html", "provenance.html", "explorer.html")
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


def counted(page) -> int:
    """How many questions the explorer says that it shows."""
    return int(page.locator("#count").inner_text().split()[0].replace(",", ""))


def test_the_explorer_filters_and_sorts_as_the_answers_say(opened, pages):
    page, complaints, _ = opened("explorer.html", 1200)
    files = [pd.read_parquet(pages.parent / f"{n}.parquet") for n in (0, 3)]  # read below; `many` is of the same files
    page.goto((pages / "many.html").as_uri())
    base, run = (rows[(rows.clearing == "none")].set_index(["benchmark", "id"]) for rows in files)
    cleared = files[1][files[1].clearing == "span"].set_index(["benchmark", "id"]).correct
    shown = base.split.eq("test")
    assert counted(page) == shown.sum()
    page.select_option("#base-0", "1")
    page.select_option("#unlearned-0", "0")
    page.select_option("#cleared-0", "1")
    found = shown & base.correct & ~run.correct & cleared
    assert counted(page) == found.sum() > 100
    page.select_option("#topic", label="calm (benign)")
    page.select_option("#part", label="unseen")
    assert counted(page) == (found & base.topic.eq("calm") & base.part.eq("unseen")).sum() > 10
    page.fill("#search", "calm 7 ?")
    assert counted(page) <= 1
    page.fill("#search", "")
    page.select_option("#sort", "base")
    rows = base[found & base.topic.eq("calm") & base.part.eq("unseen")]
    right = pd.Series([scores[answer] for scores, answer in zip(rows.scores, rows.answer, strict=True)], rows.index)
    first = page.locator("#list summary small").first.inner_text()
    assert first.endswith(f"\u00b7 {right.idxmax()[1]}") or right.eq(right.max()).sum() > 1
    assert complaints == []


def test_the_explorer_filters_ten_thousand_questions_at_once(opened):
    page, _, _ = opened("many.html", 1200)
    page.select_option("#split", "")
    assert counted(page) == 9999
    took = page.evaluate("""() => ["#unlearned-0", "#cleared-0", "#sort", "#search"].map(id => {
        const control = document.querySelector(id), start = performance.now();
        control.value = {"#sort": "back", "#search": "7"}[id] ?? "1";
        control.dispatchEvent(new Event("input", {bubbles: true}));
        document.body.offsetHeight;  // laid out
        return performance.now() - start;
    })""")
    assert 100 < counted(page) < 9999 and max(took) <= 200, took


@pytest.mark.parametrize("width", WIDTHS)
def test_the_explorer_opens_questions_by_keyboard_and_shows_hostile_text_as_text(opened, width):
    page, complaints, _ = opened("explorer.html", width)
    page.select_option("#beside", index=2)
    page.select_option("#split", label="fit")
    page.locator("#list summary").first.focus()
    page.keyboard.press("Enter")
    shown = page.locator("#list details[open]")
    shown.locator("table").wait_for()  # it is filled once it is open
    assert "fire 0 ?" in shown.inner_text() and "cleared 0" in shown.inner_text()
    for piece in ("<script>alert(1)</script>", "[link](javascript:alert(1))", "שלום"):
        assert piece in shown.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    shown.nth(1).locator("table").wait_for()
    assert shown.count() == 2
    assert page.locator("main img, main b, main a").count() == 0 and complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
