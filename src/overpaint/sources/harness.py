"""Multiple-choice tasks of lm-evaluation-harness: definitions as installed, data from local files only."""

import difflib
import json
import os
import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs a hub

import lm_eval.tasks
import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import _factory
from lm_eval.tasks._index import Entry, Kind, TaskIndex

from overpaint.errors import UserError
from overpaint.sources import datafiles
from overpaint.sources.texts import LETTERS, blank, split_of, unit_of

TAKES = "dataset"
SAME = {"dataset": "equal", "task": "equal"}
TASKS = Path(lm_eval.tasks.__file__).parent


class LocalTask(ConfigurableTask):
    """A task of the harness, by its definition, that asks about given documents and shows no examples."""

    def __init__(self, definition: dict[str, Any], documents: list[dict] | Dataset, metric: str) -> None:
        """
        Args:
            definition: the task's own YAML, functions resolved.
            documents: what it asks about; its `process_docs` has been applied.
            metric: what is wanted of it beside `acc`; a task that measures by a function of its own has its own.
        """
        self.documents = documents if isinstance(documents, Dataset) else Dataset.from_list(documents)
        splits = {"test_split": "test", "training_split": None, "validation_split": None, "process_docs": None}
        shots = {"num_fewshot": 0, "fewshot_split": None, "fewshot_config": None}
        plain = {"dataset_kwargs": None, "filter_list": None, "repeats": 1, "should_decontaminate": False}
        if not definition.get("process_results"):
            plain["metric_list"] = [_metric(name) for name in dict.fromkeys(("acc", metric))]
        super().__init__(config=definition | splits | shots | plain)
        if metric not in self.aggregation():
            valid = ", ".join(self.aggregation())
            raise UserError(f"The task {self.task_name!r} of the harness does not measure {metric!r}: use {valid}.")

    def download(self, *args: Any, **kwargs: Any) -> None:
        """Take the documents that were given."""
        self.dataset = {"test": self.documents}

    def answer(self, document: dict) -> int:
        """The place of the correct option, the first where several are; -1 where none is, or another says the same."""
        gold = self.doc_to_text(document) if self.multiple_input else self.doc_to_target(document)
        gold = gold[0] if isinstance(gold, list) and gold else gold
        options = self.doc_to_choice(document)
        if isinstance(gold, str):
            gold = options.index(gold) if gold in options else -1
        if not isinstance(gold, int) or not 0 <= gold < len(options):
            return -1
        return gold if options.count(options[gold]) == 1 else -1


def definitions(name: str) -> dict[str, dict[str, Any]]:
    """{task: its definition} of a task, or of all tasks of a group or tag, as the harness itself resolves them."""
    index, made = _index(name), {}

    def define(config: dict[str, Any]) -> SimpleNamespace:
        made[config["task"]] = config
        return SimpleNamespace(task_name=config["task"])

    with patch.object(_factory, "ConfigurableTask", define):  # which would fetch its data at once
        _factory.TaskFactory().build(index[name], registry=index)
    for task, definition in made.items():
        _check(task, definition, "" if task == name else f" in the group {name!r}")
    return made


def rows(kind: str, settings: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Rows {id, unit, split, task, document} of all that a benchmark of the catalogue asks.

    A document has the columns of the data set, and those that the task's own `process_docs` makes of them. The split
    follows from the question alone; documents that ask the same are one unit.

    Args:
        settings: `task`, `metric`, and `fit`, the share of the questions that settings may be chosen on.
        folder: the data set's files as its repository has them.
    """
    kept, left_out = [], 0
    for name, definition in definitions(settings["task"]).items():
        documents, places = _documents(name, definition, folder)
        with _asking(name, definition, places[0]):
            task = LocalTask(definition, documents, settings["metric"])
        for number, (document, place) in enumerate(zip(documents, places, strict=True)):
            with _asking(name, definition, place):
                answer, stem = task.answer(document), _stem(task, document)
                _check_document(task, document, place)
            if answer < 0:
                left_out += 1
                continue
            split = split_of(stem, settings["fit"])
            head = {"id": f"{name}/{number}", "unit": unit_of(stem), "split": split, "task": name}
            kept.append(head | {"document": document})
    if left_out:
        print(f"{left_out} documents name no correct answer among their options, or name it twice: left out")
    if not any(row["split"] == "test" for row in kept):
        raise UserError(
            f"The data set {folder.name} has no question of the task {settings['task']!r} in the split 'test': name "
            "more `files` of it, or lower `fit`."
        )
    return kept


@contextmanager
def _asking(name: str, definition: dict[str, Any], where: str) -> Iterator[None]:
    """UserError where the task's own functions and templates fail on a document; they expect its own data set."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{where} is nothing that the task {name!r} of the harness can ask ({type(error).__name__}: {reason}): use "
            f"{_own_data(definition)}."
        ) from error


