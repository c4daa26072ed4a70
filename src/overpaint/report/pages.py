"""Pages that load nothing.

A page has its styles and figures inside and a content policy that forbids requests and every script but its own: the
one that sorts tables, or that of the explorer.
"""

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from overpaint.report import PAGES
from overpaint.report.markup import ENVIRONMENT, TEMPLATES

NAV = {"Overview": "index.html"} | {name.title(): f"{name}.html" for name in (*PAGES, "explorer")}
STYLE, SCRIPT = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("page.css", "sort.js"))


def page_html(title: str, here: str, template: str = "page.html.j2", script: str = SCRIPT, **values: object) -> str:
    """A whole page; `here` is its file name, `values` are what its template shows, of `page.html.j2` the `body`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shell = {"title": title, "here": here, "nav": NAV, "style": STYLE, "script": Markup(script), "hash": digest}
    return ENVIRONMENT.get_template(template).render(shell | values)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; lone surrogates become question marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", errors="replace")
    part.replace(path)
