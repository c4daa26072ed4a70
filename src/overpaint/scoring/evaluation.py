"""Evaluate a model under intervention with lm-evaluation-harness task definitions, one row per question kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from overpaint.errors import UserError
from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models.hooks import check_sites
from overpaint.models.streamed.access import parts
from overpaint.scoring import together
from overpaint.scoring.intervened import IntervenedLM
from overpaint.scoring.likelihood import check_finite
from overpaint.scoring.packing import Pair, Scores
from overpaint.sources.harness import LocalTask, definitions, own_task
from overpaint.sources.texts import LETTERS, SPLITS, spread

OTHER = dict(zip(SPLITS, reversed(SPLITS), strict=True))  # the other split of each


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the study.

    name, topic: its entry in the catalogue and the topic it asks about.
    path: JSONL of questions {id, unit, split, question, choices, answer}, of a task's documents {id, unit, split, task,
        document} or of texts {id, unit, split, text}.
    metric: the harness's metric for questions (`acc`, `acc_norm`, `acc_mutual_info`); `perplexity` for texts.
    max_scored: at most so many rows of the split, the first ones, or at even distances over a task or group; 0 for all.
    prior: what stands before an option in the unconditional term of `acc_mutual_info`; "" for one start token. A
        question of the same form that asks about nothing makes it domain-conditional PMI (Holtzman et al. 2021).
    scoring, description: `continuation` or `letter`, and what stands before each question; of our own questions.
    chat_template: whether a context is a conversation in the tokenizer's chat template.
    task: a task or group of lm-evaluation-harness that says all this itself; "" for our own questions.
    """

    name: str
    topic: str
    path: Path
    metric: str
    max_scored: int = 0
    prior: str = ""
    scoring: str = "continuation"
    description: str = ""
    chat_template: bool = False
    task: str = ""

    @classmethod
    def of(cls, name: str, settings: dict, path: Path) -> "Benchmark":
        """The benchmark of a catalogue entry, normalised to `path`."""
        metric = "perplexity" if settings["kind"] == "text" else settings["metric"]
        fields = {
            key: settings[key] for key in ("topic", "max_scored", "prior", "scoring", "description", "chat_template")
        }
        return cls(name, path=path, metric=metric, task=settings.get("task", ""), **fields)


Plan = list[tuple[Clearing, list[Benchmark]]]  # what is asked under each clearing


def of_job(given: Any, params: Any) -> tuple[Run, Plan, str]:
    """Of a job's inputs and parameters: its run, what is asked of it under which clearing, and of which split."""
    run, files = Run.load(given, params.dtype), zip(params.benchmarks.items(), given.benchmarks, strict=True)
    benchmarks = {name: Benchmark.of(name, settings, Path(path)) for (name, settings), path in files}
    plan = [
        (cleared, [benchmarks[name] for name in entry["benchmarks"]])
        for entry in params.evaluation_plan
        for name in entry["clearings"]
        for cleared in run.clearings(name, params.clearings[name])
    ]
    return run, plan, params.split


def evaluate_clearings(run: Run, plan: Plan, split: str) -> list[dict]:
    """Rows of every benchmark under every clearing of `plan`, on the rows of one `split`; of both without a clearing.

    A row: clearing, direction_of, draw, refit, benchmark, topic, id, unit, split, part ("" for none), kind, answer,
    correct, nll (nats, of the correct answer or the text), tokens (of the text), scores (log-likelihood of each
    option).
    """
    check_sites(run.model)
    lm = IntervenedLM(run.model, run.tokenizer)
    asked = {b: _asked(b, split, lm) for b in dict.fromkeys(b for _, benchmarks in plan for b in benchmarks)}
    uncleared = dict.fromkeys(b for clearing, benchmarks in plan if not len(clearing.basis) for b in benchmarks)
    others, rows = {b: _asked(b, OTHER[split], lm, needed=False) for b in uncleared}, []

    def answered(clearing: Clearing, benchmark: Benchmark) -> list[dict]:
        parts = asked[benchmark] + ([] if len(clearing.basis) else others[benchmark])
        return _answers(lm, parts, benchmark)

    scores = _together(lm, run, plan, answered) if parts(run.model) else [None] * len(plan)
    for done, ((clearing, benchmarks), known) in enumerate(zip(plan, scores, strict=True), 1):
        lm.known = known
        with run.cleared(clearing):
            for benchmark in benchmarks:
                answers = answered(clearing, benchmark)
                _check_answers(answers, f"{run.model.name_or_path} on {benchmark.name} under clearing {clearing.name}")
                rows += [clearing.label | row for row in answers]
        said = (value for value in clearing.label.values() if value not in ("", None))
        print(f"evaluated {done}/{len(plan)} ", *said, flush=True)
    return rows


def _together(lm: IntervenedLM, run: Run, plan: Plan, ask: Callable[[Clearing, Benchmark], object]) -> list[Scores]:
    """The scores of all that is asked under each clearing of `plan`, which go through the model together."""
    wanted = []
    for clearing, benchmarks in plan:
        lm.known = _Wanted()
        for benchmark in benchmarks:
            ask(clearing, benchmark)
        wanted.append((run.state(clearing), tuple(lm.known)))
    return together.score(lm, wanted)


class _Wanted(dict):
    """Notes what is asked, and answers nothing of worth."""

    def __missing__(self, pair: Pair) -> tuple[float, bool]:
        self[pair] = (0.0, False)
        return self[pair]


@dataclass(frozen=True)
class _Asked:
    """What is asked: rows of one file, and for questions the harness's task that asks them and its document of each."""

    rows: list[dict]
    task: LocalTask | None = None
    documents: Sequence[dict] = ()


