"""Check a configuration against the schema and fill in its defaults, before any job starts (no torch, no pandas)."""

import math
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from overpaint import sources
from overpaint.declared import defining
from overpaint.errors import UserError
from overpaint.models import folders, trained
from overpaint.sources import world
from overpaint.study import checks, needs, planning, sweep
from overpaint.study.names import check_names, check_plain, shown, with_places
from overpaint.tuning import grid

# The loader in C takes a tenth of the time; a PyYAML that was built without it has none.
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# JSON has one kind of number; here 3.0 is no layer, since paths and tables have the values as they are written.
Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)
# Keys by the names that they had before, and what is said of them now.
RENAMED = {
    "study.primary": "headline.clearing",
    "study.main": "headline.layer and headline.c",
    "study.control": "naive_model",
    "study.depth": "measures.depth.runs",
    "study.relearn": "measures.relearning",
    "study.emergence": "measures.emergence",
    "study.coherence": "measures.coherence",
    "study.completions": "measures.coherence.shown",
    "study.plan": "preregistration",
    "primary": "clearing",
    "corpora.*.min_length": "min_chars",
    "corpora.*.count": "max_rows",
    "prompts.*.min_length": "min_chars",
    "prompts.*.count": "max_rows",
    "benchmarks.*.min_length": "min_chars",
    "benchmarks.*.count": "max_rows",
    "benchmarks.*.limit": "max_scored",
    "methods.*.length": "max_tokens",
    "methods.*.forget_length": "forget_max_tokens",
    "methods.*.min_length": "min_chars",
    "clearings.*.dose": "strength",
    "methods.*.control": "control_vector: uniform, shared or normal",
    "methods.*.tokens": "study.junk.position",
}
# Values by the names that they had before, and what they are now.
RENAMED_VALUES = {"study.split": {"report": "test"}}


def complete(config: dict[str, Any], schema_path: Path) -> dict[str, Any]:
    """The configuration with every default filled in. Raises UserError for the first thing that is wrong with it."""
    check_plain(config, "Configuration")
    config = sweep.with_inherited(config)
    schema = _valid(config, schema_path, "Configuration")
    checkout = schema_path.resolve().parents[2]
    inherited = _read(checkout / "config.yaml")["study"]
    config = _fill(schema, config, schema)
    if config["study"]["tune"]["runs"]:
        config = grid.written_out(config)
        config = _fill(_valid(config, schema_path, "study.tune.runs, written out"), config, schema)
    config = with_places(config, checkout)
    check_names(config)
    checks.check(config)
    config = planning.without_inherited_cell(config, inherited)
    planning.check(config, inherited)
    _check_files(config, checkout)
    planning.check_folders(config)
    return config


def read_preregistration(config: dict[str, Any], schema_path: Path) -> dict[str, Any]:
    """The pre-registration that the study names: hypotheses and their rules. Raises UserError for a mistake."""
    study, path = config["study"], Path(config["study"]["preregistration"])
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"study.preregistration: {path} cannot be read ({' '.join(str(error).split())}).") from error
    check_plain(plan, str(path))
    _valid(plan, schema_path, str(path))
    if not _is_date(plan["written"]):
        raise UserError(f"{path}: written is {shown(plan['written'])}, which is no day: write one as 2026-01-31.")
    if study["name"] in plan["studies"]:
        checks.check_plan(config, plan, path)
    return plan


def schema_of(path: Path) -> dict[str, Any]:
    """The schema in a file, with what is found in the package in place: the kinds of directions."""
    schema = _read(path)
    if "direction" in schema.get("$defs", {}):
        schema["$defs"]["direction"]["enum"] = list(sweep.DIRECTIONS)
    return schema


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _valid(data: Any, schema_path: Path, name: str) -> dict[str, Any]:
    """The schema, if `data` is as it says; `name` is that of the file in what is said otherwise."""
    _check_renamed(data, name)
    schema = schema_of(schema_path)
    every = Validator(schema).iter_errors(data)
    errors = sorted((error for error in every if _of_its_own(error, schema)), key=_order)
    if errors:
        raise UserError(f"{name}: {_sentence(errors[0], schema)}")
    return schema


def _check_renamed(data: Any, name: str) -> None:
    """Refuse a key or a value by the name that it had before."""
    for old, new in RENAMED.items():
        *levels, key = old.split(".")
        for where, entry in _entries(data, levels):
            if isinstance(entry, dict) and key in entry:
                raise UserError(f"{name}: {where or 'the file'} has the key {key!r}, which is now {new}.")
    for old, names in RENAMED_VALUES.items():
        for where, value in _entries(data, old.split(".")):
            if isinstance(value, str) and value in names:
                raise UserError(f"{name}: {where} is {value!r}, which is now {names[value]!r}.")


