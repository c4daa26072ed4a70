"""A source of texts: a column of a data set's files."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from overpaint.errors import UserError
from overpaint.sources import datafiles
from overpaint.sources.texts import FIELDS, SPLITS, blank, checked, split_of, spread, unit_of

TAKES = "dataset"
SAME = {"dataset": "equal", "files": "equal", "column": "equal"}


def rows(kind: str, settings: dict, folder: Path) -> list[dict]:
    """`max_rows` rows in the order of the files, all for None: the first or, with splits, an even spread of each."""
    shaped, count = _shaped(kind, settings, folder), settings.get("max_rows")
    if "split" not in FIELDS[kind]:
        first = list(islice(shaped, count))
        _check_count("", len(first), settings)
        return first
    every, kept = list(shaped), set()
    for split, share in zip(SPLITS, (settings["fit"], 1 - settings["fit"]), strict=True):
        places = [place for place, row in enumerate(every) if row["split"] == split]
        if share:
            _check_count(split, len(places), settings)
        kept |= set(spread(places, count or len(places)))
    return [row for place, row in enumerate(every) if place in kept]


def most(settings: dict, made: dict) -> int | None:
    """At most so many rows as are asked for."""
    return settings.get("max_rows")


def _check_count(split: str, size: int, settings: dict) -> None:
    """Refuse a data set with fewer rows than `max_rows`."""
    count = settings.get("max_rows") or 1
    if size < count:
        raise UserError(
            f"The data set {settings['dataset']} has only {size} {split} rows longer than {settings['min_chars']} "
            f"characters in {', '.join(settings['files'])}, and {count} are asked for: lower `max_rows` or "
            "`min_chars`, or name more `files`."
        )


def _shaped(kind: str, settings: dict, folder: Path) -> Iterator[dict]:
    """Rows of a kind, from those of the files whose text is longer than `min_chars` and not blank."""
    columns = ["question", "choices", "answer"] if kind == "questions" else [settings["column"]]
    for place, values in datafiles.read(folder, settings["files"], columns):
        where, text = f"The data set {folder.name}, {place} (rows count from 0)", values[columns[0]]
        if text is None:
            continue
        if not isinstance(text, str):
            raise UserError(
                f"{where}: the column {columns[0]!r} holds {type(text).__name__}, not text: name another as `column`."
            )
        if len(text) > settings["min_chars"] and not blank(text):
            row = values | {"id": place, "unit": unit_of(text), "split": split_of(text, settings["fit"]), "text": text}
            try:
                yield checked({key: row[key] for key in FIELDS[kind]}, kind, where, settings)
            except UserError as error:
                raise UserError(f"{str(error).removesuffix('.')}, or leave the file out of `files`.") from None
