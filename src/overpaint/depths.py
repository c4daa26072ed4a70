"""What stays below: figures and sentences on depth, weights, the course of a training, text and the shift by depth.

Figures take frames, page functions a `Part`. What a study did not look at is said in one sentence, which names the key
of the configuration that asks for it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from overpaint import statistics
from overpaint.figures import (
    CHANCE,
    COLOURS,
    MARKERS,
    WIDTH,
    Cell,
    _draw_line,
    _grid,
    _junk_row,
    _key,
    _label_ends,
    _lines,
    _log_if_wide,
    _nothing,
    _rows_axis,
    cells,
    cleared_by,
    figure,
    in_cell,
    main_cell,
    method_label,
    one,
    overall,
    plain,
    pooled,
)  # fmt: skip
from overpaint.reporting import (
    NO_VALUE,
    Html,
    Part,
    _count,
    _interval,
    _listed,
    _percent,
    _points,
    figure_html,
    lead,
    next_row,
    table_html,
)  # fmt: skip

STATES = {"base": "base", "unlearned": "unlearned", "cleared": "cleared", "control": "null"}  # state: its colour
READ = {
    "lens_accuracy": "Logit lens,\nright answers",
    "lens_probability": "Logit lens,\nprobability of the answer",
    "probe_accuracy": "Linear probe,\nright answers",
}
RELEARNED = {"accuracy": "accuracy", "nll": "nats of the right answer"}
EMERGED = {
    "forgotten_accuracy": "accuracy forgotten",
    "recovered_accuracy": "recovered fraction",
    "norm": "norm after the target layer",
    "cos_u": "cosine of the shift with u",
}
CHANGED = {
    "relative_change": "Relative\nchange",
    "effective_rank": "Effective\nrank",
    "share_1": "Share of the\n1st direction",
    "removed_share": "Share that\nclearing removes",
    "cos_r": "1st direction:\ncosine with r",
    "cos_r_centred": "... with r,\nones removed",
    "cos_u": "1st direction:\ncosine with u",
    "cos_u_centred": "... with u,\nones removed",
}
TENSORS = 12  # rows of the weights figure: those that changed most
COHERENCE = {
    "repeated_4": "share of repeated runs of 4 tokens",
    "distinct_1": "different tokens / tokens",
    "distinct_2": "different pairs / pairs",
    "base_nll": "nats per token, for the base",
    "length": "tokens of a continuation",
}
AGREEMENT = {"kl": "KL(base || model), nats per token", "top1_agreement": "same likeliest next token, share of tokens"}


# ---------------------------------------------------------------- reading the tables


def shown_cell(table: pd.DataFrame, cell: Cell | None) -> Cell | None:
    """The main cell where the table has it, else the table's own main cell: some tables look at few runs."""
    return cell if cell in cells(table) else main_cell(table)


