"""Check a configuration against the schema and fill in its defaults, before any job starts (no torch, no pandas)."""

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from overpaint import folders, sweep, texts, world
from overpaint.errors import UserError


def complete(config: dict[str, Any], schema_path: Path) -> dict[str, Any]:
    """The configuration with every default filled in; the first thing wrong with it is one sentence."""
    schema = _valid(config, schema_path, "Configuration")
    config = _fill(schema, config, schema)
    sweep.check(config)
    _check_files(config)
    return config


def read_plan(config: dict[str, Any], schema_path: Path) -> dict[str, Any]:
    """The plan that the study names: its hypotheses, and how they are decided; a wrong one is said in one sentence."""
    study, path = config["study"], Path(config["study"]["plan"])
    try:
        plan = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"study.plan: {path} cannot be read ({' '.join(str(error).split())}).") from error
    _valid(plan, schema_path, str(path))
    if study["name"] not in plan["studies"]:
        return plan
    if study["primary"] != plan["primary"]:
        raise UserError(
            f"study.primary is {study['primary']!r}, and {path}, which was fixed for this study, says "
            f"{plan['primary']!r}: use that, or take the study out of its `studies`."
        )
    for name, entry in plan["hypotheses"].items():
        if entry.get("draws", study["primary"]) not in sweep.evaluated(study, "clearings"):
            raise UserError(
                f"{path}: hypotheses.{name}.draws is {entry['draws']!r}, which study.evaluate does not list: use one "
                f"of {', '.join(sweep.evaluated(study, 'clearings'))}."
            )
    return plan


def _valid(data: Any, schema_path: Path, name: str) -> dict[str, Any]:
    """The schema, if `data` is as it says; `name` is that of the file in what is said otherwise."""
    schema = yaml.safe_load(schema_path.read_text())
    errors = sorted(Draft202012Validator(schema).iter_errors(data), key=_order)
    if errors:
        raise UserError(f"{name}: {_sentence(errors[0], schema)}")
    return schema


def _order(error: ValidationError) -> tuple:
    """By place; of errors at one place, unknown keys last, since an entry of the wrong kind has only unknown keys."""
    return [str(part) for part in error.path], error.validator == "unevaluatedProperties"


def _sentence(error: ValidationError, root: dict[str, Any]) -> str:
    """What is wrong, where, and what is valid, from a schema error."""
    while error.context:
        kinds = [e for e in error.context if e.validator == "const"]
        if len({e.schema_path[0] for e in kinds}) == len(error.validator_value):
            where = ".".join(map(str, kinds[0].absolute_path))
            valid = ", ".join(e.validator_value for e in kinds)
            return f"{where} is {kinds[0].instance!r}: use one of {valid}."
        error = _closest(error)
    where = ".".join(map(str, error.absolute_path)) or "the file"
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        known = _properties(error.schema, error.instance, root)
        unknown = sorted(set(error.instance) - set(known))
        return f"{where} has the unknown key {unknown[0]!r}: use one of {', '.join(known)}."
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where} lacks {missing[0]!r}: it needs {', '.join(error.validator_value)}."
    hint = _number_hint(error)
    valid = error.schema.get("description", "")
    return f"{where} is wrong: {error.message}{hint}." + (f" Valid: {valid}" if valid else "")


def _closest(error: ValidationError) -> ValidationError:
    """Of the alternatives that failed, an error of the one that the entry's `source`, `kind` or type speaks for."""
    wrong = {e.schema_path[0] for e in error.context if e.validator == "const"}
    right = [e for e in error.context if e.schema_path[0] not in wrong] or error.context
    return max(right, key=lambda e: (len(e.absolute_path), e.validator != "type"))


def _number_hint(error: ValidationError) -> str:
    """YAML 1.1 reads 5e-5 as text: say so."""
    if error.validator == "type" and isinstance(error.instance, str):
        try:
            return f" (YAML reads {error.instance} as text: write {float(error.instance):.1e})"
        except ValueError:
            pass
    return ""


def _fill(schema: dict[str, Any], data: Any, root: dict[str, Any]) -> Any:
    """`data` with the defaults of `schema` where it has no value; sorted, so that no order in a file changes a job."""
    if "$ref" in schema:
        own = {key: value for key, value in schema.items() if key != "$ref"}
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")] | own
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
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found |= _properties(root["$defs"][part["$ref"].removeprefix("#/$defs/")], data, root)
    for part in schema.get("oneOf", []):
        constants = {k: v["const"] for k, v in part["properties"].items() if "const" in v}
        if all(data.get(key) == value for key, value in constants.items()):
            found |= _properties(part, data, root)
    return found


def _check_files(config: dict[str, Any]) -> None:
    """Read the user's own files and folders that the study names, so that a bad row is known at once."""
    for catalogue, names in sweep.used_texts(config["study"]).items():
        for name, entry in ((name, config[catalogue][name]) for name in names):
            unknown = sorted(set(entry.get("domains", [])) - set(world.DOMAINS))
            if unknown:
                valid = ", ".join(world.DOMAINS)
                raise UserError(f"{catalogue}.{name} names the domain {unknown[0]!r}: use any of {valid}.")
            if entry["source"] == "file":
                kind = {"corpora": "corpus", "prompts": "prompts"}.get(catalogue) or entry["kind"]
                texts.read_rows(Path(entry["path"]), kind)
    for name, model in sweep.chosen(config)["models"].items():
        without = model.get("without", [])
        if set(without) - set(world.DOMAINS) or set(world.DOMAINS) <= set(without):
            valid = ", ".join(world.DOMAINS)
            raise UserError(f"models.{name}.without lists {', '.join(without)}: use some, but not all, of {valid}.")
        if model["source"] == "folder":
            folders.check(Path(model["path"]), f"models.{name}.path: ")
            if name in sweep.as_list(config["study"]["model"]):
                folders.check_tokenizer(Path(model["path"]))
