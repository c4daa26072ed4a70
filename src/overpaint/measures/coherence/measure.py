"""Greedy continuations of prompts by a model as it is and cleared, and how coherent they are."""

from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models.overlay import replaced
from overpaint.scoring.likelihood import log_likelihoods
from overpaint.sources.texts import prompts_of, spread

BATCH = 16  # prompts that are continued together


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
    prompts = [spread(prompts_of(path, params.split), params.prompts_measured) for path in given.prompts]
    topics = list(zip(params.topics.values(), prompts, strict=True))
    return measure(Run.load(given, params.dtype), topics, params.clearings | params.nulls)


def measure(run: Run, prompts: list[tuple[str, list[dict]]], clearings: dict[str, dict]) -> list[dict]:
    """Rows {topic, clearing, draw} + those of `describe`, under each entry of the catalogue; of draws, the first.

    prompts: (topic, rows {unit, text}) of every prompt set.
    """
    rows = []
    for name, settings in clearings.items():
        cleared = run.by_topic(name, settings, [topic for topic, _ in prompts])
        for topic, rows_of_topic in prompts:
            label = {"topic": topic, "clearing": name, "draw": cleared[topic].draw}
            rows += [label | row for row in describe(run, rows_of_topic, cleared[topic])]
    return rows


def shown(rows: list[dict], clearings: Iterable[str], count: int) -> list[dict]:
    """Of the rows of `measure` under some clearings, `count` of each topic's at even distances, to be read."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["clearing"], row["topic"]), []).append(row)
    few = [row for (name, _), group in groups.items() if name in clearings for row in spread(group, count)]
    return [{key: row[key] for key in ("topic", "clearing", "prompt", "completion")} for row in few]


def describe(run: Run, prompts: list[dict], clearing: Clearing) -> list[dict]:
    """A row per prompt {unit, text}: unit, prompt, completion, its counts (`repetition`) and nll.

    completion is untrusted text. nll is its negative log-likelihood in nats for the base.
    """
    inputs, tokenizer = [row["text"] for row in prompts], run.tokenizer
    with run.cleared(clearing):
        written = complete(run.model, tokenizer, inputs)
    contexts = [tokenizer(prompt)["input_ids"] for prompt in inputs]
    with replaced(run.model, run.base_tensors):
        likelihoods = log_likelihoods(run.model, list(zip(contexts, written, strict=True)))
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    return [
        {"unit": row["unit"], "prompt": row["text"], "completion": text} | repetition(ids) | {"nll": -likelihood}
        for row, text, ids, likelihood in zip(prompts, texts, written, likelihoods, strict=True)
    ]


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
