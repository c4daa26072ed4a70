"""Heat maps over c and layer, a panel per quantity of the table of cells; not in `drawing`, which knows no table."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from overpaint.report import select
from overpaint.report.drawing import COLOURS, panel_grid, plain

# quantity: (title, colour, factor of the shown numbers, value of the darkest ground; None: the largest there is)
MAPS = {
    "forgotten_accuracy": ("Forgetting, points", COLOURS["unlearned"], 100, 80),
    "recovered_accuracy": ("Recovered, % of lost", COLOURS["cleared"], 100, 100),
    "damage": ("Benign damage, points", COLOURS["base"], 100, 40),
    "beneath": ("Missing beneath the paint\n(UDS of the cleared), %", COLOURS["alternative"], 100, 100),
    "attained_held": ("Attained magnitude,\nheld-out prompts, % of c", COLOURS["unlearned"], 100, 100),
    "rank1_share_held": ("Rank-1 share of the\nshift, held-out, %", COLOURS["unlearned"], 100, 100),
    "c_in_norms": ("c in units of the\nbase's norm", COLOURS["null"], 1, None),
}
MARKS = {"not unlearned": "//", "collapsed": "xx"}
GREY = "#EEEEEE"


def panels(cells: pd.DataFrame, everything: pd.DataFrame, quantities: list[str], method: str | None = None) -> Figure:
    """A panel per quantity of `MAPS`; with a method, what its variants' names add to its own stands in the cells."""
    layers, sizes = (sorted({getattr(cell, axis) for cell in select.cells(cells)}) for axis in ("layer", "c"))
    drawn, grid = panel_grid(len(quantities), 0.95 + 0.46 * len(layers), columns=2 if len(sizes) > 4 else 3)
    for axes, quantity in zip(grid, quantities, strict=True):
        largest = everything[everything.quantity == quantity].value.max()
        _panel(axes, cells[cells.quantity == quantity], layers, sizes, quantity, largest, method)
    return drawn


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    layers: list[int],
    sizes: list[float],
    quantity: str,
    largest: float,
    method: str | None,
) -> None:
    title, colour, factor, top = MAPS[quantity]
    values = np.full((len(layers), len(sizes)), np.nan)
    texts = values.astype(object)
    for row in rows.itertuples():
        place = layers.index(row.layer), sizes.index(row.c)
        values[place] = np.nan if row.mark else factor * row.value
        texts[place] = _text(row, factor) + ("" if method is None else f"\n{_variant(row.method, method)}")
        if row.mark:
            _hatch(axes, *place, row.mark)
    top = top or (largest if largest > 0 else 1)
    palette = sns.light_palette(colour, as_cmap=True)
    axes.set_facecolor(GREY)
    sns.heatmap(values, ax=axes, cmap=palette, vmin=0, vmax=top, cbar=False, linewidths=1.5)
    _write(axes, values / top, texts, palette)
    axes.set(title=title, xlabel="c", ylabel="layer")
    axes.set_xticklabels([f"{size:g}" for size in sizes])
    axes.set_yticklabels([f"{layer:g}" for layer in layers], rotation=0)
    axes.tick_params(length=0)


def _variant(name: str, method: str) -> str:
    """What a variant's name adds to its method's: `300` of `rmu_300`; nothing of the method itself."""
    return "" if name == method else plain(name.removeprefix(f"{method}_"))


def _hatch(axes: Axes, i: int, j: int, mark: str) -> None:
    hatch = MARKS.get(mark, "..")
    axes.add_patch(Rectangle((j, i), 1, 1, fc=GREY, ec="#BBBBBB", hatch=hatch, lw=0, zorder=1.5))


def _write(axes: Axes, shares: np.ndarray, texts: np.ndarray, palette: Colormap) -> None:
    """The text of every cell, on its ground: its share of the darkest one, NaN where it is grey."""
    for (i, j), text in np.ndenumerate(texts):
        text = "not\nmeasured" if pd.isna(text) else text
        grey = np.isnan(shares[i, j])
        box = {"fc": GREY, "ec": "none", "pad": 0.8} if grey else None
        ground = GREY if grey else palette(shares[i, j])
        style = {"color": legible(ground), "fontsize": 8, "bbox": box, "zorder": 4}
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", linespacing=1.05, **style)


def legible(ground: str | tuple) -> str:
    """White or ink, whichever has the larger contrast with the ground (WCAG 2: relative luminance)."""

    def luminance(colour: str | tuple) -> float:
        parts = np.array(to_rgb(colour))
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    on, ink = luminance(ground), "#333333"
    return "white" if 1.05 / (on + 0.05) > (on + 0.05) / (luminance(ink) + 0.05) else ink


def _text(row: tuple, factor: float) -> str:
    if pd.isna(row.value):
        return "unde-\nfined" if str(row.note).startswith("undefined") else "not\nmeasured"
    digits = 0 if factor == 100 else 1
    half = factor * (row.high - row.low) / 2
    spread = "" if pd.isna(half) or round(half, digits) == 0 else f"\n\u00b1{half:.{digits}f}"
    return f"{factor * row.value:.{digits}f}{spread}"
