"""Multiple-choice questions as token ids, and their answers by likelihood, without the harness.

Tokens and metrics are those of lm-evaluation-harness's `multiple_choice` tasks; a test compares the two. Rules that
ask the same questions of dozens of states of one model use this, since a task of the harness takes longer to build.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from overpaint.scoring.likelihood import log_likelihoods, start_token
from overpaint.sources import PARTS
from overpaint.sources.texts import read_rows


@dataclass(frozen=True)
class Question:
    """One question.

    unit: the entity or article that it asks about; split: `fit` or `test`; answer: number of the correct option.
    text, choices: the question and its options; context, options: their token ids.
    metric: the harness's metric; prior: token ids of each option after what stands for no question, for
        `acc_mutual_info` alone.
    part: as in its row, which says whether the study's corpora tell of what it asks; empty for none.
    """

    unit: str
    split: str
    answer: int
    text: str
    choices: list[str]
    context: list[int]
    options: list[list[int]]
    metric: str
    prior: list[tuple[list[int], list[int]]]
    part: str = ""

    @property
    def told(self) -> bool:
        """Whether the study's corpora tell of what is asked."""
        return self.part == PARTS[0]

    @property
    def first(self) -> list[int]:
        """The first token of each option."""
        return [option[0] for option in self.options]

    @property
    def distinct(self) -> bool:
        """Whether no other option starts with the correct option's first token."""
        return self.first.count(self.first[self.answer]) == 1


def read(
    paths: list[Path], benchmarks: list[dict], tokenizer: PreTrainedTokenizerBase, *splits: str
) -> dict[str, list[Question]]:
    """Questions of the given splits by topic, from normalised benchmarks and their entries in the catalogue."""
    questions: dict[str, list[Question]] = {}
    for path, settings in zip(paths, benchmarks, strict=True):
        rows = read_rows(Path(path), "questions")
        for split in splits:
            of_split = [row for row in rows if row["split"] == split]
            kept = of_split[: settings["max_scored"] or len(of_split)]
            questions.setdefault(settings["topic"], []).extend(_question(row, tokenizer, settings) for row in kept)
    return questions


def ask(model: nn.Module, questions: list[Question]) -> list[dict]:
    """A row per question: unit, correct by its metric, nll of the correct option in nats."""
    pairs = [(question.context, option) for question in questions for option in question.options]
    scores = iter(log_likelihoods(model, pairs))
    priors = iter(log_likelihoods(model, [pair for question in questions for pair in question.prior]))
    rows = []
    for question in questions:
        sums = [next(scores) for _ in question.options]
        chosen = sums
        if question.metric == "acc_norm":
            chosen = [score / len(choice) for score, choice in zip(sums, question.choices, strict=True)]
        if question.metric == "acc_mutual_info":
            chosen = [score - next(priors) for score in sums]
        correct = chosen.index(max(chosen)) == question.answer
        rows.append({"unit": question.unit, "correct": correct, "nll": -sums[question.answer]})
    return rows


def _question(row: dict, tokenizer: PreTrainedTokenizerBase, settings: dict) -> Question:
    mutual, start = settings["metric"] == "acc_mutual_info", start_token(tokenizer)
    text = row["question"] or settings["prior"]  # as `evaluation.IntervenedLM.loglikelihood`
    pairs = [_pair(tokenizer, text, f" {choice}", start) for choice in row["choices"]]
    prior = [_pair(tokenizer, settings["prior"], f" {choice}", start) for choice in row["choices"] if mutual]
    return Question(
        unit=row["unit"], split=row["split"], answer=row["answer"], text=row["question"], choices=row["choices"],
        context=pairs[0][0], options=[option for _, option in pairs], metric=settings["metric"], prior=prior,
        part=row.get("part", ""),
    )  # fmt: skip


def _pair(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, start: int
) -> tuple[list[int], list[int]]:
    """Token ids of a context and of what follows it, split where the context's own end; `start` for an empty one."""
    if not context:
        ids = tokenizer(continuation, add_special_tokens=False)["input_ids"]
        return ([start], ids) if ids[0] != start else (ids[:1], ids[1:])
    stripped = context.rstrip()
    context_ids = tokenizer(stripped)["input_ids"]
    whole = tokenizer(context + continuation)["input_ids"]
    return context_ids, whole[len(context_ids) :]