def shown(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Rows of the base and of the shown cell, seeds pooled, without missing values."""
    cell = shown_cell(table, cell)
    if cell is None:
        return table.iloc[:0]
    return pooled(pd.concat([table[table.method == "base"], in_cell(table, cell)])).dropna(subset="value")


def split(scores: pd.DataFrame, primary: str, marks: pd.DataFrame | None = None) -> pd.DataFrame:
    """Shallow and deep part of what each cell forgot, on all hazardous questions, seeds pooled.

    Columns: layer, c; base, unlearned, cleared (accuracies), low and high of each (`cleared_low`), n; shallow = cleared
    - unlearned, deep = base - cleared; recovered, recovered_low, recovered_high, note; mark of the table `cells`.
    """
    accuracy = scores[scores.metric == "accuracy"]
    base = next_row(overall(accuracy[accuracy.method == "base"], "hazardous"))
    if base is None:
        return pd.DataFrame()
    return pd.DataFrame([_split(scores, cell, base, primary, marks) for cell in cells(scores)])


def _split(scores: pd.DataFrame, cell: Cell, base: pd.Series, primary: str, marks: pd.DataFrame | None) -> dict:
    rows = pooled(in_cell(scores, cell))
    here = overall(rows[rows.metric == "accuracy"], "hazardous")
    fraction = one(cleared_by(overall(rows[rows.metric == "recovered_accuracy"], "hazardous"), primary))
    found = {"base": base, "unlearned": one(here, clearing="none"), "cleared": one(cleared_by(here, primary))}
    row = {"layer": cell.layer, "c": cell.c, "n": base.n, "mark": _mark(marks, cell)}
    for name, value in found.items():
        for column, end in [("value", ""), ("low", "_low"), ("high", "_high")]:
            row[name + end] = np.nan if value is None else value[column]
    row |= {"shallow": row["cleared"] - row["unlearned"], "deep": row["base"] - row["cleared"]}
    for column, end in [("value", ""), ("low", "_low"), ("high", "_high")]:
        row[f"recovered{end}"] = np.nan if fraction is None else fraction[column]
    return row | {"note": "" if fraction is None else str(fraction.note)}


def _mark(marks: pd.DataFrame | None, cell: Cell) -> str:
    """`collapsed`, `not unlearned` or nothing."""
    rows = pd.DataFrame() if marks is None or marks.empty else in_cell(marks, cell)
    return next((mark for mark in rows.mark if mark and pd.notna(mark)), "") if len(rows) else ""


def short_names(tensors: Iterable[str]) -> tuple[dict[str, str], str]:
    """What tells names of tensors apart, and their pattern: {"h.0.w": "0", "h.1.w": "1"}, "h.*.w"."""
    names = list(dict.fromkeys(tensors))
    pieces = [name.split(".") for name in names]
    if len(names) < 2 or len({len(parts) for parts in pieces}) > 1:
        return {name: name for name in names}, ""
    vary = [len(set(column)) > 1 for column in zip(*pieces, strict=True)]
    short = {
        name: ".".join(part for part, varies in zip(parts, vary, strict=True) if varies)
        for name, parts in zip(names, pieces, strict=True)
    }
    return short, ".".join("*" if varies else part for part, varies in zip(pieces[0], vary, strict=True))


# ---------------------------------------------------------------- figures


def _band(axes: Axes, rows: pd.DataFrame, x: str, kind: str, **options) -> None:
    """A line over column x with its interval as a band."""
    rows = rows.sort_values(x)
    place = rows[x].astype(float)
    axes.fill_between(place, rows.low, rows.high, color=COLOURS[kind], alpha=0.15, lw=0)
    axes.plot(place, rows.value, **{"color": COLOURS[kind], "marker": MARKERS[kind], "ms": 3.5, **options})


@figure
def shallow_deep(table: pd.DataFrame, cell: Cell | None, method: str = "unlearned") -> Figure:
    """What each cell lost, split by what clearing gives back; `table` as `split` returns it, one row per cell."""
    table = table if table.empty else table[table.cleared.notna() & table.unlearned.notna()].reset_index(drop=True)
    if table.empty:
        return _nothing("The scores table holds no cell with base, unlearned and cleared accuracy.")
    drawn, (axes,) = _grid(1, 1.1 + 0.3 * len(table))
    for y, row in enumerate(table.itertuples()):
        for start, end, kind in [(row.unlearned, row.cleared, "cleared"), (row.cleared, row.base, "unlearned")]:
            axes.plot([start, end], [y, y], color=COLOURS[kind], lw=7, alpha=0.35, solid_capstyle="butt", zorder=1)
        for kind in ("base", "unlearned", "cleared"):
            low, high = getattr(row, f"{kind}_low"), getattr(row, f"{kind}_high")
            axes.plot([low, high], [y, y], color=COLOURS[kind], lw=1, zorder=2)
            axes.plot([getattr(row, kind)], [y], MARKERS[kind], color=COLOURS[kind], ms=5.5, zorder=3)
        share = "undefined" if pd.isna(row.recovered) else _share(row)
        _columns(axes, y, [_points(row.shallow), _points(row.deep), share])
    _columns(axes, -0.7, ["shallow", "deep", "recovered"])
    names = [str(Cell(row.layer, row.c)) + (f" ({row.mark})" if row.mark else "") for row in table.itertuples()]
    bold = next((y for y, row in enumerate(table.itertuples()) if Cell(row.layer, row.c) == cell), None)
    _rows_axis(axes, names, ["base"] * len(names), bold)
    axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    axes.set_xlabel("accuracy on hazardous questions")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _key(drawn, [(method, "unlearned", ""), ("cleared", "cleared", ""), ("base", "base", "")], marked=True)
    return drawn


def _columns(axes: Axes, y: float, texts: list[str]) -> None:
    """Texts on shallow part, deep part and recovered fraction at the right of a row."""
    for text, points, kind in zip(texts, (10, 52, 84), ("cleared", "unlearned", "base"), strict=True):
        axes.annotate(
            text, (1, y), (points, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            color=COLOURS[kind], va="center", fontsize=8,
        )  # fmt: skip


def _share(row: tuple) -> str:
    """`82 % (66 to 94)`."""
    bounds = "" if pd.isna(row.recovered_low) else f" ({100 * row.recovered_low:.0f} to {100 * row.recovered_high:.0f})"
    return f"{100 * row.recovered:.0f} %{bounds}"


@figure
def read_off(table: pd.DataFrame, cell: Cell | None) -> Figure:
    """Logit lens and linear probe by depth, one row of panels per role; dotted: probes of shuffled answers."""
    rows = shown(table, cell)
    if rows.empty:
        return _nothing("The depth table holds no rows of an unlearned model.")
    roles = [role for role in ("hazardous", "benign") if rows.role.eq(role).any()]
    drawn = Figure(figsize=(WIDTH, 0.5 + 2.2 * len(roles)))
    grid = drawn.subplots(len(roles), len(READ), squeeze=False, sharex=True, sharey=True)
    for across, role in zip(grid, roles, strict=True):
        here = overall(rows, role)
        for axes, (quantity, title) in zip(across, READ.items(), strict=True):
            for state, kind in STATES.items():
                mine = here[here.state == state]
                _band(axes, mine[mine.quantity == quantity], "depth", kind)
                if quantity == "probe_accuracy":
                    null = mine[mine.quantity == "probe_shuffled"].sort_values("depth")
                    axes.plot(null.depth, null.value, color=COLOURS["null"], ls=":", lw=1.2)
            axes.axhline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
            axes.axvline(shown_cell(table, cell).layer + 1, color="#999999", ls=":", lw=1, zorder=0)
            axes.set(ylim=(0, 1.03))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            if role == roles[0]:
                axes.set_title(title)
            if role == roles[-1]:
                axes.set_xlabel("depth (start of block)")
        across[0].set_ylabel(plain(_role_name(here)))
    states = [name for name in STATES if rows.state.eq(name).any()]
    entries = [(_state_name(name), STATES[name], "-") for name in states]
    shuffled = [("shuffled answers", "null", ":")] * int(rows.quantity.eq("probe_shuffled").any())
    _key(drawn, entries + shuffled, marked=True)
    return drawn


def _role_name(rows: pd.DataFrame) -> str:
    """`hazardous`, or `benign: everyday` where there is one topic."""
    role, topic = next(iter(rows.role), ""), next(iter(rows.topic), "all")
    return role if topic == "all" else f"{role}: {topic}"


def _state_name(state: str) -> str:
    return {"control": "never knew the facts"}.get(state, state)


@figure
def relearning(table: pd.DataFrame, cell: Cell | None, base: float | None = None) -> Figure:
    """Accuracy and nats of the right answer by texts seen in fine-tuning; `base`: the base model's accuracy."""
    rows = overall(shown(table, cell), "hazardous")
    if rows.empty:
        return _nothing("The relearning table holds no rows of an unlearned model.")
    panels = [metric for metric in RELEARNED if rows.metric.eq(metric).any()]
    drawn, grid = _grid(len(panels), 2.6, columns=2)
    examples = sorted(rows.examples.unique())
    for axes, metric in zip(grid, panels, strict=True):
        axes.set_xscale("symlog", linthresh=max(1, next((n for n in examples if n > 0), 1)))
        here, ends = rows[rows.metric == metric], []
        for state, kind in STATES.items():
            line = here[here.state == state].sort_values("examples")
            if len(line):
                _band(axes, line, "examples", kind)
                ends.append((line.value.iloc[-1], _state_name(state), COLOURS[kind]))
        if metric == "accuracy":
            axes.set_ylim(0, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.axhline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
            if base is not None and pd.notna(base):
                axes.axhline(base, color=COLOURS["base"], lw=1.2)
                ends.append((base, "base", COLOURS["base"]))
        axes.set_xticks(examples, [f"{n:g}" for n in examples], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(title=RELEARNED[metric], xlabel="texts per topic seen")
        _label_ends(axes, ends, gap=0.09)
    return drawn


@figure
def emergence(table: pd.DataFrame, cell: Cell | None) -> Figure:
    """The course of a training over its steps: all hazardous topics together, thin lines single topics."""
    rows = shown(table, cell)
    if rows.empty:
        return _nothing("The emergence table holds no rows of an unlearned model.")
    panels = [quantity for quantity in EMERGED if rows.quantity.eq(quantity).any()]
    drawn, grid = _grid(len(panels), 2.1, columns=2)
    together = overall(rows, "hazardous")
    for axes, quantity in zip(grid, panels, strict=True):
        kind = "cleared" if quantity == "recovered_accuracy" else "unlearned"
        for _, line in rows[(rows.quantity == quantity) & ~rows.index.isin(together.index)].groupby("topic"):
            line = line.sort_values("step")
            axes.plot(line.step, line.value, color=COLOURS[kind], lw=0.7, alpha=0.5)
        _band(axes, together[together.quantity == quantity], "step", kind)
        axes.set(title=EMERGED[quantity], xlabel="training step", xlim=(0, rows.step.max() * 1.02))
        if quantity.endswith("accuracy"):
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return drawn


@figure
def weights(table: pd.DataFrame, cell: Cell | None) -> Figure:
    """What unlearning changed in each tensor: dots are seeds and topics, large dots their mean, grey null ranges."""
    rows = in_cell(table, cell).dropna(subset="value") if cell else table.iloc[:0]
    rows = rows[rows.quantity.isin(CHANGED)]
    if rows.empty:
        return _nothing("The weights table holds no rows for this cell.")
    size = rows[rows.quantity == "relative_change"].groupby("tensor", sort=False).value.mean()
    kept = set(size.nlargest(TENSORS).index) if len(size) else set(rows.tensor.unique()[:TENSORS])
    tensors = [name for name in rows.tensor.unique() if name in kept]
    names, _ = short_names(tensors)
    panels = [quantity for quantity in CHANGED if rows.quantity.eq(quantity).any()]
    drawn, grid = _grid(len(panels), 0.95 + 0.26 * len(tensors), columns=4, sharey=True)
    for index, (axes, quantity) in enumerate(zip(grid, panels, strict=True)):
        here = rows[rows.quantity == quantity]
        for y, tensor in enumerate(tensors):
            _junk_row(axes, y, here[here.tensor == tensor], "unlearned")
        top = 1.04 if quantity.startswith(("cos", "share", "removed")) else 1.1 * here.value.max()
        axes.set(title=CHANGED[quantity], xlim=(0, top or 1))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        if index % 4 == 0:
            axes.set_ylabel("tensor")
    _rows_axis(grid[0], [names[name] for name in tensors], ["base"] * len(tensors))
    _key(drawn, [("mean, and seeds (of cosines also topics)", "unlearned"), ("range of random vectors", "null")])
    return drawn


def _by_role(rows: pd.DataFrame, metrics: Mapping[str, str], primary: str, with_base: bool) -> Figure:
    """Dot plots with intervals: a row of panels per metric, a column per role, a line per model or clearing."""
    roles = [role for role in ("hazardous", "benign") if rows.role.eq(role).any()]
    rows = pd.concat([overall(rows, role) for role in roles])
    lines = [line for line in _lines(rows, primary, method_label(rows)) if len(line.rows)]
    lines = [line for line in lines if with_base or line.kind != "base"]
    panels = [metric for metric in metrics if rows.metric.eq(metric).any()]
    height = 0.62 + 0.2 * len(lines)
    drawn = Figure(figsize=(WIDTH, height * len(panels) + 0.2))
    grid = drawn.subplots(len(panels), len(roles), squeeze=False, sharex="row", sharey=True)
    for across, metric in zip(grid, panels, strict=True):
        for axes, role in zip(across, roles, strict=True):
            for y, line in enumerate(lines):
                here = line.rows[(line.rows.metric == metric) & (line.rows.role == role)]
                _draw_line(axes, y, replace(line, rows=here))
            axes.set_xlabel(metrics[metric])
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.08)
            if metric == panels[0]:
                axes.set_title(plain(_role_name(rows[rows.role == role])))
    _rows_axis(grid[0][0], [line.text for line in lines], [line.kind for line in lines])
    for axes in grid[:, 0]:
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set_color(COLOURS[line.kind])
    return drawn


@figure
def coherence(table: pd.DataFrame, cell: Cell | None, primary: str) -> Figure:
    """How coherent continuations are: base, unlearned, cleared, and nulls, with 95 % intervals."""
    rows = shown(table, cell)
    if rows[rows.method != "base"].empty:
        return _nothing("The coherence table holds no rows of an unlearned model.")
    return _by_role(rows, COHERENCE, primary, with_base=True)


@figure
def agreement(table: pd.DataFrame, cell: Cell | None, primary: str) -> Figure:
    """KL from the base and agreement of the likeliest next token, per clearing, with 95 % intervals."""
    rows = shown(table, cell)
    if rows[rows.method != "base"].empty:
        return _nothing("The agreement table holds no rows of an unlearned model.")
    return _by_role(rows, AGREEMENT, primary, with_base=False)


def shift_matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """Symmetric [depth, depth] cosines of the mean shift, mean over the rows' seeds."""
    rows = rows[rows.quantity == "cosine"].dropna(subset="value")
    half = rows.groupby(["depth", "other_depth"]).value.mean()
    depths = sorted({int(depth) for pair in half.index for depth in pair})
    matrix = pd.DataFrame(np.nan, index=depths, columns=depths)
    for (one_depth, other), value in half.items():
        matrix.loc[one_depth, other] = matrix.loc[other, one_depth] = value
    return matrix


@figure
def shift_cosines(table: pd.DataFrame, cell: Cell | None) -> Figure:
    """Heat map of the cosines of the mean shift between depths, one panel per topic, mean over seeds."""
    rows = in_cell(table, cell) if cell else table.iloc[:0]
    rows = rows[(rows.quantity == "cosine") & rows.value.notna()]
    if rows.empty:
        return _nothing("The depths table holds no cosines for this cell.")
    topics = list(rows.topic.unique())
    drawn, grid = _grid(len(topics), 7.2 / min(len(topics), 2) * (0.9 if len(topics) > 1 else 0.5), columns=2)
    colours = LinearSegmentedColormap.from_list("", [COLOURS["unlearned"], "white", COLOURS["cleared"]])
    for axes, topic in zip(grid, topics, strict=True):
        matrix = shift_matrix(rows[rows.topic == topic])
        few = len(matrix) <= 10  # numbers fit
        options = {"annot": few, "fmt": ".2f", "annot_kws": {"fontsize": 8}, "cbar": not few, "linewidths": few}
        sns.heatmap(matrix, ax=axes, vmin=-1, vmax=1, cmap=colours, square=True, **options)
        axes.set_facecolor("#EEEEEE")
        axes.invert_yaxis()
        axes.set(title=plain(topic), xlabel="depth (start of block)", ylabel="depth (start of block)")
        axes.tick_params(length=0)
    return drawn


@figure
def shift_size(table: pd.DataFrame, junk: pd.DataFrame, cell: Cell | None) -> Figure:
    """Length of the mean shift and its cosine with u by depth; thin lines are seeds, grey the null of the cosine."""
    rows = in_cell(table, cell).dropna(subset="value") if cell else table.iloc[:0]
    panels = {"norm": "length of the mean shift", "cos_u": "its cosine with u"}
    panels = {name: title for name, title in panels.items() if rows.quantity.eq(name).any()}
    if not panels:
        return _nothing("The depths table holds no mean shift for this cell.")
    drawn, grid = _grid(len(panels), 2.5, columns=2)
    for axes, (quantity, title) in zip(grid, panels.items(), strict=True):
        ends = []
        for topic, lines in rows[rows.quantity == quantity].groupby("topic", sort=False):
            for _, line in lines.groupby("seed"):
                axes.plot(line.depth.astype(int), line.value, color=COLOURS["unlearned"], lw=0.7, alpha=0.4)
            mean = lines.groupby("depth").value.mean()
            axes.plot(mean.index.astype(int), mean, color=COLOURS["unlearned"])
            ends.append((mean.iloc[-1], topic, COLOURS["unlearned"]))
        if quantity == "cos_u":
            null = in_cell(junk, cell).query("quantity == 'cos_u'")
            if null.null_low.notna().any():
                axes.axhspan(null.null_low.min(), null.null_high.max(), color="#B0B0B0", alpha=0.4, lw=0, zorder=0)
            axes.set_ylim(min(0, axes.get_ylim()[0]), 1.03)
        else:
            _log_if_wide(axes, rows[rows.quantity == quantity].value, 50)
        axes.axvline(cell.layer + 1, color="#999999", ls=":", lw=1, zorder=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.set(title=title, xlabel="depth (start of block)")
        _label_ends(axes, ends, gap=0.12)
    return drawn


def all_figures(part: Part) -> dict[str, Figure]:
    """Every figure of this module by name."""
    method = method_label(part.scores)
    return {
        "shallow_deep": shallow_deep(split(part.scores, part.primary, part.cells), part.cell, method),
        "read_off": read_off(part.depth, part.cell),
        "relearning": relearning(part.relearning, part.cell, _base_accuracy(part)),
        "emergence": emergence(part.emergence, part.cell),
        "weights": weights(part.weights, part.cell),
        "coherence": coherence(part.coherence, part.cell, part.primary),
        "agreement": agreement(part.agreement, part.cell, part.primary),
        "shift_cosines": shift_cosines(part.depths, part.cell),
        "shift_size": shift_size(part.depths, part.junk, part.cell),
    }


# ---------------------------------------------------------------- sentences


def _base_accuracy(part: Part) -> float | None:
    rows = part.scores[(part.scores.method == "base") & (part.scores.metric == "accuracy")]
    row = next_row(overall(rows, "hazardous"))
    return None if row is None else row.value


def _number(row: pd.Series | None, form: Callable[[float], str]) -> str:
    """`59 % (49 % to 69 %)` with its 95 % interval, or that it was not measured."""
    if row is None or pd.isna(row.value):
        return "not measured"
    return form(row.value) + ("" if pd.isna(row.low) else f" ({form(row.low)} to {form(row.high)})")


def _two(value: float) -> str:
    return f"{value:.2f}"


def unseen(what: str, key: str) -> Html:
    """That the study did not look, and which key asks for it."""
    return Html(f"<p>This study did not look at {what}; <code>{key}</code> in its configuration asks for it.</p>")


def _paragraph(text: str) -> Html:
    return Html(f"<p>{escape(text)}</p>")


def split_sentence(part: Part) -> str:
    """Shallow and deep part in the main cell, with the recovered fraction's interval."""
    table = split(part.scores, part.primary)
    here = table[[Cell(row.layer, row.c) == part.cell for row in table.itertuples()]] if len(table) else table
    row = next_row(here)
    if row is None or pd.isna(row.unlearned):
        return "The accuracy of base and unlearned model on hazardous questions was not measured."
    size = (
        f"At {part.cell}, unlearning took {_points(row.base - row.unlearned)} points of accuracy on hazardous questions"
    )
    if pd.isna(row.cleared):
        return f"{size}; clearing '{part.primary}' was not measured, so how deep they lie is unknown."
    text = (
        f"{size}: clearing '{part.primary}' gives {_points(row.shallow)} of them back (the shallow part) "
        f"and {_points(row.deep)} stay lost (the deep part)"
    )
    if pd.isna(row.recovered):
        reason = row.note.removeprefix("undefined: ") or "it was not measured"
        return f"{text}; the recovered fraction is undefined: {reason}."
    bounds = pd.Series({"low": row.recovered_low, "high": row.recovered_high})
    return f"{text}, a recovered fraction of {_percent(row.recovered)} ({_interval(bounds, _percent)})."


def depth_answer(part: Part) -> Html:
    """What stays below, in the main cell."""
    if part.cell is None:
        return lead("Nothing was unlearned, so nothing lies below.")
    return lead(split_sentence(part), part)


def split_html(part: Part) -> Html:
    """Shallow and deep parts of every cell."""
    drawn = shallow_deep(split(part.scores, part.primary, part.cells), part.cell, method_label(part.scores))
    n = next(iter(split(part.scores, part.primary).get("n", [])), None)
    units = "" if n is None else f", n = {int(n)} units"
    return figure_html(
        drawn,
        (
            f"Accuracy on all hazardous questions{units}, seeds pooled; thin lines: 95 % bootstrap intervals. Blue: "
            f"what clearing '{part.primary}' gives back (shallow, points of accuracy); vermilion: what stays lost "
            "(deep). Recovered: shallow as a share of both, with its interval in per cent; undefined where the "
            "loss is within two standard errors. Dashed: chance, 0.25. Bold: the main cell."
        ),
    )


def _states(rows: pd.DataFrame, form: Callable[[float], str], **wanted: str) -> str:
    """`base 98 % (...), unlearned 59 % (...) and control 27 % (...)`."""
    found = {state: one(rows, state=state, **wanted) for state in STATES}
    return _listed([f"{_state_name(name)} {_number(row, form)}" for name, row in found.items() if row is not None])


def read_off_sentence(table: pd.DataFrame, cell: Cell | None) -> str:
    """What lens and probe find in the final residual, and whether more than in what never knew."""
    rows = overall(shown(table, cell), "hazardous")
    last = rows[rows.depth == rows.depth.max()]
    text = (
        f"In the final residual at {shown_cell(table, cell)} (95 % intervals in brackets), the logit lens "
        f"finds the right answer to hazardous questions: {_states(last, _percent, quantity='lens_accuracy')}; "
        f"a linear probe: {_states(last, _percent, quantity='probe_accuracy')}."
    )
    probe = one(last, state="unlearned", quantity="probe_accuracy")
    nulls = last[(last.quantity == "probe_shuffled") | (last.state.eq("control") & (last.quantity == "probe_accuracy"))]
    if probe is None or nulls.empty or pd.isna(probe.low):
        return text
    if probe.low > nulls.high.max():
        return f"{text} The probe of the unlearned model is above every control, so answers are still in its residual."
    bound = _percent(nulls.high.max())
    return f"{text} The probe of the unlearned model cannot be told from its controls (up to {bound})."


def read_off_html(part: Part) -> Html:
    """Logit lens and probes by depth, and their values per cell."""
    if shown(part.depth, part.cell).empty:
        return unseen("what can be read off the residual stream", "study.depth")
    cell = shown_cell(part.depth, part.cell)
    picture = figure_html(
        read_off(part.depth, part.cell),
        (
            f"What can be read off the last token of a question at the start of each block, {cell}, "
            f"{_seeds(part.depth, cell)}; bands: 95 % bootstrap intervals; {_units(part.depth)}. The last depth is the "
            "final residual. "
            "Probes are fitted on facts of the fitting part and asked about the others. Dashed: chance, 0.25; the "
            f"vertical dotted line: output of block {cell.layer}, where unlearning pushed."
        ),
    )
    return Html(_paragraph(read_off_sentence(part.depth, part.cell)) + picture + read_off_table(part))


def looked_up_html(parts: list[Part]) -> Html:
    """What can be read off each base before each target layer, beside what clearing gives back there."""
    rows = [row for part in parts for row in _looked_up(part)]
    if not rows:
        return unseen("where the base model looks facts up", "study.depth")
    table = pd.DataFrame(rows)
    sentence = looked_up_sentence(table)
    alike = [name for name in ("model", "method") if table[name].nunique() == 1]
    units = int(overall(parts[0].depth, "hazardous").n.max())
    return Html(
        table_html(table.drop(columns=["known", "back", *alike]), "looked_up")
        + '<p class="note">Share of the right answers to hazardous questions that logit lens and linear probe find in '
        "the base model's residual stream at the start of the target layer's block, with 95 % bootstrap intervals; "
        f"n = {units} units. Recovered: least and largest over c, in cells without a mark.</p>"
        + (_paragraph(sentence) if sentence else "")
    )


def _looked_up(part: Part) -> list[dict]:
    """A row per target layer; `known` by the probe and `back`, the mean recovered fraction over c, are numbers."""
    base = overall(part.depth[part.depth.state == "base"], "hazardous")
    rows = []
    for layer, own in part.cells[part.cells.quantity == "recovered_accuracy"].groupby("layer"):
        lens, probe = (one(base[base.depth == layer], quantity=name) for name in ("lens_accuracy", "probe_accuracy"))
        if lens is None or probe is None:
            continue
        back = own[own.mark == ""].value.dropna()
        ends = dict.fromkeys(_percent(end) for end in (back.min(), back.max())) if len(back) else [NO_VALUE]
        row = {"model": part.model, "method": method_label(part.scores), "layer": layer}
        row |= {"logit_lens": _span(lens), "linear_probe": _span(probe)}
        row |= {"recovered": " to ".join(ends), "cells": len(back), "known": probe.value, "back": back.mean()}
        rows.append(row)
    return rows


def looked_up_sentence(table: pd.DataFrame) -> str:
    """Whether more comes back where a base knows more before the layer; nothing for fewer than four base models."""
    if table.model.nunique() < 4 or table.duplicated(["model", "layer"]).any():
        return ""
    known, back = (table.pivot(index="model", columns="layer", values=name) for name in ("known", "back"))
    rho, p = statistics.rank_correlation(known.to_numpy(), back.to_numpy())
    if np.isnan(rho):
        return ""
    return (
        f"Over {back.count().sum()} pairs of base model and layer, what the probe reads before the layer and what "
        f"comes back (mean over c) have a rank correlation of {rho:.2f} (one-sided p = {p:.3f}, by exchanging whole "
        "base models)."
    )


def _seeds(table: pd.DataFrame, cell: Cell) -> str:
    """`3 seeds pooled`, or `1 seed`."""
    found = in_cell(table, cell).seed
    number = found[found != "all"].nunique()
    return _count(number, "seed") + " pooled" * (number > 1)


def _units(table: pd.DataFrame) -> str:
    """`n = 96 hazardous and 192 benign units`."""
    counts = [(overall(table, role).n.max(), role) for role in ("hazardous", "benign") if table.role.eq(role).any()]
    return f"n = {_listed([f'{int(n)} {role}' for n, role in counts])} units"


def read_off_table(part: Part) -> Html:
    """Final residual of every cell that was looked into, hazardous questions."""
    rows = []
    for cell in cells(part.depth):
        here = overall(shown(part.depth, cell), "hazardous")
        last = here[here.depth == here.depth.max()]
        for state in STATES:
            found = {name: one(last, state=state, quantity=name) for name in [*READ, "probe_shuffled"]}
            values = {name: NO_VALUE if row is None else _span(row) for name, row in found.items()}
            if last.state.eq(state).any():
                rows.append({"layer": str(cell.layer), "c": f"{cell.c:g}", "state": _state_name(state), **values})
    return table_html(pd.DataFrame(rows), "final_residual")


def _span(row: pd.Series) -> str:
    """`0.59 (0.49 to 0.69)`."""
    return f"{row.value:.2f}" + ("" if pd.isna(row.low) else f" ({row.low:.2f} to {row.high:.2f})")


def relearning_sentence(table: pd.DataFrame, cell: Cell | None) -> str:
    """Accuracy before and after the largest number of texts."""
    rows = overall(shown(table, cell), "hazardous")
    rows = rows[rows.metric == "accuracy"]
    first, last = (rows[rows.examples == pick] for pick in (rows.examples.min(), rows.examples.max()))
    return (
        f"Fine-tuning at {shown_cell(table, cell)} (95 % intervals in brackets): accuracy on hazardous questions with "
        f"{_texts(rows.examples.min())} is {_states(first, _percent)}; with {_texts(rows.examples.max())} per topic it "
        f"is {_states(last, _percent)}."
    )


def _texts(number: float) -> str:
    return "no text" if number == 0 else _count(int(number), "text")


def relearning_html(part: Part) -> Html:
    """Relearning curves."""
    rows = shown(part.relearning, part.cell)
    if rows[rows.metric == "accuracy"].empty:
        return unseen("relearning", "study.relearn")
    cell = shown_cell(part.relearning, part.cell)
    picture = figure_html(
        relearning(part.relearning, part.cell, _base_accuracy(part)),
        (
            "Hazardous questions after fine-tuning on texts about other facts of the topics, each seen once, at "
            f"{cell}, {_seeds(part.relearning, cell)}, {_units(rows)}; bands: 95 % bootstrap intervals. The cleared "
            "model keeps its clearing. The scale of texts is logarithmic beyond its first step. Dashed: chance, 0.25."
        ),
    )
    return Html(_paragraph(relearning_sentence(part.relearning, part.cell)) + picture)


def emergence_sentence(table: pd.DataFrame, cell: Cell | None) -> str:
    """When half of what is forgotten is forgotten, and what clearing recovers then and at the end."""
    rows = overall(shown(table, cell), "hazardous")
    lost = rows[rows.quantity == "forgotten_accuracy"].sort_values("step")
    where = f"In the training at {shown_cell(table, cell)}"
    if lost.empty or lost.value.iloc[-1] <= 0:
        return f"{where}, no accuracy on hazardous questions is lost by the last step that was kept."
    end = lost.iloc[-1]
    half = lost[lost.value >= end.value / 2].iloc[0]
    back = rows[rows.quantity == "recovered_accuracy"]
    then, last = (next_row(back[back.step == row.step]) for row in (half, end))
    text = (
        f"{where}, half of the {_points(end.value)} points that step {end.step} has lost are lost by step {half.step}"
    )
    if then is None and last is None:
        return f"{text}; the recovered fraction is undefined at both."
    return (
        f"{text}; clearing recovers (95 % intervals in brackets) {_number_or(then)} at step {half.step} "
        f"and {_number_or(last)} at step {end.step}."
    )


def _number_or(row: pd.Series | None) -> str:
    return "an undefined fraction" if row is None else _number(row, _percent)


def emergence_html(part: Part) -> Html:
    """The course of a training."""
    if shown(part.emergence, part.cell).empty:
        return unseen("the course of a training", "study.emergence")
    cell = shown_cell(part.emergence, part.cell)
    picture = figure_html(
        emergence(part.emergence, part.cell),
        (
            f"Steps of the training at {cell}; thick: all hazardous topics together, "
            f"{_seeds(part.emergence, cell)}, with 95 % bootstrap bands; thin: single topics. The direction "
            "is fitted anew at each step. "
            "Steps where the recovered fraction is undefined, as little is forgotten yet, have no point; nor has the "
            "cosine at step 0, where nothing moved."
        ),
    )
    return Html(_paragraph(emergence_sentence(part.emergence, part.cell)) + picture)


def weights_sentence(table: pd.DataFrame, cell: Cell | None) -> str:
    """The tensor that changed most: by how much, over how many directions, and what clearing removes of it."""
    rows = in_cell(table, cell).dropna(subset="value")
    mean = rows.pivot_table(index="tensor", columns="quantity", values="value", aggfunc="mean")
    if "relative_change" not in mean:
        return f"At {cell}, the size of the changes was not measured."
    name = mean.relative_change.idxmax()
    row, seeds = mean.loc[name], _count(rows.seed.nunique(), "seed")
    text = (
        f"At {cell}, mean over {seeds}, {_count(len(mean), 'tensor')} changed; most did {name}, by "
        f"{row.relative_change:.2f} of its Frobenius norm"
    )
    if pd.notna(row.get("effective_rank")):
        text = f"{text}, over an effective rank of {row.effective_rank:.1f}"
    removed = rows[(rows.tensor == name) & (rows.quantity == "removed_share")]
    if removed.empty:
        return f"{text}; what clearing removes of it was not measured."
    return (
        f"{text}; projecting out the junk takes away {_percent(removed.value.mean())} of the change's square"
        + _null_range(removed, _percent)
        + "."
    )


def _null_range(rows: pd.DataFrame, form: Callable[[float], str]) -> str:
    """` (above what random vectors reach, 26 % to 31 %)`: every value against its own range."""
    low, high = rows.null_low.min(), rows.null_high.max()
    if pd.isna(low) or pd.isna(high):
        return ""
    word = "above" if (rows.value > rows.null_high).all() else "not clear of"
    return f" ({word} what random vectors reach, {form(low)} to {form(high)})"


def weights_html(part: Part) -> Html:
    """What changed in the weights of the main cell."""
    rows = in_cell(part.weights, part.cell) if part.cell else part.weights.iloc[:0]
    if rows.value.notna().sum() == 0:
        return _paragraph("The table of weights holds no rows for the main cell.")
    _, pattern = short_names(rows.tensor)
    count = rows.tensor.nunique()
    named = f" Tensors are named by what tells them apart in {pattern}." if pattern else ""
    some = f" The {TENSORS} of {count} tensors that changed most are shown." if count > TENSORS else ""
    picture = figure_html(
        weights(part.weights, part.cell),
        (
            f"Changes of each tensor at {part.cell}. Relative change: Frobenius norm of the change over that of the "
            "tensor. Effective rank: exp of the entropy of the shares of its singular values. 1st direction: first "
            "left singular vector, r: the topic's junk direction; cosines without sign. Grey: 2.5 to 97.5 percentile "
            f"of uniform random vectors in its place.{named}{some}"
        ),
    )
    return Html(_paragraph(weights_sentence(part.weights, part.cell)) + picture)


# ---------------------------------------------------------------- completions


def _models(rows: pd.DataFrame, metric: str, primary: str, form: Callable[[float], str], base: bool = True) -> str:
    """`base 0.25 (...), unlearned 0.36 (...) and cleared 0.17 (...)` of one metric."""
    rows = rows[rows.metric == metric]
    after = rows[rows.method != "base"]
    found = {"base": next_row(rows[rows.method == "base"])} if base else {}
    found |= {"unlearned": one(after, clearing="none"), "cleared": one(cleared_by(after, primary))}
    return _listed([f"{name} {_number(row, form)}" for name, row in found.items()])


def coherence_sentence(table: pd.DataFrame, cell: Cell | None, primary: str) -> str:
    """Repetition, likelihood and length of hazardous continuations; a warning where cleared ones are short."""
    rows = overall(shown(table, cell), "hazardous")
    text = (
        f"Hazardous continuations at {shown_cell(table, cell)} (95 % intervals in brackets): share of repeated runs "
        f"of four tokens: {_models(rows, 'repeated_4', primary, _percent)}; nats per token for the base: "
        f"{_models(rows, 'base_nll', primary, _two)}."
    )
    length = rows[rows.metric == "length"]
    base, cleared = one(length, method="base"), one(cleared_by(length[length.method != "base"], primary))
    if base is None or cleared is None or cleared.value > base.value / 2:
        return text
    return (
        f"{text} The cleared model stops after {cleared.value:.1f} tokens on average, the base after {base.value:.1f}: "
        "short texts repeat less, so its shares of different and repeated tokens are not signs of coherence."
    )


def coherence_html(part: Part) -> Html:
    """Coherence of continuations."""
    return _beside_the_base(
        part,
        part.coherence,
        ("the coherence of completions", "study.coherence"),
        coherence,
        coherence_sentence,
        "Greedy continuations at {where}, with 95 % bootstrap intervals over prompts; n = {n} prompts. Of random "
        "directions the first draw. Short texts repeat less: read the shares beside the length.",
    )


def _beside_the_base(
    part: Part,
    table: pd.DataFrame,
    missing: tuple[str, str],
    draw: Callable[..., Figure],
    say: Callable[..., str],
    caption: str,
) -> Html:
    """A sentence and a figure on what a table tells of the base and of the main cell.

    missing: what was not looked at, and the key of the configuration that asks for it.
    draw, say: of the table, the cell and the primary clearing.    caption: with places for {where} and {n}.
    """
    rows = shown(table, part.cell)
    if rows[rows.method != "base"].empty:
        return unseen(*missing)
    cell = shown_cell(table, part.cell)
    where, asked = f"{cell}, {_seeds(table, cell)}", (table, part.cell, part.primary)
    picture = figure_html(draw(*asked), caption.format(where=where, n=_prompts(rows)))
    return Html(_paragraph(say(*asked)) + picture)


def _prompts(rows: pd.DataFrame) -> str:
    """`32 hazardous and 16 benign`."""
    counts = [(overall(rows, role).n.max(), role) for role in ("hazardous", "benign") if rows.role.eq(role).any()]
    return _listed([f"{int(n)} {role}" for n, role in counts])


def agreement_sentence(table: pd.DataFrame, cell: Cell | None, primary: str) -> str:
    """KL from the base on hazardous and benign text, before and after clearing."""
    rows = shown(table, cell)
    roles = [role for role in ("hazardous", "benign") if rows.role.eq(role).any()]
    where = f"at {shown_cell(table, cell)} (95 % intervals in brackets)"
    parts = [f"on {role} text {_models(overall(rows, role), 'kl', primary, _two, base=False)}" for role in roles]
    return f"Distance from the base's predictions {where}, KL in nats per token: {'; '.join(parts)}."


def agreement_html(part: Part) -> Html:
    """How far predictions lie from the base's."""
    return _beside_the_base(
        part,
        part.agreement,
        ("predictions on running text", "study.evaluate"),
        agreement,
        agreement_sentence,
        "Next-token predictions on running text against the base's at {where}, 95 % bootstrap intervals over seeds and "
        "texts; n = {n} texts. The base itself has a KL of 0 and an agreement of 1.",
    )


# ---------------------------------------------------------------- activations


def shift_sentence(table: pd.DataFrame, cell: Cell) -> str:
    """Whether the shift keeps its direction from the target block on: cosine of its first and its last depth."""
    rows = in_cell(table, cell)
    start, parts = cell.layer + 1, []
    for topic, here in rows.groupby("topic", sort=False):
        matrix = shift_matrix(here)
        if start in matrix.index and matrix.index.max() > start:
            values = here[
                (here.quantity == "cosine") & (here.depth == start) & (here.other_depth == matrix.index.max())
            ]
            value = f"{matrix.loc[start, matrix.index.max()]:.2f}"
            spread = f" ({values.value.min():.2f} to {values.value.max():.2f})" if values.seed.nunique() > 1 else ""
            parts.append(f"{value}{spread} for {topic}")
    if not parts:
        return f"At {cell}, no shift was measured beyond block {cell.layer}."
    last = rows[["depth", "other_depth"]].max().max()
    return (
        f"At {cell}, the mean shift at the start of block {start} and that at depth {last} have a cosine of "
        f"{_listed(parts)} (mean over {_count(rows.seed.nunique(), 'seed')}, with their range)."
    )


def shift_html(part: Part) -> Html:
    """The mean shift by depth: its cosines, length and cosine with u."""
    rows = in_cell(part.depths, part.cell) if part.cell else part.depths.iloc[:0]
    if rows.value.notna().sum() == 0:
        return _paragraph("The mean shift at every depth was not measured for the main cell.")
    seeds = _count(rows.seed.nunique(), "seed")
    heat = figure_html(
        shift_cosines(part.depths, part.cell),
        (
            f"Cosines of the mean shift from base to unlearned between the starts of blocks, {part.cell}, mean over "
            f"{seeds}, fitting prompts, all tokens but the first. Blue: same direction, vermilion: opposite; depths "
            "where nothing moved are left out."
        ),
    )
    size = figure_html(
        shift_size(part.depths, part.junk, part.cell),
        (
            f"Length of the same mean shift and its cosine with the control vector, {part.cell}; thick: mean over "
            f"{seeds}, thin: seeds. Dotted: output of block {part.cell.layer}. Grey: the null range of the cosine as "
            "the table of junk gives it; two vectors drawn as u have an expected cosine of 0.75, not 0."
        ),
    )
    return Html(_paragraph(shift_sentence(part.depths, part.cell)) + heat + size)


def selectivity(junk: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Per direction: mean `auc_centred` over topics and seeds, its range, the null range, how many are above their own.

    Columns: direction, mean, min, max, null_low, null_high, above (number above the upper end of their null), of.
    """
    rows = in_cell(junk, cell) if cell else junk.iloc[:0]
    rows = rows[(rows.quantity == "auc_centred") & rows.value.notna()]
    found = []
    for direction, here in rows.groupby("direction", sort=False):
        ends = here.value.mean(), here.value.min(), here.value.max(), here.null_low.min(), here.null_high.max()
        found.append((direction, *ends, int((here.value > here.null_high).sum()), int(here.null_high.notna().sum())))
    columns = ["direction", "mean", "min", "max", "null_low", "null_high", "above", "of"]
    return pd.DataFrame(found, columns=columns)


def selectivity_html(part: Part) -> Html:
    """Chance that a hazardous prompt projects further than a benign one, without the all-ones component."""
    table = selectivity(part.junk, part.cell)
    if table.empty:
        return _paragraph("Whether a direction tells hazardous from benign prompts was not measured for the main cell.")
    row = one(table, direction=part.direction)
    row = table.iloc[0] if row is None else row
    if row["of"] == 0:
        verdict = "no null range was measured"
    else:
        verdict = f"above its null range ({_two(row.null_low)} to {_two(row.null_high)}) in {row.above} of {row['of']}"
    text = (
        f"At {part.cell}, all-ones component removed, the chance that a held hazardous prompt of the unlearned model "
        f"projects further on the direction '{row.direction}' than a held benign one is {_two(row['mean'])} "
        f"({_two(row['min'])} to {_two(row['max'])} over topics and seeds): {verdict}."
    )
    return Html(_paragraph(text) + table_html(table, "selectivity", dict.fromkeys(table.columns[1:6], _two)))
