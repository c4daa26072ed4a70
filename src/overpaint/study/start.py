"""What `make` asks of a study before it starts Snakemake, and where its results land."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from overpaint.errors import UserError, program

DEFAULT = Path("config.yaml")
CODE = "__use_yte__"  # in a file that has it, Snakemake runs expressions, before it reads the Snakefile


def results(study: str) -> Path:
    """The folder in which a study's results land, from its file over config.yaml, merged as Snakemake does.

    `study` is the path of the file, empty for the default study. Raises UserError where the file cannot be read, is no
    study, or would have Snakemake run code.
    """
    output = _output(_read(DEFAULT), "results")
    if study:
        output = _output(_read(Path(study)), output)
    if not isinstance(output, str) or not output.strip() or not output.isprintable():
        raise UserError(f"{study or DEFAULT}: study.output is {output!r:.90}: give a folder, such as results/mine.")
    return Path(os.path.expanduser(output))


def merged(study: str) -> dict[str, Any]:
    """The configuration of a study's file over config.yaml, as Snakemake merges them; "" for the default study."""
    return over(_read(DEFAULT), _read(Path(study))) if study else _read(DEFAULT)


def over(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A configuration with changes: mappings are merged, all else is replaced."""
    both = {key: over(config[key], value) for key, value in changes.items() if _mappings(config.get(key), value)}
    return config | changes | both


def _mappings(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def check_tuned(study: str) -> None:
    """Raise UserError where a study names no settings to try."""
    tune = _read(Path(study or DEFAULT)).get("study", {}).get("tune")
    if not isinstance(tune, dict) or not tune.get("runs"):
        raise UserError(
            f"{study or DEFAULT} has no study.tune.runs: list settings to try, as [{{method: rmu, layer: [2, 3]}}]."
        )


def check_cache() -> None:
    """Raise UserError where Snakemake could not make the folder in which it keeps the sources that it reads."""
    cache = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    try:
        (cache / "snakemake").mkdir(parents=True, exist_ok=True)
        writable = os.access(cache / "snakemake", os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"Snakemake needs to write in {cache}: set XDG_CACHE_HOME to a folder that you may write in.")


def _read(path: Path) -> dict[str, Any]:
    """The mapping that a configuration file holds."""
    if not path.is_file():
        raise UserError(f"There is no file {path}: let STUDY name a study's file, such as studies/smoke.yaml.")
    try:
        config = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is no study: it needs keys such as `study` at its top.")
    if CODE in config:
        raise UserError(f"{path} has the key {CODE}, with which Snakemake would run code in it: take it out.")
    return config


def _parsed(text: str) -> Any:
    """What a text says as JSON or else as YAML, in Snakemake's order."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _output(config: dict[str, Any], inherited: Any) -> Any:
    """What a file says of the folder, or what it lets stand."""
    study = config.get("study", {})
    return study.get("output", inherited) if isinstance(study, dict) else None


@program
def main(what: str, study: str = "") -> None:
    """`results STUDY` prints the folder of its results; `check STUDY` tells only whether Snakemake can start with it,
    `tune STUDY` whether it names settings to try, too."""
    folder = results(study)
    if what == "tune":
        check_tuned(study)
    print(folder) if what == "results" else check_cache()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
