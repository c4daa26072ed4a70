"""Emergence: what grows first over a training's steps, from the parameters that it kept on the way."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from overpaint.junk import activations, estimators
from overpaint.junk.activations import Activations
from overpaint.junk.clearing import Clearing, clear
from overpaint.junk.collection import collect
from overpaint.junk.estimators import Sample
from overpaint.junk.run import Run
from overpaint.models.overlay import load_snapshots, replaced
from overpaint.scoring.questions import Question, ask, read
from overpaint.sources.texts import read_prompts


def of_job(given: Any, params: Any) -> list[dict]:
    """The rows of `measure`, from the inputs and parameters of a job."""
    run, sets = Run.load(given, params.dtype), zip(params.topics.values(), given.prompts, strict=True)
    return measure(
        run,
        load_snapshots(given.snapshots),
        activations.load(given.base, "fit"),
        {name: read_prompts(path, "fit") for name, path in sets},
        read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, params.split),
        params.topics,
        params.position,
        params.primary,
    )


def measure(
    run: Run,
    snapshots: dict[int, dict[str, Tensor]],
    base: dict[str, Activations],
    prompts: dict[str, list[str]],
    questions: dict[str, list[Question]],
    topics: dict[str, str],
    position: str,
    primary: dict[str, dict],
) -> list[dict]:
    """Rows {step, topic, quantity, unit, value} of the base (step 0) and of every snapshot of a run.

    base: the base's activations on the fitting prompts of every set; prompts: those prompts of the hazardous
    sets; questions: by hazardous topic; topics: {hazardous topic: prompt set}; position: `last`
    or `mean`, of the prompts' tokens; primary: the study's primary clearing,
    {name: settings}, whose direction is fitted anew at every step.

    Quantities: norm, of the residual stream after the target layer, a row per prompt; cos_u, cosine of the mean shift
    D with the control vector, one row, none where nothing moved; correct_base, correct_unlearned, correct_cleared, a
    row per question.
    """
    model, settings, rows = run.model, run.overlay.settings, []
    with replaced(model, run.base_tensors):
        answers = {topic: ask(model, listed) for topic, listed in questions.items()}
    for step, tensors in ({0: run.base_tensors} | snapshots).items():
        with replaced(model, tensors):
            collected = {name: collect(model, run.tokenizer, texts) for name, texts in prompts.items()}
            same, depth = {name: base[name] for name in collected}, settings["layer"] + 1
            sample = Sample.of(same, collected, topics, run.overlay.controls, depth, position)
            here = replace(run, junk=estimators.fit(sample, base, settings["layer"]))
            cleared = here.by_topic(*next(iter(primary.items())), questions)
            for topic in questions:
                measured = _moved(sample, topic)
                measured += _answers(model, cleared[topic], questions[topic], answers[topic])
                rows += [{"step": step, "topic": topic} | row for row in measured]
        print("traced step", step, flush=True)
    return rows


def _answers(model: nn.Module, cleared: Clearing, questions: list[Question], of_base: list[dict]) -> list[dict]:
    """Rows of correct_base, whose answers are `of_base`, correct_unlearned and correct_cleared."""
    states = {"base": of_base, "unlearned": ask(model, questions)}
    with clear(model, cleared):
        states["cleared"] = ask(model, questions)
    return [
        {"quantity": f"correct_{state}", "unit": row["unit"], "value": float(row["correct"])}
        for state, answers in states.items()
        for row in answers
    ]


def _moved(sample: Sample, topic: str) -> list[dict]:
    """Rows of norm and cos_u on one topic's prompts."""
    norms, shift = sample.run[topic].norm(dim=-1), sample.shifts()[topic].mean(0)
    rows = [{"quantity": "norm", "unit": str(i), "value": float(norm)} for i, norm in enumerate(norms)]
    if topic in sample.controls and shift.norm() > 0:
        cosine = torch.cosine_similarity(shift, sample.controls[topic], dim=0)
        rows.append({"quantity": "cos_u", "unit": "", "value": float(cosine)})
    return rows
