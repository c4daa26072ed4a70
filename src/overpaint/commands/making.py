"""Studies written and checked: what planning knows of one, and a first file for a model and texts of one's own."""

import re
from pathlib import Path
from typing import Any

import yaml

from overpaint.errors import UserError
from overpaint.models import folders
from overpaint.study import resources, start
from overpaint.study.configuration import complete, read_preregistration
from overpaint.study.study import Study

SCHEMAS = Path("workflow/schemas")
# Files of the folder of texts by the catalogue that they are entries of, as `{entry: file}`.
FILES = {
    "corpora": {"mine": "forget", "plain": "retain"},
    "prompts": {"mine": "prompts", "plain": "plain_prompts"},
    "benchmarks": {"mine": "questions", "plain": "plain_questions"},
}
FACTORS = (2, 4, 8)  # times the base's mean norm: what config.yaml sweeps; published RMU has 3.2 of zephyr's at layer 7
DEPTH = 7 / 32  # where published RMU aims: layer 7 of zephyr-7b-beta


def planned(config: dict[str, Any]) -> Study:
    """The study of a merged configuration, which is complete and right as far as planning knows.

    Raises UserError, as Snakemake would say it, for the first thing that is wrong.
    """
    config = complete(config, SCHEMAS / "config.schema.yaml")
    read_preregistration(config, SCHEMAS / "preregistration.schema.yaml")
    return Study(config)


def told(study: Study) -> str:
    """What a study runs, and what its jobs ask for: of memory and time upper bounds, not forecasts."""
    size, runs = max(study.megabytes.values()), len(study.unlearned) * len(study.models)
    rules = ["unlearn", "evaluate"] + ["relearn"] * bool(study.relearned)
    memory = max(resources.memory_mb(rule, size) for rule in resources.NEEDS) / 1000
    hours = sum(resources.minutes(rule, size) for rule in rules) * runs / 60
    counts = {"base model": study.models, "run": study.unlearned, "clearing": study.chosen["clearings"]}
    return (
        f"Study '{study.settings['name']}' is right as far as planning knows: "
        f"{', '.join(_count(len(each), what) for what, each in counts.items())}; weights of "
        f"{size:,.1f} MB.\nJobs ask for up to {memory:.1f} GB of memory; {', '.join(rules)} of all runs for at most "
        f"{hours:,.1f} hours on one core, of which {resources.START_MINUTES} minutes a job are for its start. A GPU "
        f"needs a fraction.\nResults land in {study.settings['output']}."
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def new(name: str, model: str, texts: Path, layer: int | None = None) -> str:
    """Write studies/`name`.yaml and say what it runs; `model` is a folder, or `owner/name` on the hub.

    Raises UserError, and writes nothing, where the model or a row of the texts is not as the study needs it.
    """
    path = Path("studies") / f"{name}.yaml"
    if path.exists():
        raise UserError(f"There is a {path} already: choose another name, or edit it.")
    entry = _entry(model)
    if layer is None:
        layer = max(2, round(DEPTH * (folders.blocks(entry) or 0)))  # below it lie two more blocks that RMU trains
    content = _content(name, entry, texts, layer)
    study = planned(start.over(start.merged(""), content))
    measured = "of a model of the hub it is measured when the study runs"
    if "path" in entry:
        norm = _norm(Path(model), entry["dtype"], texts / "prompts.jsonl", layer)
        lengths = ", ".join(f"{factor} ({factor * norm:.3g} long)" for factor in FACTORS)
        measured = f"last tokens of hazardous prompts have one of {norm:.3g}, which makes it {lengths}"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return (
        f"{told(study)}\nWrote {path}: layer {layer}, and c of {', '.join(map(str, FACTORS))} times the mean norm "
        f"after it; {measured}.\nNext: make study STUDY={path}"
    )


def _entry(model: str) -> dict[str, Any]:
    """The catalogue's entry of a folder or of a repository of the hub."""
    from overpaint.commands import remote

    if Path(model).is_dir():
        folders.check(Path(model))
        return {"source": "folder", "path": model, "dtype": remote.dtype(folders.config(Path(model)))}
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UserError(f"There is no folder {model}: give a local Hugging Face folder, or owner/name on the hub.")
    return remote.entry(model)


def _content(name: str, model: dict[str, Any], texts: Path, layer: int) -> dict[str, Any]:
    """The study's file."""
    catalogues = {
        catalogue: {
            entry: {"source": "file", "topic": entry, "path": str(texts / f"{file}.jsonl")}
            | ({"kind": "questions"} if catalogue == "benchmarks" else {})
            for entry, file in entries.items()
        }
        for catalogue, entries in FILES.items()
    }
    asked = [
        {"clearings": ["none", "topic"], "benchmarks": ["mine", "plain"]},
        {"clearings": ["rand", "randn"], "benchmarks": ["mine"]},
    ]
    study = {
        "name": name, "output": f"results/{name}", "model": "mine",
        "runs": [{"method": "rmu_mine", "layer": [layer], "c": list(FACTORS), "seed": [0, 1, 2]}],
        "forget": ["mine"], "retain": ["plain"], "prompts": ["mine", "plain"], "evaluate": asked,
        "headline": {"clearing": "topic", "layer": layer, "c": FACTORS[1]},
    }  # fmt: skip
    methods = {"rmu_mine": {"like": "rmu_zephyr", "c_unit": "mean_norm", "forget_max_tokens": 512}}
    nulls = {"rand": {"rank": 1}, "randn": {"rank": 1}}  # as many directions as one topic has
    return {"study": study, "models": {"mine": model}, "methods": methods, **catalogues, "clearings": nulls}


def _norm(model: Path, dtype: str, prompts: Path, layer: int) -> float:
    """Mean norm of the base's residual stream after a block at the last tokens of prompts.

    Training measures it anew, at all tokens of the texts to forget but the first.
    """
    from overpaint.junk.collection import collect
    from overpaint.models.load import load_model, load_tokenizer
    from overpaint.sources.texts import read_prompts

    states = collect(load_model(model, dtype), load_tokenizer(model), read_prompts(prompts, "fit"))
    return states.at(layer + 1, "last").float().norm(dim=-1).mean().item()


def export_path(study: Study, run: str, clearing: str, model: str) -> str:
    """The folder that Snakemake is asked for, of the first base model where none is named."""
    for what, value, valid in (
        ("run", run, [*study.runs]), ("clearing", clearing, [*study.config["clearings"]]),
        ("base model", model or study.models[0], study.models),
    ):  # fmt: skip
        if value not in valid:
            raise UserError(f"There is no {what} {value!r} in this study: name one of {', '.join(valid)}.")
    return f"{study.settings['output']}/{model or study.models[0]}/{run}/export/{clearing}"
