"""How every figure is drawn: colours, style, axes.

A figure is a function of a view that returns a matplotlib `Figure`; it reads no file. It is 7 inches wide, which a
report shows at 700 pixels. One colour and one marker per kind of model hold across all figures (Okabe-Ito, safe for
colour-blind readers): base dark grey, unlearned vermilion, cleared blue, null grey. A table that lacks rows gives a
figure that says so, never an exception.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from io import StringIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

FIGURES: dict[str, Callable[..., Figure]] = {}  # by the name of their files; an imported section adds its own
WIDTH = 7.0  # inches; 700 px in a report at the 9-point text below is about 12 px high
COLOURS = {"base": "#333333", "unlearned": "#C84E00", "cleared": "#0072B2", "alternative": "#3D8FC4", "null": "#757575"}
MARKERS = {"base": "s", "unlearned": "v", "cleared": "o", "alternative": "o", "null": "."}
STYLE = {
    **sns.axes_style("ticks"),
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # letters stay letters, as journals ask
    "svg.hashsalt": "overpaint",
}
CHANCE = 0.25  # four options per question


def figure(name: str) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Register a function of a view under the name of its figure's files, and draw it in the shared style."""

    def register(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        FIGURES[name] = styled(draw)
        return FIGURES[name]

    return register


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the shared style."""

    @wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def plain(name: object) -> str:
    """A name as literal text: matplotlib would read `$x$` as a formula."""
    return str(name).replace("$", r"\$")


def svg(drawn: Figure) -> str:
    """A figure as an `<svg>` element, without XML header, date and other metadata."""
    file = StringIO()
    with matplotlib.rc_context(STYLE):
        drawn.savefig(file, format="svg", metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"]))
    text = file.getvalue()
    return text[text.index("<svg") :]


def save(drawn: Figure, path: Path | str) -> None:
    """Write a figure as .svg, .pdf or .png (200 dots per inch), whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with matplotlib.rc_context(STYLE):
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        drawn.savefig(part, format=path.suffix[1:], metadata=metadata)
    part.replace(path)


def nothing(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    drawn = Figure(figsize=(WIDTH, 0.6))
    drawn.text(0.01, 0.5, plain(text), color=COLOURS["null"], va="center")
    return drawn


def panel_grid(n: int, height: float, columns: int = 3, **options) -> tuple[Figure, list[Axes]]:
    """A figure of n panels in rows of at most `columns`, each row `height` inches high."""
    across = max(1, min(n, columns))
    rows = -(-n // across)
    drawn = Figure(figsize=(WIDTH, rows * height))
    axes = drawn.subplots(rows, across, squeeze=False, **options).ravel()
    for spare in axes[n:]:
        spare.set_visible(False)
    return drawn, list(axes[:n])


def draw_interval(axes: Axes, y: float, row: pd.Series, kind: str, **options) -> None:
    """A marker with its interval as a horizontal line at height y."""
    if pd.notna(row.low) and pd.notna(row.high):
        axes.plot([row.low, row.high], [y, y], color=COLOURS[kind], lw=2, solid_capstyle="butt", alpha=0.75, zorder=2)
    options = {"color": COLOURS[kind], "marker": MARKERS[kind], "ms": 5.5, "ls": "", "zorder": 3, "mew": 0.8, **options}
    axes.plot([row.value], [y], **options)


def draw_band(axes: Axes, rows: pd.DataFrame, x: str, kind: str, **options) -> None:
    """A line over column x with its interval as a band."""
    rows = rows.sort_values(x)
    place = rows[x].astype(float)
    axes.fill_between(place, rows.low, rows.high, color=COLOURS[kind], alpha=0.15, lw=0)
    axes.plot(place, rows.value, **{"color": COLOURS[kind], "marker": MARKERS[kind], "ms": 3.5, **options})


def draw_range(axes: Axes, y: int, rows: pd.DataFrame, kind: str) -> None:
    """Values as dots, their mean as a large one and a number at the right, the range of nulls in grey."""
    if rows.empty:
        return
    if rows.null_low.notna().any():
        axes.plot(
            [rows.null_low.min(), rows.null_high.max()], [y, y], color="#B0B0B0", lw=6, solid_capstyle="butt", zorder=1
        )
    axes.plot(rows.value, [y] * len(rows), ".", color=COLOURS[kind], ms=5, alpha=0.5, mew=0, zorder=2)
    axes.plot([rows.value.mean()], [y], "o", color=COLOURS[kind], ms=6, zorder=3)
    axes.text(
        1.03,
        y,
        f"{rows.value.mean():.2f}",
        transform=axes.get_yaxis_transform(),
        color=COLOURS[kind],
        va="center",
        fontsize=8,
    )


def name_rows(axes: Axes, texts: Iterable[str], kinds: Iterable[str], bold: int | None = None) -> None:
    """Name the rows of a dot plot in the colour of what they show, the first on top."""
    texts, kinds = list(texts), list(kinds)
    axes.set_yticks(range(len(texts)), [plain(text) for text in texts])
    axes.set_ylim(len(texts) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for index, (label, kind) in enumerate(zip(axes.get_yticklabels(), kinds, strict=True)):
        label.set(color=COLOURS[kind], fontweight="bold" if index == bold else "normal")


def label_ends(axes: Axes, ends: list[tuple[float, str, str]], gap: float = 0.1) -> None:
    """Name lines at their right ends, [(y, text, colour)], pushed at least `gap` of the height apart."""
    low, high = axes.get_ylim()
    scale = np.log if axes.get_yscale() == "log" else float
    placed = [((scale(y) - scale(low)) / (scale(high) - scale(low)), text, colour) for y, text, colour in ends]
    last = -np.inf
    for height, text, colour in sorted(placed):
        last = max(height, last + gap)
        axes.text(1.02, last, plain(text), color=colour, transform=axes.transAxes, va="center", fontsize=8)


def draw_key(drawn: Figure, entries: list[tuple[str, ...]], marked: bool = False) -> None:
    """Name the lines of all panels once above them, in their colours, [(text, kind)] or [(text, kind, line style)].

    marked: with the marker of each kind.
    """
    lines = [
        matplotlib.lines.Line2D(
            [], [], color=COLOURS[kind], ls=style[0] if style else "-", marker=MARKERS[kind] if marked else "", ms=4
        )
        for _, kind, *style in entries
    ]
    drawn.legend(
        lines,
        [plain(text) for text, *_ in entries],
        loc="outside upper left",
        ncols=len(entries),
        frameon=False,
        labelcolor="linecolor",
        handlelength=1.8 if marked else 1.4,
        columnspacing=1.2 if marked else 2,
        borderaxespad=0.1,
    )


def log_if_wide(axes: Axes, values: pd.Series, ratio: float = 20) -> None:
    """A log scale where the largest value is more than `ratio` times the smallest; plain ticks."""
    values = values[values > 0]
    if len(values) and values.max() > ratio * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if values.max() < 500 * values.min() else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
