"""Pages and figures as tests read them."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from helpers.checkout import ROOT
from overpaint.report import notebooks, pages

NOTEBOOKS = ROOT / "reports"


class Page(HTMLParser):
    """Elements, attributes and text of a page as a browser sees them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.links, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")]

    def handle_data(self, data):
        self.text.append(data)

    @property
    def requests(self) -> list[str]:
        """Everything that a browser would fetch or follow outside this folder."""
        return [link for link in self.links if link.startswith(("http", "//", "javascript", "file", "/"))]


def texts(drawn) -> list[str]:
    """Every text in a figure."""
    return [item.get_text() for axes in drawn.axes for item in axes.texts] + [text.get_text() for text in drawn.texts]


def dots(axes, colour: str, marker: str) -> list[float]:
    """x of the single markers of a kind, from the top down."""
    lines = [line for line in axes.lines if line.get_marker() == marker and line.get_color() == colour]
    return [round(line.get_xdata()[0], 3) for line in sorted(lines, key=lambda line: line.get_ydata()[0])]


def check_page(path: Path) -> Page:
    """A page asks for nothing outside its folder, runs one script alone and has no code in it."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.requests
    assert not {"img", "link", "iframe"} & set(page.tags)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert scripts == [pages.SCRIPT] and page.tags.count("script") == 1  # the one that sorts tables
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in text
    assert "@import" not in text and "url(http" not in text
    assert "overpaint.report" not in "".join(page.text)
    return page


def execute(folder: Path, where: Path, name: str, notebook: Path | None = None, **parameters) -> tuple[Path, Path]:
    executed, page = where / "logs" / f"{name}.ipynb", where / "reports" / f"{name}.html"
    values = {"tables": folder, "primary": "topic", "study": "synthetic", **parameters}
    notebooks.execute_report(notebook or NOTEBOOKS / f"{name}.ipynb", values, executed, page, name.title())
    return executed, page
