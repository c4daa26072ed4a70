"""docs/configuration.md: the table of all keys is what the schema says."""

import json
import re
from collections.abc import Iterator
from typing import Any

from helpers.checkout import ROOT

from overpaint.study.configuration import schema_of

DOC = ROOT / "docs/configuration.md"
SCHEMA = schema_of(ROOT / "workflow/schemas/config.schema.yaml")
START = "<!-- Made from workflow/schemas/config.schema.yaml by tests/study/test_configuration_docs.py. -->\n"


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema with what it refers to."""
    if "$ref" not in part:
        return part
    own = {key: value for key, value in part.items() if key != "$ref"}
    return resolved(SCHEMA["$defs"][part["$ref"].removeprefix("#/$defs/")]) | own


def entries(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(key, its part of the schema, whether it must be there) of all keys below a part, nested ones by their path."""
    part = resolved(part)
    for key, value in part.get("properties", {}).items():
        items, value = value.get("items", {}), resolved(value)  # of a list that is told of elsewhere, no items
        yield f"{prefix}{key}", value, key in part.get("required", [])
        yield from entries(value, f"{prefix}{key}.")
        yield from entries(items, f"{prefix}{key}[].")
    for other in map(resolved, part.get("allOf", [])):
        yield from entries(other | {"required": [*other.get("required", []), *part.get("required", [])]}, prefix)


def values(part: dict[str, Any]) -> str:
    """What a key may be, in few words."""
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(values(resolved(other)) for other in part["anyOf"]))
    kinds = part["type"] if isinstance(part.get("type"), list) else [part.get("type", "object")]
    words = {"string": "text", "array": "list", "object": "entries", "boolean": "true, false", "null": "null"}
    return " or ".join(words.get(kind, kind) for kind in kinds) + bounds(part)


def bounds(part: dict[str, Any]) -> str:
    """The range of a number."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {part[key]:g}" for key, sign in signs.items() if key in part)


def table(part: dict[str, Any]) -> str:
    """A table of the keys of a part; nothing where it has none."""
    rows = ["| key | what | default | |", "|---|---|---|---|"]
    for key, value, needed in entries(part):
        default = "needed" if needed else f"`{json.dumps(value['default'])}`" if "default" in value else ""
        cells = (f"`{key}`", values(value), default, value.get("description", ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n" + "\n".join(rows) + "\n" if len(rows) > 2 else ""


def sections() -> Iterator[str]:
    """The page's text: a section for `study` and for each catalogue, a table for each kind of entry, once."""
    told: set[str] = set()
    for name, part in SCHEMA["properties"].items():
        yield f"\n### `{name}`\n\n{part['description']}\n"
        shared, alternatives = parts(resolved(part.get("additionalProperties") or part))
        yield table(shared)
        for text in (alternative(other, shared) for other in alternatives):
            if text not in told:
                yield text
            told.add(text)


def alternative(part: dict[str, Any], shared: dict[str, Any]) -> str:
    """The text of one kind of entry; none where the catalogue does not take it."""
    [(key, kind)] = [(k, v) for k, v in part["properties"].items() if "const" in v]
    own = shared.get("properties", {}).get(key, {})
    if kind["const"] not in own.get("enum", [kind["const"]]):
        return ""
    rest = part | {"required": [*part.get("required", []), *shared.get("required", [])]}
    rest["properties"] = {k: v for k, v in part["properties"].items() if k != key}
    return f"\n**`{key}: {kind['const']}`** {kind.get('description', '')}".rstrip() + "\n" + table(rest)


def parts(entry: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all entries of a catalogue share, and the alternatives of `source` or `kind`."""
    shared = {k: v for k, v in entry.items() if k != "oneOf"}
    found = list(entry.get("oneOf", []))
    for other in map(resolved, entry.get("allOf", [])):
        deeper, more = parts(other)
        shared["properties"] = deeper.get("properties", {}) | shared.get("properties", {})
        shared["required"] = [*shared.get("required", []), *deeper.get("required", [])]
        found += more
    return {k: v for k, v in shared.items() if k != "allOf"}, found


def test_the_table_of_keys_is_the_schema(tmp_path):
    head = DOC.read_text(encoding="utf-8").partition(START)[0]
    made = tmp_path / "configuration.md"
    made.write_text(head + START + "".join(sections()), encoding="utf-8")
    assert DOC.read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), f"Right? Then: cp {made} {DOC}"


def test_every_key_of_the_schema_is_described():
    text = "".join(sections())
    described = set(re.findall(r"^\| `(?:[\w\[\]]+\.)*(\w+)` \|", text, re.MULTILINE))
    described |= set(re.findall(r"^\*\*`(\w+): ", text, re.MULTILINE)) | set(SCHEMA["properties"])
    assert named(SCHEMA) <= described
    assert not re.findall(r"^\|.*\|  \|$", text, re.MULTILINE), "a key without a description"


def named(part: Any) -> set[str]:
    """All keys that the schema names anywhere."""
    if isinstance(part, list):
        return set().union(*map(named, part))
    if not isinstance(part, dict):
        return set()
    own = {key for key in part.get("properties", {}) if isinstance(part["properties"], dict)}
    return own.union(*(named(value) for value in part.values()))
