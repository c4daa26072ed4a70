"""docs/errors.md quotes what the program says: each sentence is in the source, with … for what varies."""

import ast
import re
from collections.abc import Iterator

from helpers.checkout import ROOT

PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^> (.+)$", PAGE, re.MULTILINE)


def said(node: ast.AST) -> Iterator[str]:
    """The texts below a node, but for docstrings."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in child.values)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
            yield child.value
        yield from said(child)


def shape(sentence: str) -> str:
    """A sentence with one … for all that varies at a place."""
    return re.sub("…+", "…", sentence.strip())


SOURCES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "src/overpaint").rglob("*.py"))]
SAID = {shape(text) for source in SOURCES for text in said(ast.parse(source))}


def unknown(sentences: list[str]) -> list[str]:
    """Those that no code says."""
    return [sentence for sentence in sentences if shape(sentence) not in SAID]


def test_every_quoted_sentence_is_in_the_source():
    assert len(QUOTED) > 20 and not unknown(QUOTED)


def test_a_sentence_that_changed_would_be_noticed():
    assert unknown([QUOTED[0].replace("unknown", "odd"), QUOTED[0]]) == [QUOTED[0].replace("unknown", "odd")]
