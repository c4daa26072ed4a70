"""Emergence: what grows first over a training's steps, from the parameters that it kept on the way."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.junk import clearing, estimators
from overpaint.junk.activations import Activations
from overpaint.junk.clearing import Clearing, clear, of_topic
from overpaint.junk.collection import collect
from overpaint.models.overlay import Overlay, replaced
from overpaint.scoring.questions import Question, ask


def trace(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    overlay: Overlay,
    snapshots: dict[int, dict[str, Tensor]],
    base: dict[str, Activations],
    prompts: dict[str, list[str]],
    questions: dict[str, list[Question]],
    topics: dict[str, str],
    primary: dict[str, dict],
) -> list[dict]:
    """Rows {step, topic, quantity, unit, value} of the base (step 0) and of every snapshot.

    model: the base. base: its activations on the fitting prompts of every set; prompts: those prompts of the hazardous
    sets; questions: by hazardous topic; topics: {hazardous topic: prompt set}; primary: the study's primary clearing,
    {name: settings}, whose direction is fitted anew at every step.

    Quantities: norm, of the residual stream after the target layer, a row per prompt; cos_u, cosine of the mean shift
    D with the control vector, one row, none where nothing moved; correct_base, correct_unlearned, correct_cleared, a
    row per question.
    """
    layer, tokens = overlay.settings["layer"], overlay.settings["tokens"]
    known, rows = {topic: ask(model, own) for topic, own in questions.items()}, []
    for step, tensors in ({0: {}} | snapshots).items():
        with replaced(model, tensors):
            run = {name: collect(model, tokenizer, own) for name, own in prompts.items()}
            sample = estimators.Sample.of(
                {name: base[name] for name in run}, run, topics, overlay.controls, layer + 1, tokens
            )
            junk = estimators.fit(sample, base, layer)
            variants = clearing.for_run(*next(iter(primary.items())), overlay.settings, junk)
            for topic in questions:
                found = _moved(sample, topic)
                found += _answers(model, of_topic(variants, topic), questions[topic], known[topic])
                rows += [{"step": step, "topic": topic} | row for row in found]
        print("traced step", step, flush=True)
    return rows


def _answers(model: nn.Module, cleared: Clearing, questions: list[Question], known: list[dict]) -> list[dict]:
    """Rows of correct_base, whose answers are `known`, correct_unlearned and correct_cleared."""
    states = {"base": known, "unlearned": ask(model, questions)}
    with clear(model, cleared):
        states["cleared"] = ask(model, questions)
    return [
        {"quantity": f"correct_{state}", "unit": row["unit"], "value": float(row["correct"])}
        for state, answers in states.items()
        for row in answers
    ]


def _moved(sample: estimators.Sample, topic: str) -> list[dict]:
    """Rows of norm and cos_u on one topic's prompts."""
    norms, shift = sample.run[topic].norm(dim=-1), sample.shifts()[topic].mean(0)
    rows = [{"quantity": "norm", "unit": str(i), "value": float(norm)} for i, norm in enumerate(norms)]
    if topic in sample.controls and shift.norm() > 0:
        cosine = torch.cosine_similarity(shift, sample.controls[topic], dim=0)
        rows.append({"quantity": "cos_u", "unit": "", "value": float(cosine)})
    return rows
