"""Untrusted text stays text."""

import pandas as pd
from helpers.pages import Page
from helpers.synthetic import CONTROL, HOSTILE

from overpaint.report import markup
from overpaint.report.drawing import nothing


def test_hostile_text_is_text_and_the_control_passes():
    shown = Page(markup.untrusted(HOSTILE))
    assert shown.tags == ["div"]
    assert not shown.links
    text = "".join(shown.text)
    for piece in ("<script>alert(1)</script>", "**bold**", "$\\frac{1}{2}$", "[link](javascript:alert(1))", "שלום"):
        assert piece in text
    assert "\x1b" not in text and "\u202e" not in text and "\r" not in text
    assert "\u27e8U+001B\u27e9[31m" in text and "\u27e8U+202E\u27e9" in text
    assert "".join(Page(markup.untrusted(CONTROL)).text) == CONTROL
    assert CONTROL in markup.untrusted(CONTROL)
    # The parser does see hostile markup where nothing escapes it.
    assert "script" in Page(HOSTILE).tags and Page(HOSTILE).requests


def test_names_columns_and_values_of_a_table_are_escaped_and_markup_of_a_form_is_not():
    rows = pd.DataFrame({"<b>x</b>": ["<i>1</i>"], "a_b": ["<u>2</u>"], "none": [None]})
    page = Page(markup.table(rows, '"><b>', {"a_b": markup.wide}))
    assert not {"b", "i", "u"} & set(page.tags) and "div" in page.tags
    text = "".join(page.text)
    assert "<b>x</b>" in text and "<i>1</i>" in text and "<u>2</u>" in text and "a b" in text and '"><b>.csv' in text


def test_captions_are_escaped_where_they_are_shown_and_where_they_are_read_aloud():
    page = markup.figure(nothing("nothing"), '"><script>alert(1)</script>')
    assert "script" not in Page(page).tags and page.count("&lt;script&gt;") == 2
