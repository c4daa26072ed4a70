"""The default study with changes."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from helpers.checkout import ROOT
from overpaint.errors import UserError
from overpaint.study import sweep
from overpaint.study.configuration import complete

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PLAN_SCHEMA = ROOT / "workflow/schemas/preregistration.schema.yaml"
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


def merged(*files: Path) -> dict[str, Any]:
    """The default study with files over it, merged as Snakemake does: dictionaries merge, lists are replaced."""
    config = copy.deepcopy(DEFAULT)
    for file in files:
        update_config(config, yaml.safe_load(file.read_text(encoding="utf-8")))
    return config


def put(*path: str | int, value: Any) -> Callable[[dict], None]:
    """A change that sets one value of a configuration."""

    def change(config: dict) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[dict], None]:
    """A change that takes one key out of a configuration."""

    def change(config: dict) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return change


def both(*changes: Callable[[dict], None]) -> Callable[[dict], None]:
    """Several changes as one."""

    def change(config: dict) -> None:
        for one in changes:
            one(config)

    return change


def with_worlds(config: dict) -> None:
    """Let every fictional text name its world, as a model of none needs it."""
    for catalogue in ("corpora", "prompts", "benchmarks"):
        for entry in config[catalogue].values():
            if entry["source"] == "fictional":
                entry["world"] = "miniature"


def without_control(config: dict) -> None:
    """Let no clearing use the saved control vectors, which released models lack."""
    for entry in config["study"]["evaluate"]:
        entry["clearings"] = [name for name in entry["clearings"] if name != "u"]


def without_variants(config: dict) -> None:
    """Let every method have settings of its own, so that another kind of one changes no other."""
    methods = sweep.with_inherited(config)["methods"]
    config["methods"] = {name: sweep.own_settings(method) for name, method in methods.items()}


def model_folder(folder: Path, **config: Any) -> None:
    """Files that look like those of a model with a config.json of so many blocks."""
    tensors = {f"{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n in range(32)}
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * len(tensors)))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | config), encoding="utf-8")
    (folder / "tokenizer.json").touch()


def refusal(*changes: Callable[[dict], None]) -> str:
    """What is said about the default study with `changes`; it must be one line that is a sentence."""
    config = copy.deepcopy(DEFAULT)
    for change in changes:
        change(config)
    with pytest.raises(UserError) as caught:
        complete(config, SCHEMA)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 400
    return sentence


COMMIT = "0123456789abcdef" * 2 + "01234567"
