"""Numbers as the text has them: intervals, ranges, counts of cells, p-values; and paragraphs of even lines."""

import re
import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd

from overpaint.report.wording import listed

WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
BOUND = "\u2060"  # stands for a space at which no line is broken
Row = pd.Series | None


def fixed(value: float, digits: int = 2) -> str:
    """`0.63`; never a negative zero, and a dash where there is no number."""
    return "–" if pd.isna(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def hundredths(value: float) -> str:
    """`63`: per cent, or points."""
    return fixed(100 * value, 0)


def with_interval(row: Row) -> str:
    """`0.63 (0.54–0.72)`, nothing where it was not measured."""
    return "" if _absent(row) else fixed(row.value) + _ends(row, fixed)


def percent_interval(row: Row) -> str:
    """`63 (54–72)`."""
    return "–" if _absent(row) else hundredths(row.value) + _ends(row, hundredths)


def points_interval(row: Row) -> str:
    """`5 points (1–9)`, of accuracy."""
    return "–" if _absent(row) else f"{hundredths(row.value)} points{_ends(row, hundredths)}"


def points_of(row: Row) -> str:
    """`5.1 (1.2–9.0)`, in points or per cent."""
    return "–" if _absent(row) else points(row.value) + _ends(row, points)


def points(value: float, digits: int = 1) -> str:
    """`5.1`: points, or per cent."""
    return fixed(100 * value, digits)


def told(row: Row) -> str:
    """`63 % (54 to 72)`, as a sentence has it."""
    if _absent(row):
        return "a share that was not measured"
    ends = "" if pd.isna(row.low) else f" ({hundredths(row.low)} to {hundredths(row.high)})"
    return f"{hundredths(row.value)} %{ends}"


def value(row: Row, digits: int = 2) -> str:
    """`0.63`, or a dash."""
    return fixed(np.nan if row is None else row.value, digits)


def _absent(row: Row) -> bool:
    return row is None or pd.isna(row.value)


def _ends(row: pd.Series, form) -> str:
    return "" if pd.isna(row.low) or pd.isna(row.high) else f" ({form(row.low)}–{form(row.high)})"


def span(values: Iterable[float], factor: float = 1, digits: int = 2) -> str:
    """`34 to 81`, one number where all are the same in print, a dash where there is none."""
    known = [factor * number for number in values if pd.notna(number)]
    if not known:
        return "–"
    return " to ".join(dict.fromkeys(fixed(end, digits) for end in (min(known), max(known))))


def percents(values: Iterable[float]) -> str:
    """`34 to 81`."""
    return span(values, 100, 0)


def number_word(number: int) -> str:
    """`five`, in digits above twelve."""
    return WORDS[number] if 0 <= number < len(WORDS) else str(number)


def of_all(number: int, total: int, thing: str = "cell") -> str:
    """`every cell`, `five of the six cells`, `none of the six cells`."""
    if number == total:
        return f"the one {thing}" if total == 1 else f"all {number_word(total)} {thing}s"
    return f"{number_word(number)} of the {number_word(total)} {thing}s"


def p_value(number: float) -> str:
    """`0.004`, `below 0.0001`."""
    return "below 0.0001" if number < 1e-4 else f"{number:.2g}" if number < 0.1 else f"{number:.2f}"


def filled(text: str) -> str:
    """Markdown with paragraphs and list items in lines of at most 127 characters; tables and code stay as they are."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _filled(part) for part in parts)


def _filled(text: str) -> str:
    blocks = re.split(r"(\n\n)", re.sub(r"\n{3,}", "\n\n", text))
    return "".join(block if re.search(r"^\s*([|#<!]|$)", block) else _paragraph(block) for block in blocks)


def _paragraph(text: str) -> str:
    """A paragraph, or a list without empty lines between its items; `c = 4` and `34 %` stay on one line."""
    end = text[len(text.rstrip("\n")) :]
    options = {"width": 127, "break_long_words": False, "break_on_hyphens": False}
    items = [
        textwrap.fill(
            re.sub(r" (= |%)", lambda found: found[0].replace(" ", BOUND), " ".join(item.split())),
            subsequent_indent="  " * item.startswith("- "), **options,
        )
        for item in re.split(r"\n(?=- )", text.rstrip("\n"))
    ]  # fmt: skip
    return "\n".join(items).replace(BOUND, " ") + end


FILTERS = {
    function.__name__: function
    for function in (
        fixed, hundredths, with_interval, points_interval, points_of, points, told, value, span, percents, number_word,
        p_value, listed,
    )
}  # fmt: skip
