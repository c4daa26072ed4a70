"""Names and places in a configuration: what something else is called already, and where a study may write."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.models import trained

DEEPEST, MOST = 20, 200_000  # levels and values of a file: the shipped ones have 6 and some 700
LARGEST = 2**63
# Names that something else has already, by catalogue. {out}/{model}/ and {out}/{model}/{method}/ are paths.
TAKEN = {
    "models": dict.fromkeys(
        ("downloads", "worlds", "tables", "reports", "figures", "tuned"), "a folder beside the models'"
    ),
    "methods": dict.fromkeys(
        ("checkpoint", "corpora", "prompts", "benchmarks", "prefix"), "a folder of each model beside the methods'"
    ),
    "packages": {"datasets": "the folder of the data sets"},
    "topic": {"retain": "what is not forgotten in a training's history"},
}
TOGETHER = ("models", "methods", "clearings", "benchmarks", "topic")  # tables call all of them `all`
ENDINGS = (".job", ".json", ".csv")  # of what lies beside the folders and files that have these names
# Parts of the checkout, and logs/, which mirrors what is in the output.
KEPT = (trained.FOLDER, "docs", "envs", "logs", "profiles", "reports", "src", "studies", "tests", "workflow")
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr")


def shown(value: Any) -> str:
    """A value as sentences quote it: escaped, on one line, and not longer than such a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_plain(data: Any, name: str) -> None:
    """Refuse what YAML can hold and no setting means, by its place in the file `name`.

    These are keys that are no text, text that is none, numbers that are not finite, and nesting without end.
    """
    for count, (path, value) in enumerate(_walk(data)):
        where = f"{name}: {'.'.join(path) or 'the file'}"
        if count > MOST or len(path) > DEEPEST:
            raise UserError(f"{name}: {path[0]} nests or repeats without end: write it out.")
        if isinstance(value, dict):
            _check_keys(value, where)
        if isinstance(value, str) and not _encodes(value):
            raise UserError(f"{where} is {shown(value)}, with half a character: write it anew.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where} is {value}: write a finite number.")
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise UserError(f"{where} is a number of {value.bit_length()} bits: it must be below 2**63.")


def check_names(config: dict[str, Any]) -> None:
    """Refuse names that paths or tables have for something else."""
    seen: dict[tuple[str, str], str] = {}
    for kind, where, name in _named(config):
        short = name.lower()
        if kind != "topic" and seen.setdefault((kind, short), name) != name:
            raise UserError(
                f"{where} {name!r} differs from {seen[kind, short]!r} in its case alone: some disks take both for one."
            )
        reason = TAKEN.get(kind, {}).get(short) or ("all of them together" if short == "all" else "")
        if reason and (short != "all" or kind in TOGETHER):
            raise UserError(f"{where} {name!r} is taken, as that is {reason}: choose another name.")
        if kind != "topic" and short.endswith(ENDINGS):
            raise UserError(f"{where} {name!r} ends as files do that lie beside its own: leave the ending out.")
    for name, method in config["methods"].items():
        if (name == "base") != (method["kind"] == "base"):
            raise UserError(
                f"methods.{name} is of the kind {method['kind']!r}: `base`, and it alone, is of the kind base."
            )
    for name, clearing in config["clearings"].items():
        _check_clearing(name, clearing)


def with_places(config: dict[str, Any], checkout: Path) -> dict[str, Any]:
    """The configuration with its own paths spelt out (home folder, no slash at the end), once they can be ones."""
    study = dict(config["study"])
    study |= {key: _place(f"study.{key}", study[key]) for key in ("output", "preregistration")}
    placed = config | {"study": study}
    before = {name: {"path": trained.place(name)} for name, m in config["models"].items() if m["source"] == "trained"}
    config = config | {"models": {name: before.get(name, {}) | model for name, model in config["models"].items()}}
    for catalogue in ("models", "corpora", "prompts", "benchmarks"):
        placed[catalogue] = {
            name: entry | ({"path": _place(f"{catalogue}.{name}.path", entry["path"])} if "path" in entry else {})
            for name, entry in config[catalogue].items()
        }
    reason = _why_not(study["output"], checkout, [m["path"] for m in placed["models"].values() if "path" in m])
    if reason:
        raise UserError(
            f"study.output is {shown(study['output'])}, {reason}: name a folder of its own, as results/mine."
        )
    return placed


def _walk(data: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its path; of lists without end, and of lists that hold themselves, more than anybody wants."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*path, str(key)), part) for key, part in parts]


def _check_keys(value: dict, where: str) -> None:
    for key in value:
        if not isinstance(key, str):
            raise UserError(
                f"{where} has the key {shown(key)}, which YAML does not read as text (nor no, on, null, 13 or a date): "
                "put it in quotation marks."
            )
        if not key.isprintable() or len(key) > 300:
            raise UserError(f"{where} has the key {shown(key)}, which is too long or cannot be printed: write it anew.")


def _encodes(text: str) -> bool:
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _named(config: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(catalogue or `topic`, place as a sentence starts with it, name) of everything that has a name."""
    for catalogue in config:
        for name in config[catalogue] if catalogue != "study" else ():
            yield catalogue, f"{catalogue}: the name", name
    for catalogue in ("corpora", "prompts", "benchmarks"):
        for name, entry in config[catalogue].items():
            yield "topic", f"{catalogue}.{name}.topic: the name", entry["topic"]


def _check_clearing(name: str, clearing: dict[str, Any]) -> None:
    """Refuse a clearing that is not what its name says in reports."""
    kind = clearing["direction"]
    if (name == "none") != (kind == "none"):
        raise UserError(
            f"clearings.{name} has the direction {kind!r}: `none`, and it alone, has the direction none, as everything "
            "is compared with it."
        )


def _place(where: str, text: str) -> str:
    """A path as the system knows it."""
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise UserError(f"{where} is {shown(text)}, and there is no such home folder: write the whole path.")
    if any(len(part.encode()) > 255 for part in Path(path).parts):
        raise UserError(f"{where} is {shown(text)}, with a part of more than 255 bytes: shorten it.")
    return str(Path(path))


def _why_not(output: str, checkout: Path, models: list[str]) -> str:
    """Why a study may not write to a folder, "" where it may: folders in it, as figures/, are replaced."""
    if "$" in output or ".." in Path(output).parts:
        return "with a variable or `..`, which stay as they are written"
    folder = checkout / output
    taken = _taken(folder, checkout) or _taken(_real(folder), _real(checkout))
    if taken:
        return taken
    if any(_real(folder).is_relative_to(_real(checkout / path)) for path in models):
        return "in the folder of a model"
    above = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not above.is_dir():
        return f"and {above.name} is no folder"
    if (folder / "figures").exists() and not (folder / "tables").exists():
        return "where figures/ would be replaced, which no study wrote"
    return ""


def _taken(folder: Path, checkout: Path) -> str:
    """What else a folder is, or is a part of."""
    for other, held in ((checkout, "the checkout"), (_real(os.path.expanduser("~")), "your home folder")):
        if folder == other or folder in other.parents:
            return f"which is or holds {held}"
    if folder.is_relative_to(checkout):
        first = folder.relative_to(checkout).parts[0]
        if first.lower() in KEPT or first.startswith("."):
            return f"and {first} is a part of the checkout"
    if any(folder.is_relative_to(system) for system in SYSTEM) and not folder.is_relative_to("/dev/shm"):
        return "which is the system's"
    return ""


def _real(path: Path | str) -> Path:
    return Path(os.path.realpath(path))
