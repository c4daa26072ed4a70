"""Markup of the pages, made by the jinja2 templates in templates/, which escape all that is not markup itself.

Text written by a model is untrusted: it reaches a page through `untrusted` only.
"""

import base64
import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from overpaint.report import drawing
from overpaint.report.wording import NO_VALUE

TEMPLATES = Path(__file__).parent / "templates"
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
macros = ENVIRONMENT.get_template("macros.html.j2").module


class Html(Markup):
    """Markup that a notebook displays."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<Html, {len(self)} characters>"  # not the markup twice in every executed notebook


def figure(drawn: Figure, caption: str) -> Markup:
    """A figure inside the page, its caption also read aloud in its place."""
    return macros.figure(Markup(drawing.svg(drawn).removeprefix("<svg")), caption)


def visible(text: str) -> str:
    """Text with control, format and private characters written out by their codes: ESC as <U+001B>.

    Line feeds and tabs stay; letters of right-to-left scripts stay as they are.
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return character
    return f"\u27e8U+{ord(character):04X}\u27e9"


def untrusted(text: object) -> Markup:
    """Text written by a model, as text: escaped, control characters visible, its direction kept to itself."""
    return macros.text(visible("" if pd.isna(text) else str(text)))


def table(rows: pd.DataFrame, name: str, forms: Mapping[str, Callable] | None = None) -> Markup:
    """A table of values, each as its column's form gives it, and its download as `name`.csv.

    Only markup from a form stays unescaped.
    """
    forms = forms or {}

    def cell(column: str, value: object) -> str:
        return NO_VALUE if pd.isna(value) else forms.get(column, str)(value)

    head = [str(column).replace("_", " ") for column in rows.columns]
    body = [[cell(column, row[column]) for column in rows.columns] for row in rows.to_dict("records")]
    csv = base64.b64encode(rows.to_csv(index=False).encode(errors="replace")).decode()
    return macros.table(head, body, name, csv)


def json_text(text: str | None) -> Markup:
    """A JSON string, indented; anything else as it stands."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError):
        text = "" if text is None else str(text)
    return macros.quote(visible(text))


def wide(text: object) -> Markup:
    """Prose that a narrow table does not squeeze to a word a line."""
    return Markup("<div class=wide>{}</div>").format(text)


def breakable(path: object) -> Markup:
    """A path that a narrow table may break after its slashes."""
    return escape(str(path)).replace("/", Markup("/<wbr>"))
