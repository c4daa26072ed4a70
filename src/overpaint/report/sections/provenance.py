"""How the results were made: jobs, packages, hardware, settings."""

import json
from pathlib import PurePath

import pandas as pd
from markupsafe import Markup

from overpaint.report.markup import Html, breakable, json_text, macros, table
from overpaint.report.section import lead, section
from overpaint.report.view import View
from overpaint.report.wording import NO_VALUE, count, listed
from overpaint.tables.scores import NEAR


@section
def answer(view: View) -> Markup:
    """Number of jobs, their revision and time."""
    jobs = view.provenance[~view.provenance.before]
    if jobs.empty:
        return lead("No job left a record.")
    revisions = [str(name)[:12] for name in jobs.git.dropna().unique()]
    where = f"revision {revisions[0]}" if len(revisions) == 1 else f"{len(revisions)} revisions"
    minutes = f"{jobs.seconds.sum() / 60:.1f} minutes of computing"
    return lead(f"{count(len(jobs), 'job')} at {where} made these results in {minutes}, {_uncommitted(jobs)}.")


@section
def rounding(view: View) -> Markup:
    """What another processor may change: base models that were trained before, and answers that rounding may change."""
    asked = view.scores[(view.scores.metric == "accuracy") & (view.scores.benchmark != "all")]
    asked = asked[(asked.seed != "all") & asked.draw.isna()]
    told = (
        f"The two best options are less than {NEAR:g} nats apart in {asked.near_ties.sum()} of {asked.answers.sum()} "
        "answers, in which the rounding of another processor may decide."
    )
    return macros.paragraph(f"{kept(view)} {told}".strip())


def kept(view: View) -> str:
    """Which base models were trained before, and on what; "" where the study trained all of its own."""
    jobs = view.provenance[view.provenance.before]
    if jobs.empty:
        return ""
    folders = [PurePath(output).parent for output in jobs.output]
    hardware = [json.loads(text) for text in jobs.hardware]
    where = dict.fromkeys(f"{found['processor']} ({found['capability']})" for found in hardware)
    models = f"{'Base model' if len(folders) == 1 else 'Base models'} {listed([folder.name for folder in folders])}"
    places = listed(list(dict.fromkeys(f"{folder.parent}/" for folder in folders)))
    return f"{models}: trained before, in {places}, on {listed(list(where))}."


def _uncommitted(jobs: pd.DataFrame) -> str:
    dirty = sum(bool(value) for value in jobs.dirty.dropna())
    state = {0: "none"}.get(dirty, str(dirty)) + " of them with uncommitted changes"
    outside = jobs.dirty.isna().sum()
    return f"{state}, {outside} of them outside version control" if outside else state


def jobs(views: list[View]) -> Html:
    """Table of jobs: rule, output, seconds, start, revision, uncommitted changes, and the cluster's job if any."""
    records = views[0].provenance
    columns = ["rule", "output", "seconds", "started", "git", "dirty"]
    queued = ["cluster_job"] if records.cluster_job.notna().any() else []
    rows = records[columns + queued].astype(object)
    rows["started"] = [str(time)[:19].replace("T", " ") for time in rows.started]
    rows["git"] = [NO_VALUE if pd.isna(name) else str(name)[:12] for name in rows.git]
    rows["dirty"] = [NO_VALUE if pd.isna(value) else "yes" if value else "no" for value in rows.dirty]
    names = {"git": "revision", "dirty": "uncommitted", "cluster_job": "cluster job"}
    return Html(table(rows.rename(columns=names), "jobs", {"seconds": "{:.1f}".format, "output": breakable}))


def costs(views: list[View]) -> Html:
    """Table of what each rule cost: jobs, wall and processor seconds, the share of start-up, peak memory."""
    names = {"seconds": "wall seconds", "cpu_seconds": "CPU seconds", "startup_share": "start-up", "peak_mb": "peak MB"}
    rows = views[0].costs[["rule", "jobs", *names]].rename(columns=names)
    formats = dict.fromkeys(["wall seconds", "CPU seconds"], "{:.1f}".format) | {"start-up": "{:.0%}".format}
    return Html(table(rows, "costs", formats))


def environment(views: list[View]) -> Html:
    """Package versions and hardware, once per distinct record, with the rules that ran under it."""
    blocks = []
    for column, title in [("packages", "Package versions"), ("hardware", "Hardware")]:
        for text, jobs in views[0].provenance.groupby(column, sort=False, dropna=False):
            rules = ", ".join(dict.fromkeys(jobs.rule.astype(str)))
            python = f" (Python {', '.join(jobs.python.astype(str).unique())})" if column == "packages" else ""
            blocks.append(macros.details(f"{title}{python}: {rules}", json_text(text)))
    return Html("").join(blocks)


def settings(views: list[View]) -> Html:
    """Settings and input hashes of every job, folded."""
    jobs = views[0].provenance.itertuples(index=False)
    bodies = [(job, macros.job(json_text(job.settings), json_text(job.inputs))) for job in jobs]
    return Html("").join(macros.details(f"{job.rule}: {job.output}", body) for job, body in bodies)
