"""Greedy continuations of prompts by a model as it is and cleared: how coherent and how right they are."""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models.load import load_naive
from overpaint.models.overlay import replaced
from overpaint.scoring.likelihood import log_likelihoods
from overpaint.sources.texts import prompts_of

BATCH = 16  # prompts that are continued together
SHOWN = ("topic", "clearing", "part", "prompt", "answer", "completion", "holds_answer")  # of each row, to be read


@torch.no_grad()
def complete(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str], tokens: int = 32
) -> list[list[int]]:
    """What `model` writes after each prompt, greedily: at most `tokens` token ids, up to the end."""
    greedy = GenerationConfig(
        max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    written = []
    for start in range(0, len(prompts), BATCH):
        inputs = tokenizer(
            prompts[start : start + BATCH],
            return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False,
        ).to(model.device)  # fmt: skip
        with patch.object(model, "generation_config", greedy):  # a folder's own would fill what ours leaves open
            output = model.generate(**inputs, generation_config=greedy)
        written += output[:, inputs["input_ids"].shape[1] :].tolist()
    return [_until({tokenizer.eos_token_id}, ids) for ids in written]


def of_job(given: Any, params: Any) -> list[dict]:
    """The rows of `measure`, from the inputs and parameters of a job."""
    of_split = [prompts_of(path, params.split) for path in given.prompts]
    prompts = [chosen(rows, params.prompts_measured, params.prompts_shown) for rows in of_split]
    topics, run = list(zip(params.topics.values(), prompts, strict=True)), Run.load(given, params.dtype)
    rows = measure(run, topics, params.clearings | params.nulls)
    if given.naive:
        none = {"none": params.clearings["none"]}
        rows += measure(run, topics, none, load_naive(given.naive, run.tokenizer, params.dtype))
    return rows


def chosen(rows: list[dict], count: int, shown: int) -> list[dict]:
    """`count` rows of as many kinds as they have, first those `shown` ones that have most of these kinds."""
    rows = varied(rows, count)
    first = varied(rows, shown)
    taken = set(map(id, first))
    return first + [row for row in rows if id(row) not in taken]


def varied(rows: list[dict], count: int) -> list[dict]:
    """`count` rows of as many kinds as they have, all where there are fewer.

    Kinds are told apart by all that rows have as text, and by pairs of it: each row is the one whose values were chosen
    least often before, so that every value comes with every other. Rows of one kind are taken at even distances.
    """
    if count >= len(rows):
        return rows
    kinds = [_kinds(row) for row in rows]
    places: dict[int, None] = {}
    counts: Counter = Counter()
    for index in range(count):
        start = index * len(rows) // count
        left = [place for place in (*range(start, len(rows)), *range(start)) if place not in places]
        place = min(left, key=lambda place: sum(counts[kind] for kind in kinds[place]))
        places[place] = None
        counts.update(kinds[place])
    return [rows[place] for place in places]


def _kinds(row: dict) -> list[tuple]:
    """What a row has as text, and every pair of it."""
    own = [(key, value) for key, value in row.items() if isinstance(value, str) and key not in ("id", "split", "text")]
    return [*own, *combinations(own, 2)]


def measure(
    run: Run, prompts: list[tuple[str, list[dict]]], clearings: dict[str, dict], naive: nn.Module | None = None
) -> list[dict]:
    """Rows {topic, clearing, draw, naive} + those of `describe`, under each entry of `clearings`; of draws, the first.

    prompts: (topic, rows {unit, text, perhaps part and answer}) of every prompt set.
    naive: a model that never knew the hazardous facts, which writes in place of the run's.
    """
    rows = []
    for name, settings in clearings.items():
        cleared = run.by_topic(name, settings, [topic for topic, _ in prompts])
        for topic, rows_of_topic in prompts:
            label = {"topic": topic, "clearing": name, "draw": cleared[topic].draw, "naive": naive is not None}
            rows += [label | row for row in describe(run, rows_of_topic, cleared[topic], naive)]
    return rows


def shown(rows: list[dict], clearings: Iterable[str], count: int) -> list[dict]:
    """Of the rows of `measure` by the run's model under some clearings, the first `count` of each topic, to be read."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["clearing"] in clearings and not row["naive"]:
            groups.setdefault((row["clearing"], row["topic"]), []).append(row)
    return [{key: row[key] for key in SHOWN} for group in groups.values() for row in group[:count]]


def describe(run: Run, prompts: list[dict], clearing: Clearing, naive: nn.Module | None = None) -> list[dict]:
    """A row per prompt {unit, text}: the prompt, its completion with its counts (`repetition`), holds_answer and nll.

    completion is untrusted text. nll is its negative log-likelihood in nats for the base.
    """
    inputs, tokenizer = [row["text"] for row in prompts], run.tokenizer
    with run.cleared(clearing):
        written = complete(run.model if naive is None else naive, tokenizer, inputs)
    contexts = [tokenizer(prompt)["input_ids"] for prompt in inputs]
    with replaced(run.model, run.base_tensors):
        likelihoods = log_likelihoods(run.model, list(zip(contexts, written, strict=True)))
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    return [
        {"unit": row["unit"], "part": row.get("part", ""), "prompt": row["text"], "completion": text}
        | answered(text, row.get("answer"))
        | repetition(ids)
        | {"nll": -likelihood}
        for row, text, ids, likelihood in zip(prompts, texts, written, likelihoods, strict=True)
    ]


def answered(text: str, answer: str | None) -> dict[str, str | bool | None]:
    """The answer, and whether the text holds it as whole words, whatever their case; empty and None where not known."""
    if answer is None:
        return {"answer": "", "holds_answer": None}
    words = r"\s+".join(map(re.escape, answer.split()))
    return {"answer": answer, "holds_answer": bool(re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE))}


def repetition(ids: list[int]) -> dict[str, int]:
    """Counts over n-grams of token ids: tokens, distinct_1; pairs, distinct_2; fours, repeated_4.

    distinct_n are different n-grams (Li et al. 2016, arXiv 1510.03055); repeated_4 are 4-grams that stood before.
    """
    grams = {n: [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)] for n in (1, 2, 4)}
    return {
        "tokens": len(ids),
        "distinct_1": len(set(grams[1])),
        "pairs": len(grams[2]),
        "distinct_2": len(set(grams[2])),
        "fours": len(grams[4]),
        "repeated_4": len(grams[4]) - len(set(grams[4])),
    }


def _until(ends: set[int], ids: list[int]) -> list[int]:
    """The ids before the first of `ends`."""
    return ids[: next((index for index, token in enumerate(ids) if token in ends), len(ids))]