def _asked(benchmark: Benchmark, split: str, lm: IntervenedLM, needed: bool = True) -> list[_Asked]:
    """The rows of one split of a benchmark, by task; where none are `needed`, there may be none."""
    if benchmark.chat_template and not lm.tokenizer.chat_template:
        raise UserError(
            f"benchmarks.{benchmark.name} asks for a chat template, which this model's tokenizer does not have: set "
            "chat_template to false, or use a model that was tuned to chat."
        )
    rows = [row for line in benchmark.path.open(encoding="utf-8") if (row := json.loads(line))["split"] == split]
    if not rows and not needed:
        return []
    if not rows:
        raise UserError(
            f"{benchmark.path} has no rows of split {split!r}: set study.split, or `fit`, to another value."
        )
    if benchmark.metric == "perplexity":
        return [_Asked(rows[: benchmark.max_scored or None])]
    if not benchmark.task:
        rows = rows[: benchmark.max_scored or None]
        task = own_task(benchmark.name, benchmark.scoring, benchmark.description, rows, benchmark.metric)
        return [_questions(rows, task, benchmark, lm)]
    by_task: dict[str, list[dict]] = {}
    for row in spread(rows, benchmark.max_scored or len(rows)):
        by_task.setdefault(row["task"], []).append(row)
    tasks_of_harness = definitions(benchmark.task)
    tasks = {
        name: LocalTask(tasks_of_harness[name], [row["document"] for row in listed], benchmark.metric)
        for name, listed in by_task.items()
    }
    return [_questions(listed, tasks[name], benchmark, lm) for name, listed in by_task.items()]


def _questions(rows: list[dict], task: LocalTask, benchmark: Benchmark, lm: IntervenedLM) -> _Asked:
    """The harness's task on the documents of these rows, with the requests that it makes of them."""
    chat = {"chat_template": lm.apply_chat_template, "tokenizer_name": lm.tokenizer_name, "fewshot_as_multiturn": True}
    task.build_all_requests(apply_chat_template=benchmark.chat_template, **chat if benchmark.chat_template else {})
    _check_letters(task, lm, benchmark)
    return _Asked(rows, task, list(task.eval_docs))


def _answers(lm: IntervenedLM, asked: list[_Asked], benchmark: Benchmark) -> list[dict]:
    """What `lm` as it is now answers, one row per row of the benchmark."""
    lm.prior = benchmark.prior
    label = {"benchmark": benchmark.name, "topic": benchmark.topic}
    return [
        label | {"id": row["id"], "unit": row["unit"], "split": row["split"], "part": row.get("part", "")} | answer
        for part in asked
        for row, answer in zip(part.rows, _scored(lm, part, benchmark.metric), strict=True)
    ]


def _check_answers(rows: list[dict], what: str) -> None:
    """Refuse scores that are no numbers, and a benchmark whose options tie in every question: the first would win."""
    check_finite([value for row in rows for value in (row["nll"], *row["scores"])], what)
    scored = [row["scores"] for row in rows if len(row["scores"]) > 1]
    if len(scored) > 1 and all(min(scores) == max(scores) for scores in scored):
        raise UserError(
            f"All options of all {len(scored)} questions tie in the scores of {what}, as where the tokenizer has one "
            "token for all: write options that it tells apart."
        )


def _check_letters(task: LocalTask, lm: IntervenedLM, benchmark: Benchmark) -> None:
    """Refuse options by letter whose letters the tokenizer does not know or tell apart."""
    letters = sorted({request.args[1] for request in task.instances})
    if not all(letter.strip() in LETTERS for letter in letters):
        return
    tokens = [tuple(lm.tok_encode(letter, add_special_tokens=False)) for letter in letters]
    unk = lm.tokenizer.unk_token_id
    unknown = [letter for letter, ids in zip(letters, tokens, strict=True) if not ids or unk in ids]
    if unknown or len(set(tokens)) < len(tokens):
        odd = "does not know" if unknown else "has one token for several of"
        raise UserError(
            f"benchmarks.{benchmark.name} is answered by letter, and this model's tokenizer {odd} the letters "
            f"{', '.join(letter.strip() for letter in unknown or letters)}: set `scoring` to continuation."
        )


def _scored(lm: IntervenedLM, asked: _Asked, metric: str) -> list[dict]:
    if asked.task is None:
        texts = [row["text"] for row in asked.rows]
        scores = lm.loglikelihood_rolling([SimpleNamespace(args=(text,)) for text in texts])
        return [_text(score, lm.tok_encode(text, False)) for text, score in zip(texts, scores, strict=True)]
    by_document: dict[int, list] = {}
    for request, response in zip(asked.task.instances, lm.loglikelihood(asked.task.instances), strict=True):
        by_document.setdefault(request.doc_id, []).append(response)
    documents = zip(asked.documents, by_document.values(), strict=True)
    return [_question(asked.task, document, responses, metric) for document, responses in documents]


def _text(score: float, tokens: list[int]) -> dict:
    return {"kind": "text", "answer": -1, "correct": None, "nll": -score, "tokens": len(tokens), "scores": []}


def _question(task: LocalTask, document: dict, responses: list[tuple[float, bool]], metric: str) -> dict:
    """One row of a document from the responses to its options (and then the unconditional ones of PMI)."""
    answer = task.answer(document)
    scores = [score for score, _ in responses[: len(task.doc_to_choice(document))]]
    correct = bool(task.process_results(document, responses)[metric])
    head = {"kind": "question", "answer": answer, "correct": correct, "nll": -scores[answer]}
    return head | {"tokens": 0, "scores": scores}
