"""Rows of the files that texts come in: Parquet, JSON lines, CSV and plain text."""

import csv
import json
import math
import reprlib
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.jobs.provenance import files_below

CSV_FIELD = 1 << 30  # characters; csv's own limit of 131,072 is less than an article
SPARE = 200  # levels of nesting
# What reading raises of a file that is not what its name says; pyarrow's errors are of these kinds too.
FAULTS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, ArithmeticError, OSError,
    RecursionError, csv.Error,
)  # fmt: skip


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
            f"correct `files`; it holds {_some(names) or 'none'}."
        )
    for name in chosen:
        with told(folder / name, f"{name} of the data set {folder.name}", "leave it out of `files`"):
            for number, row in enumerate(READERS[Path(name).suffix](folder / name, columns)):
                yield f"{name}:{number}", _picked(row, columns, name)


def own_lines(path: Path, kind: str) -> Iterator[tuple[int, Any]]:
    """(line from 1, value) of a JSONL file of the user's own, whatever its name; `kind` of rows is what it holds."""
    cure = f"write the {kind} there, one object a line, or correct `path`"
    _check_file(path, cure)
    with told(path, str(path), cure):
        yield from json_lines(path)


@contextmanager
def told(path: Path, name: str, cure: str) -> Iterator[None]:
    """Raises UserError where the file `path` cannot be read: its `name`, the line where it is known, and the cure."""
    try:
        yield
    except UnicodeDecodeError:
        raise UserError(f"{name}, line {_bad_line(path)} is not UTF-8 text: save it as UTF-8, or {cure}.") from None
    except FAULTS as error:
        reason = " ".join((str(error) or type(error).__name__).split())[:200].rstrip(".")
        said = f"{name}, {reason}" if reason.startswith("line ") else f"{name} cannot be read ({reason})"
        raise UserError(f"{said}: {cure}.") from error


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line from 1, value) of the lines that are not blank; ValueError names the line that is no strict JSON."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if text := line.strip():
                try:
                    yield number, parsed(text)
                except ValueError as error:
                    raise ValueError(f"line {number} {error}") from None


def parsed(text: str) -> Any:
    """The value of a JSON text that has one meaning and can be written again; else ValueError says what it has."""
    try:
        value = _DECODER.decode(text)
        if text.count("[") + text.count("{") > SPARE:  # or it might be too deep to be shown, and written again
            _DECODER.decode("[" * SPARE + text + "]" * SPARE)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        several = "; does it go over several lines?" if text[:1] in "[{" else ""
        raise ValueError(f"is not JSON ({error.msg} at character {error.colno}{several})") from None
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("unicode-escape").decode()
        raise ValueError(f"has half a character ({half}), which no file can hold") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError as error:
        known = isinstance(error, _NotStrict)
        raise ValueError(str(error) if known else "has an integer of too many digits") from None
    return value


class _NotStrict(ValueError):
    """JSON that Python reads and others do not, or not alike."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in row if keys.count(key) > 1)
        raise _NotStrict(f"has the key {reprlib.repr(twice)} twice")
    return row


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise _NotStrict(f"has the number {number[:20]}, which is not finite")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)


def _parquet(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet  # 180 MB on disk: loaded where there is a table

    with parquet.ParquetFile(path) as file:
        _check_columns(file.schema_arrow.names, columns, path.name)
        for batch in file.iter_batches(batch_size=256, columns=columns):
            yield from batch.to_pylist()


def json_objects(path: Path, columns: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The objects of a file with one a line."""
    for number, row in json_lines(path):
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not one JSON object")
        yield row


def _csv(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(CSV_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        names = next(lines, columns)
        _check_columns(names, columns, path.name)
        for fields in filter(None, lines):
            if len(fields) != len(names):
                raise ValueError(f"line {lines.line_num} has {len(fields)} fields and the first line {len(names)}")
            yield dict(zip(names, fields, strict=True))


def _lines(path: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        yield from ({"text": line.removesuffix("\n").removesuffix("\r")} for line in file)


READERS = {".parquet": _parquet, ".jsonl": json_objects, ".json": json_objects, ".csv": _csv, ".txt": _lines}


def _check_columns(names: list[str], columns: list[str], name: str) -> None:
    """Refuse a table without one of the columns, or with several of its name."""
    for column in columns:
        if column not in names:
            raise UserError(f"{name} has no column {column!r}: use one of {_some(names)}.")
        if names.count(column) > 1:
            raise UserError(f"{name} has {names.count(column)} columns {column!r}: leave it out of `files`.")


def _picked(row: dict[str, Any], columns: list[str], name: str) -> dict[str, Any]:
    """Those columns of a row."""
    if not row.keys() >= set(columns):
        _check_columns(list(row), columns, name)
    return {column: row[column] for column in columns}


def _check_file(path: Path, cure: str) -> None:
    """Refuse what is no file before it is opened: a pipe would be waited for without end."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"There is no file {path}: {cure}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({getattr(error, 'strerror', error)}): {cure}.") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}: {cure}.")


def _bad_line(path: Path) -> int:
    """The first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _some(names: list[str]) -> str:
    """The first names, as far as they can be shown in a sentence."""
    shown = (name if name.isprintable() and len(name) < 40 else reprlib.repr(name) for name in names[:20])
    return f"{', '.join(shown)}{' and more' if len(names) > 20 else ''}"
