"""A source of texts: a JSONL file of one's own."""

from pathlib import Path

from overpaint.sources.texts import read_rows

TAKES = "path"
SAME = {"path": "one file"}


def rows(kind: str, settings: dict, path: Path) -> list[dict]:
    """The rows of the file, in its order."""
    return read_rows(path, kind, settings)
