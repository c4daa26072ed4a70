"""Rows of the files that data sets come in: Parquet, JSON lines, CSV and plain text."""

import csv
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.provenance import files_below

CSV_FIELD = 1 << 30  # characters; csv's own limit of 131,072 is less than an article


def read(folder: Path, patterns: list[str], columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:row`, {column: value}) of the files in `folder` that match any of `patterns`, in the order of paths.

    Rows are numbered from 0. Rows are read as they are asked for. Raises UserError where no file matches, a file cannot
    be read, or a row lacks a column.
    """
    names = [path.relative_to(folder).as_posix() for path in files_below(folder) if path.suffix in READERS]
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise UserError(
            f"The data set {folder.name} has no file {' or '.join(patterns)} that can be read ({', '.join(READERS)}): "
            f"correct `files`; it holds {', '.join(names[:20]) or 'none'}{' and more' if len(names) > 20 else ''}."
        )
    for name in chosen:
        path = folder / name
        try:
            for number, row in enumerate(READERS[path.suffix](path, columns)):
                yield f"{name}:{number}", _picked(row, columns, name)
        except (ValueError, csv.Error) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} cannot be read as {path.suffix[1:]} ({reason}): leave it out of `files`."
            ) from error


def _parquet(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet  # 180 MB on disk: loaded where there is a table

    with parquet.ParquetFile(path) as file:
        _picked(dict.fromkeys(file.schema_arrow.names), columns, path.name)
        for batch in file.iter_batches(batch_size=256, columns=columns):
            yield from batch.to_pylist()


def _json_lines(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _csv(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(CSV_FIELD)
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _lines(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from ({"text": line.removesuffix("\n")} for line in file)


READERS = {".parquet": _parquet, ".jsonl": _json_lines, ".json": _json_lines, ".csv": _csv, ".txt": _lines}


def _picked(row: Any, columns: list[str], name: str) -> dict[str, Any]:
    """Those columns of a row."""
    if not isinstance(row, dict):
        raise ValueError("a line is not one JSON object")
    missing = [column for column in columns if column not in row]
    if missing:
        raise UserError(f"{name} has no column {missing[0]!r}: use one of {', '.join(map(str, row))}.")
    return {column: row[column] for column in columns}
