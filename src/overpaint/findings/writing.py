"""Write README.md, docs/findings.md and figures from docs/data, after taking over the studies that ended here."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from overpaint.archive import release
from overpaint.errors import program
from overpaint.findings import depths, kept, making, matrices, measured, phrases
from overpaint.findings.kept import Kept
from overpaint.models.trained import place
from overpaint.report import wording
from overpaint.report.drawing import STYLE
from overpaint.report.sections import split
from overpaint.report.sections.depth import shallow
from overpaint.report.sections.finding import clearings
from overpaint.report.sections.map import heatmap

STUDIES = {"miniature": ""} | {
    name: f"studies/{name}.yaml" for name in ("map", "bases", "lookup", "matrices", "contrast", "smollm2")
}
DATA, TEMPLATES = Path("docs/data"), Path("docs/templates")
WRITTEN = {"README.md.j2": Path("README.md"), "findings.md.j2": Path("docs/findings.md")}
PENDING = ("smollm2",)  # of these studies tables may be missing: then no number of theirs is told
# The table that each figure shows; its hash is in the figure's metadata.
FIGURES = {"split": "bases/relearning", "cell": "miniature/scores", "clearings": "miniature/scores", "map": "map/cells"}
KEY = "Source"


def studies(root: Path) -> dict[str, Kept | None]:
    """What docs/data of a checkout holds of each study, None of `PENDING` without; else a UserError."""
    found = {}
    for name, file in STUDIES.items():
        folder = root / DATA / name
        there = folder.is_dir() or name not in PENDING
        found[name] = kept.load(folder, f"make study STUDY={file}" if file else "make study") if there else None
    return found


def texts(root: Path) -> dict[Path, str]:
    """{file: its text}, from what the checkout holds."""
    environment = Environment(
        loader=FileSystemLoader(root / TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= phrases.FILTERS
    names: dict[str, Any] = studies(root)
    names |= {
        "m": measured,
        "d": depths,
        "s": making,
        "which": matrices,
        "of_all": phrases.of_all,
        "limit": wording.DAMAGE_LIMIT,
    }
    names |= {"weights": making.weights(root / place("miniature"))}
    return {path: phrases.filled(environment.get_template(name).render(names)) for name, path in WRITTEN.items()}


def draw(root: Path) -> None:
    """Write the figures, each with the hash of the table that it shows."""
    for name, drawn in figures(root).items():
        with matplotlib.rc_context(STYLE):
            drawn.savefig(root / f"docs/{name}.png", metadata={KEY: shown(root, name), "Software": None})


def figures(root: Path) -> dict[str, Figure]:
    """Means of the layers over base models; each cell of the default study, and clearings in its main one; a map."""
    found = studies(root)
    default, first = (depths.view_of(found[name], found[name].models[0], "rmu") for name in ("miniature", "map"))
    layers = split.bars(depths.over_models(found["bases"]))
    drawn = (layers, shallow.draw(default), clearings.draw(default), heatmap.draw(first))
    return dict(zip(FIGURES, drawn, strict=True))


def shown(root: Path, name: str) -> str:
    """The SHA-256 of the table that a figure shows."""
    return hashlib.sha256((root / DATA / f"{FIGURES[name]}.csv").read_bytes()).hexdigest()


@program
def main() -> None:
    """`python -m overpaint.findings.writing`, in the folder of the checkout."""
    ended = release.finished(STUDIES.values())
    for name, study in STUDIES.items():
        if study in ended:
            kept.keep(ended[study], DATA / name)
            print(f"{name}: its tables are kept in {DATA / name}")
    for path, text in texts(Path()).items():
        path.write_text(text, encoding="utf-8")
    draw(Path())


if __name__ == "__main__":
    sys.exit(main())