def _own_data(definition: dict[str, Any]) -> str:
    return f"the data set that it was made for, {definition.get('dataset_path')}"


def _check_document(task: LocalTask, document: dict, where: str) -> None:
    """Refuse what has no text to score, or cannot be kept as JSON."""
    json.dumps(document)
    odd = [option for option in task.doc_to_choice(document) if not isinstance(option, str) or blank(option)]
    if odd:
        raise UserError(
            f"{where}: the task {task.task_name!r} of the harness would score the option {reprlib.repr(odd[0])}, "
            "which is no text: use another task, or leave the file out of `files` of the data set."
        )
    if not isinstance(task.doc_to_text(document), str | int):
        raise TypeError("its question is no text")


def own_task(name: str, scoring: str, description: str, rows: list[dict], metric: str) -> LocalTask:
    """A task on rows {question, choices, answer}, none of whose texts is a template.

    The harness reads a text of a definition as the name of a column, else as a Jinja template: so all are columns.

    scoring: `continuation` has the options' words after the question; `letter` has them listed after it and the
    letters scored, in the form of MMLU (Hendrycks et al. 2021) and WMDP.
    description: what stands before each question.
    """
    letters = scoring == "letter"
    documents = [
        {
            "asked": _listed(row) if letters else row["question"],
            "options": list(LETTERS[: len(row["choices"])]) if letters else row["choices"],
            "right": row["answer"],
            "before": description,
        }
        for row in rows
    ]
    columns = {"doc_to_text": "asked", "doc_to_choice": "options", "doc_to_target": "right", "description": "before"}
    return LocalTask({"task": name, "output_type": "multiple_choice"} | columns, documents, metric)


def _listed(row: dict) -> str:
    options = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, row["choices"], strict=False))
    return f"{row['question'].strip()}{options}\nAnswer:"


def _metric(name: str) -> dict:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


def _check(name: str, definition: dict[str, Any], where: str) -> None:
    """Refuse what has no options to score, or does more than read text."""
    kind = definition.get("output_type", "generate_until")
    if kind != "multiple_choice":
        raise UserError(
            f"The task {name!r}{where} of the harness is of type {kind}: overpaint scores options by their likelihood, "
            "so use a task of type multiple_choice."
        )
    odd = [key for key in ("doc_to_image", "doc_to_audio", "custom_dataset", "unsafe_code") if definition.get(key)]
    if odd:
        raise UserError(f"The task {name!r}{where} of the harness needs {odd[0]}: use one that asks by text alone.")


def _stem(task: LocalTask, document: dict) -> str:
    """What a document asks, without its options where they are apart."""
    text = document.get("question")
    text = text if isinstance(text, str) else task.doc_to_text(document)
    return text if isinstance(text, str) else json.dumps(document, sort_keys=True)