def _entries(data: Any, levels: list[str], where: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of what lies below `levels` of keys, `*` for every one."""
    if not levels:
        yield where, data
    elif isinstance(data, dict):
        for key in data if levels[0] == "*" else data.keys() & {levels[0]}:
            yield from _entries(data[key], levels[1:], f"{where}.{key}".removeprefix("."))


@cache
def _read(path: Path) -> dict[str, Any]:
    """A file of the checkout, which nobody changes in what it gives."""
    return yaml.load(path.read_text(encoding="utf-8"), FAST)


def _order(error: ValidationError) -> tuple:
    """By place; of errors at one place, unknown keys last, since an entry of the wrong kind has only unknown keys."""
    return [str(part) for part in error.path], error.validator == "unevaluatedProperties"


def _of_its_own(error: ValidationError, root: dict[str, Any]) -> bool:
    """Whether an error is not that of keys which are unknown because something else is wrong with their entry."""
    return error.validator != "unevaluatedProperties" or bool(_unknown(error, root))


def _unknown(error: ValidationError, root: dict[str, Any]) -> list[str]:
    return sorted(set(error.instance) - set(_properties(error.schema, error.instance, root)))


def _sentence(error: ValidationError, root: dict[str, Any]) -> str:
    """What is wrong, where, and what is valid, from a schema error."""
    while error.context:
        kinds = [e for e in error.context if e.validator == "const"]
        if len({e.schema_path[0] for e in kinds}) == len(error.validator_value):
            where = ".".join(map(str, kinds[0].absolute_path))
            valid = ", ".join(e.validator_value for e in kinds)
            return f"{where} is {shown(kinds[0].instance)}: use one of {valid}."
        error = _closest(error)
    where = ".".join(map(str, error.absolute_path)) or "the file"
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        valid_keys = _properties(error.schema, error.instance, root)
        return f"{where} has the unknown key {_unknown(error, root)[0]!r}: use one of {', '.join(valid_keys)}."
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where} lacks {missing[0]!r}: it needs {', '.join(error.validator_value)}."
    valid = error.schema.get("description", "")
    if error.validator == "pattern":
        named = "has the name" if "propertyNames" in error.schema_path else "is"
        return f"{where} {named} {shown(error.instance)}, which is not valid. Valid: {valid}"
    message = error.message.replace(repr(error.instance), shown(error.instance))
    return f"{where} is wrong: {message}{_hint(error)}." + (f" Valid: {valid}" if valid else "")


def _closest(error: ValidationError) -> ValidationError:
    """Of the alternatives that failed, an error of the one that the entry's `source`, `kind` or type speaks for."""
    wrong = {e.schema_path[0] for e in error.context if e.validator == "const"}
    right = [e for e in error.context if e.schema_path[0] not in wrong] or error.context
    return max(right, key=lambda e: (len(e.absolute_path), e.validator != "type"))


def _hint(error: ValidationError) -> str:
    """How to write what YAML reads otherwise than it was meant."""
    if error.validator != "type":
        return ""
    types, value = error.validator_value, error.instance
    if "string" in types and not isinstance(value, (dict, list)):
        return " (YAML reads it as no text: put it in quotation marks)"
    if "integer" in types and isinstance(value, float):
        return f" (write {value:.0f}, without a point)" if value.is_integer() else ""
    return _number_hint(value) if "integer" in types or "number" in types else ""


def _number_hint(value: Any) -> str:
    """YAML 1.1 reads 5e-5 as text, and whatever is in quotation marks."""
    try:
        number = float(value) if isinstance(value, str) else math.inf
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        return ""
    if isinstance(yaml.safe_load(value), int | float):
        return f" (it is text: write {value} without quotation marks, and in a file, as --config gives text alone)"
    return (
        f" (YAML reads {value} as text: write {number:.0f})"
        if abs(number) >= 1 and number.is_integer()
        else (f" (YAML reads {value} as text: write {number:.1e})")
    )


def _fill(schema: dict[str, Any], data: Any, root: dict[str, Any]) -> Any:
    """`data` with the defaults of `schema` where it has no value; sorted, so that no order in a file changes a job."""
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")] | beside
    if isinstance(data, list):
        return [_fill(schema.get("items", {}), item, root) for item in data]
    if not isinstance(data, dict):
        return data
    filled = dict(data)
    properties, others = _properties(schema, data, root), schema.get("additionalProperties")
    for key, part in properties.items():
        default = root["$defs"].get(part.get("$ref", "").removeprefix("#/$defs/"), {}) | part
        if key not in filled and "default" in default:
            filled[key] = default["default"]
    others = others if isinstance(others, dict) else {}
    return {key: _fill(properties.get(key, others), filled[key], root) for key in sorted(filled)}


def _properties(schema: dict[str, Any], data: dict, root: dict[str, Any]) -> dict[str, Any]:
    """Properties of a schema with those of the alternatives (`allOf`, and the `oneOf` that accepts `data`)."""
    properties = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        properties |= _properties(root["$defs"][part["$ref"].removeprefix("#/$defs/")], data, root)
    for part in schema.get("oneOf", []):
        constants = {k: v["const"] for k, v in part["properties"].items() if "const" in v}
        if all(data.get(key) == value for key, value in constants.items()):
            properties |= _properties(part, data, root)
    return properties


def _check_files(config: dict[str, Any], checkout: Path) -> None:
    """Read the files and folders that the study names, so that a bad row is known at once."""
    for catalogue, names in sweep.used_texts(config["study"]).items():
        for name, entry in ((name, config[catalogue][name]) for name in names):
            if entry["source"] in defining("sources", "check"):
                sources.get(entry["source"]).check(entry, f"{catalogue}.{name}")
    needs.check_own(config)
    for name, model in sweep.chosen(config)["models"].items():
        without = model.get("without", [])
        if set(without) - set(world.DOMAINS) or set(world.DOMAINS) <= set(without):
            valid = ", ".join(world.DOMAINS)
            raise UserError(f"models.{name}.without lists {shown(without)}: use some, but not all, of {valid}.")
        silent = model.get("without_mlp", [])
        if silent and not set(silent) < set(range(model["layers"])):
            raise UserError(
                f"models.{name}.without_mlp lists {shown(silent)}: use some, but not all, of the blocks 0 to "
                f"{model['layers'] - 1}."
            )
        if model["source"] == "trained":
            trained.check(name, model, config["worlds"][model["world"]], checkout)
        if model["source"] == "folder":
            folders.check(Path(model["path"]), f"models.{name}.path: ")
            if name in sweep.as_list(config["study"]["model"]):
                folders.check_tokenizer(Path(model["path"]))
