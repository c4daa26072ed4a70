"""How the results were made."""

import json

import pandas as pd
from helpers.views import replace

from overpaint.report.sections import provenance
from overpaint.report.wording import NO_VALUE


def test_jobs_outside_version_control_are_counted_not_called_clean(view):
    known = provenance.answer([view])
    assert "1 of them with uncommitted changes" in known and "outside version control" not in known
    for missing in (None, pd.NA):
        jobs = view.provenance.astype({"git": object, "dirty": object})
        jobs.loc[0, ["git", "dirty"]] = missing
        unknown = replace(view, provenance=jobs)
        assert "1 of them outside version control" in provenance.answer([unknown])
        assert provenance.jobs([unknown]).count(NO_VALUE) == 2


def test_base_models_that_were_trained_before_are_named_with_their_processor(view):
    assert provenance.kept(view) == "" and "trained before" not in provenance.rounding([view])
    jobs, hardware = view.provenance, {"processor": "AMD EPYC", "capability": "AVX512"}
    first = jobs.rule == "pretrain_model"
    jobs = jobs.assign(
        before=first,
        output=jobs.output.mask(first, "bases/tiny/checkpoint"),
        hardware=jobs.hardware.mask(first, json.dumps(hardware)),
    )
    told = replace(view, provenance=jobs)
    assert provenance.kept(told) == "Base model tiny: trained before, in bases/, on AMD EPYC (AVX512)."
    assert provenance.kept(told) in provenance.rounding([told])
    assert f"{len(jobs) - 1} jobs" in provenance.answer([told]) and f"{len(jobs)} jobs" in provenance.answer([view])


def test_near_ties_are_told_of_single_seeds_and_all_draws_together(view):
    own = view.scores[(view.scores.metric == "accuracy") & (view.scores.benchmark != "all") & view.scores.draw.isna()]
    own = own[own.seed != "all"]
    assert f"in {len(own)} of {own.answers.sum()} answers" in provenance.rounding([view])