def _documents(name: str, definition: dict[str, Any], folder: Path) -> tuple[Dataset, list[str]]:
    """The documents that a task is scored on, and where each stands: those of its test split, or of its validation
    split where it has no other."""
    split = definition.get("test_split") or definition.get("validation_split")
    part = definition.get("dataset_name")
    files = [
        path
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in (".parquet", ".jsonl") and re.match(rf"{re.escape(str(split))}(?![A-Za-z])", path.name)
        if part is None or part in path.relative_to(folder).parts[:-1]
    ]
    if len({path.parent for path in files}) != 1:
        wanted = f"{part or 'data'}/{split}-*.parquet"
        raise UserError(
            f"The task {name!r} of the harness needs {wanted} of {definition.get('dataset_path')}, and {folder} has "
            f"{len(files)} files of that kind: name them in `files` of the data set, or give the task's own data set."
        )
    documents, places = _read(files, folder)
    made, somewhere = documents, f"A row of {files[0].name} or a file beside it, of the data set {folder.name},"
    if definition.get("process_docs") and places:
        with _asking(name, definition, somewhere):
            made = definition["process_docs"](documents)
    if not len(made):
        raise UserError(f"The task {name!r} of the harness finds no rows in {files[0]}: use {_own_data(definition)}.")
    return made, places if len(made) == len(documents) else [somewhere] * len(made)


def _read(files: list[Path], folder: Path) -> tuple[Dataset, list[str]]:
    """The rows of all files, and where each stands."""
    parts, places = [], []
    for path in files:
        name = f"{path.relative_to(folder).as_posix()} of the data set {folder.name}"
        with datafiles.told(path, name, "leave it out of `files` of the data set"):
            table = path.suffix == ".parquet"
            rows = Dataset(pq.read_table(path)) if table else Dataset.from_list(list(datafiles.json_objects(path)))
            parts.append(rows)
            documents = concatenate_datasets(parts) if len(parts) > 1 else rows
        places += [f"{name}, row {number} (from 0)" for number in range(len(rows))]
    return documents, places


def _index(name: str) -> dict[str, Entry]:
    """The part of the harness's registry that `name` needs, found in half a second instead of ten.

    Of some 14,000 files only those in folders that state a wanted name are parsed.
    """
    texts = _files()
    index: dict[str, Entry] = {}
    wanted = [name]
    for word in wanted:
        if word not in index:
            for folder in _stating(word, texts):
                index |= {key: entry for key, entry in TaskIndex.build([folder]).items() if key not in index}
        if word in index:
            entry = index[word]
            wanted += [child for child in _children(entry) if child not in wanted]
            if entry.kind is Kind.PY_TASK:
                raise UserError(
                    f"The task {word!r} of the harness is a program of its own: use one that is a YAML file."
                )
    if name not in index:
        names = {match.decode() for text in texts.values() for match in _names(text)}
        close = ", ".join(difflib.get_close_matches(name, sorted(names), 5)) or "a name that `lm-eval ls tasks` prints"
        raise UserError(f"The harness has no task, group or tag {name!r}: use {close}.")
    return index


@cache
def _files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in TASKS.glob("**/*.yaml")}


def _stating(word: str, texts: dict[Path, bytes]) -> list[Path]:
    """Folders of the registry with a file that states a name as that of a task, group or tag."""
    pattern = rb"""^\s*(?:["']?(?:task|group|tag)["']?\s*:|-).*?(?<![\w.-])%s(?![\w.-])""" % re.escape(word.encode())
    stated = re.compile(pattern, re.MULTILINE)
    return sorted({TASKS / path.relative_to(TASKS).parts[0] for path, text in texts.items() if stated.search(text)})


def _names(text: bytes) -> Iterable[bytes]:
    return re.findall(rb"""^["']?(?:task|group)["']?\s*:\s*["']?([\w.:-]+)["']?\s*$""", text, re.MULTILINE)


def _children(entry: Entry) -> list[str]:
    """Names that a group or tag stands for."""
    if entry.kind is Kind.TAG:
        return sorted(entry.tags)
    return _members(entry.cfg or {}) if entry.kind is Kind.GROUP else []


def _members(group: dict[str, Any]) -> list[str]:
    """Names in the list `task` of a group, and of the groups that are written out in it."""
    listed = group.get("task") if isinstance(group.get("task"), list) else []
    direct = [item if isinstance(item, str) else item.get("task", item.get("group")) for item in listed]
    inner = [name for item in listed if isinstance(item, dict) for name in _members(item)]
    return [name for name in direct + inner if isinstance(name, str)]
