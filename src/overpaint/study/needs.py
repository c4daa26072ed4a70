"""What a study needs of its texts, told before a model is trained: enough rows, in the splits that it reads."""

import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overpaint import sources
from overpaint.declared import defining
from overpaint.errors import UserError
from overpaint.sources import texts
from overpaint.study import sweep

Corpus = tuple[str, Callable[[int], int]]  # what is said of its place, and n -> its texts of more than n characters


def check_own(config: dict[str, Any]) -> None:
    """Refuse texts of which the configuration, or a file of the user's own, tells that the study cannot use them."""
    units: dict[tuple, tuple[str, str]] = {}
    corpora: dict[str, Corpus] = {}
    for catalogue, names in sweep.used_texts(config["study"]).items():
        for name in dict.fromkeys(names):
            entry = config[catalogue][name]
            if entry["source"] == "file":
                rows = sources.rows(sweep.texts(config)[f"{catalogue}/{name}"], Path(entry["path"]))
                where = f"{catalogue}.{name} ({entry['path']})"
                if catalogue == "corpora":
                    corpora[name] = where, texts.longer(rows)
                    continue
                _check_rows(config, catalogue, name, rows, where)
                _check_units(units, entry["topic"], [row for row in rows if "question" in row], where)
            else:
                _check_settings(config, catalogue, name)
                if catalogue == "corpora" and (most := _most(config, entry)) is not None:
                    corpora[name] = f"corpora.{name}", lambda _, most=most: most
    _check_corpora(config, corpora)


def _check_rows(config: dict[str, Any], catalogue: str, name: str, rows: list[dict], where: str) -> None:
    """Refuse prompts or questions that are too few for the study."""
    texts.check_splits(rows, texts.PROMPTS if catalogue == "prompts" else _asked(config, name), where)
    if name in _probed(config) and catalogue == "benchmarks" and any(not row["question"] for row in rows):
        raise UserError(
            f"{where} has empty questions, at whose last token the runs of study.measures.depth are read: write them, "
            "or leave its runs empty."
        )


def _check_units(units: dict[tuple, tuple[str, str]], topic: str, questions: list[dict], where: str) -> None:
    """Refuse a question of two units, which would count as two facts; units: unit and place of those before."""
    for row in questions:
        key = (topic, " ".join(row["question"].split()), *sorted(row["choices"]))
        unit, place = units.setdefault(key, (row["unit"], where))
        if unit != row["unit"]:
            raise UserError(
                f"{where} asks {reprlib.repr(row['question'])} as unit {reprlib.repr(row['unit'])}, and {place} as "
                f"unit {reprlib.repr(unit)}: give it one unit, or it counts as two facts."
            )


def _probed(config: dict[str, Any]) -> list[str]:
    """The benchmarks that are read at every depth, of which probes need questions to fit."""
    return sweep.plain_questions(config) if sweep.picked(config, config["study"]["measures"]["depth"]["runs"]) else []


def _asked(config: dict[str, Any], name: str) -> dict[str, int]:
    """Rows of a benchmark by split: those that are shown, and those that probes fit where no other has its topic."""
    topics = [config["benchmarks"][other]["topic"] for other in _probed(config)]
    alone = name in _probed(config) and topics.count(config["benchmarks"][name]["topic"]) == 1
    tried = ["fit"] if config["study"]["tune"]["runs"] else []
    return dict.fromkeys(texts.SPLITS if alone else [config["study"]["split"], *tried], 1)


def _check_corpora(config: dict[str, Any], corpora: dict[str, Corpus]) -> None:
    """Refuse corpora without a batch, or with too few texts to relearn, as far as their sizes are known."""
    study = config["study"]
    for name, (where, longer) in corpora.items():
        texts.check_batches(longer, sweep.batches(config, [name]), where)
        if name in study["forget"]:
            _check_relearned(config, [name], longer(-1), where)
    if set(study["retain"]) <= set(corpora):  # a batch may hold texts of several
        places, sizes = zip(*(corpora[name] for name in study["retain"]), strict=True)
        where, longer = ", ".join(places), lambda least: sum(longer(least) for longer in sizes)
        texts.check_batches(longer, sweep.batches(config, study["retain"]), where)
        _check_relearned(config, study["forget"], longer(-1), where)


def _check_relearned(config: dict[str, Any], taught: list[str], count: int, where: str) -> None:
    """Refuse fewer texts than are relearned about the topics of the corpora `taught`."""
    relearning = config["study"]["measures"]["relearning"]
    most = max(relearning["examples"])
    topics = [config["corpora"][name]["topic"] for name in taught]  # topics without questions are not relearned
    if count < most and sweep.plain_questions(config, topics) and sweep.picked(config, relearning["runs"]):
        raise UserError(
            f"{where} has {count} texts, and study.measures.relearning.examples asks for {most}: lower it, or add "
            "texts."
        )


def _check_settings(config: dict[str, Any], catalogue: str, name: str) -> None:
    """Refuse what `max_rows`, `fit` or a fictional world leave too few rows of, whatever the texts are."""
    entry = config[catalogue][name]
    share = entry.get("fit", 0.5) if catalogue != "corpora" else 0.5
    empty = {0: "fit", 1: "test"}.get(share)
    needed = texts.PROMPTS if catalogue == "prompts" else _asked(config, name) if catalogue == "benchmarks" else {}
    if empty in needed:
        raise UserError(
            f"{catalogue}.{name}.fit is {share:g}, which leaves no rows of split {empty!r}, and the study needs some: "
            "choose a share between 0 and 1."
        )
    if catalogue == "prompts" and entry.get("max_rows", 2) < texts.PROMPTS["fit"]:
        raise UserError(
            f"prompts.{name}.max_rows is {entry['max_rows']}, and directions are fitted on {texts.PROMPTS['fit']} "
            "prompts or more: raise it."
        )


def _most(config: dict[str, Any], entry: dict[str, Any]) -> int | None:
    """How many texts a corpus has at most, as far as its settings tell."""
    if entry["source"] not in defining("sources", "most"):
        return None
    most = sources.get(entry["source"]).most
    entries = [sweep.entry_for_model(config, entry, model) for model in sweep.as_list(config["study"]["model"])]
    sizes = [most(settings, config["worlds"].get(settings.get("world"), {})) for settings in entries]
    return None if None in sizes else min(sizes)
