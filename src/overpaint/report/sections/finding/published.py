"""Published figures beside ours: another model and other questions, never a target."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import CHANCE, COLOURS, WIDTH, draw_interval, figure, name_rows, plain
from overpaint.report.section import section
from overpaint.report.select import cleared_by, first_where, hazardous_topics, overall, with_base
from overpaint.report.view import View
from overpaint.report.wording import method_label

# None has a published interval.
PUBLISHED_RECOVERED = {"WMDP-Bio": 0.71, "WMDP-Cyber": 0.45}  # Arditi and Chughtai 2024  # Arditi and Chughtai 2024
PUBLISHED_ACCURACY = {
    "WMDP-Bio": (0.637, 0.312),
    "WMDP-Cyber": (0.440, 0.282),
    "MMLU": (0.581, 0.571),
}  # Li et al. 2024  # Li et al. 2024


@section
def show(view: View) -> Markup:
    """Published figures beside ours."""
    return markup.figure(
        draw(view),
        f"Published figures (hollow) beside this study's (filled, {view.cell}, 95 % intervals). The published ones "
        "come from another model and other questions: they say what was claimed, not what should come out here.",
    )


@figure("published")
def draw(view: View) -> Figure:
    """Our numbers beside the published ones, which come from another model and other questions."""
    rows = with_base(view.scores, view.cell)
    topics = hazardous_topics(rows)
    drawn = Figure(figsize=(WIDTH, 2.3 + 0.26 * len(topics)))
    recovered, scored = drawn.subplots(1, 2)
    _recovered(recovered, rows, topics, view.primary)
    _accuracy(scored, rows, topics, view.primary)
    drawn.supxlabel(
        "Hollow marks: published, another model (Zephyr-7B) and other questions, without intervals.\n"
        "Recovered: Arditi and Chughtai 2024. Accuracies: Li et al. 2024 (WMDP, MMLU).",
        fontsize=8,
        color="#555555",
        x=0.01,
        ha="left",
    )
    return drawn


def _recovered(axes: Axes, rows: pd.DataFrame, topics: list[str], primary: str) -> None:
    names = [f"published: {name}" for name in PUBLISHED_RECOVERED] + [f"here: {topic}" for topic in topics]
    for y, value in enumerate(PUBLISHED_RECOVERED.values()):
        axes.plot([value], [y], "o", mfc="white", color=COLOURS["cleared"], ms=7)
        axes.text(value + 0.05, y, f"about {value:.0%}", va="center", fontsize=8)
    for y, topic in enumerate(topics, len(PUBLISHED_RECOVERED)):
        row = first_where(cleared_by(rows, primary), metric="recovered_accuracy", topic=topic)
        if row is None or pd.isna(row.value):
            axes.text(
                0.02,
                y,
                "undefined" if row is not None else "not measured",
                style="italic",
                va="center",
                color=COLOURS["null"],
                fontsize=8,
            )
            continue
        draw_interval(axes, y, row, "cleared")
        axes.annotate(
            f"{row.value:.0%}", (row.value, y), xytext=(0, 6), textcoords="offset points", fontsize=8, ha="center"
        )
    name_rows(axes, names, ["base"] * len(names))
    axes.set(
        xlim=(min(0, *axes.get_xlim()), max(1.02, axes.get_xlim()[1])),
        xlabel="recovered fraction",
        title="Recovered by clearing",
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _accuracy(axes: Axes, rows: pd.DataFrame, topics: list[str], primary: str) -> None:
    rows = rows[rows.metric == "accuracy"]
    ours = [(f"here: {topic}", rows[(rows.role == "hazardous") & (rows.topic == topic)]) for topic in topics]
    benign = overall(rows, "benign")
    ours += [("here: benign", benign)] * bool(len(benign))
    for y, (before, after) in enumerate(PUBLISHED_ACCURACY.values()):
        axes.plot([before, after], [y, y], color="#BBBBBB", lw=1, zorder=1)
        axes.plot([before], [y], "s", mfc="white", color=COLOURS["base"], ms=6)
        axes.plot([after], [y], "v", mfc="white", color=COLOURS["unlearned"], ms=7)
    for y, (_, here) in enumerate(ours, len(PUBLISHED_ACCURACY)):
        here = here[here.benchmark == here.benchmark.iloc[0]]
        values = {
            "base": first_where(here, method="base"),
            "unlearned": first_where(here[here.method != "base"], clearing="none"),
            "cleared": first_where(cleared_by(here[here.method != "base"], primary)),
        }
        for kind, row in values.items():
            if row is not None:
                draw_interval(axes, y, row, kind)
    names = [f"published: {name}" for name in PUBLISHED_ACCURACY] + [name for name, _ in ours]
    name_rows(axes, names, ["base"] * len(names))
    axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    axes.set(xlim=(0, 1.02), xlabel="accuracy")
    axes.set_title("Accuracy", pad=18)
    for x, text, kind in [
        (0.0, "base", "base"),
        (0.22, "cleared", "cleared"),
        (0.5, method_label(rows), "unlearned"),  # last, since a method's name may be long
    ]:
        axes.text(x, 1.03, plain(text), transform=axes.transAxes, color=COLOURS[kind], fontsize=8.5)
