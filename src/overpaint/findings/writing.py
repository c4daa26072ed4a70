"""Write README.md, docs/findings.md and its figure from docs/data, after taking over the studies that ended here."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from overpaint.archive import release
from overpaint.errors import program
from overpaint.findings import depths, kept, making, measured, phrases
from overpaint.findings.kept import Kept
from overpaint.models.trained import place
from overpaint.report import wording
from overpaint.report.drawing import STYLE
from overpaint.report.sections import split

STUDIES = {"miniature": ""} | {
    name: f"studies/{name}.yaml" for name in ("map", "bases", "lookup", "contrast", "smollm2")
}
DATA, TEMPLATES, FIGURE = Path("docs/data"), Path("docs/templates"), Path("docs/split.png")
WRITTEN = {"README.md.j2": Path("README.md"), "findings.md.j2": Path("docs/findings.md")}
PENDING = ("smollm2",)  # of these studies tables may be missing: then no number of theirs is told
KEY = "Source"  # of the figure's metadata: the hash of the table that it shows


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
    names |= {"m": measured, "d": depths, "s": making, "of_all": phrases.of_all, "limit": wording.DAMAGE_LIMIT}
    names |= {"weights": making.weights(root / place("miniature"))}
    return {path: phrases.filled(environment.get_template(name).render(names)) for name, path in WRITTEN.items()}


def draw(root: Path) -> None:
    """Write the figure of the layers, means over base models, with the hash of the table that it shows."""
    with matplotlib.rc_context(STYLE):
        drawn = split.bars(depths.over_models(studies(root)["bases"]))
        drawn.savefig(root / FIGURE, metadata={KEY: shown(root), "Software": None})


def shown(root: Path) -> str:
    """The SHA-256 of the table that the figure shows."""
    return hashlib.sha256((root / DATA / "bases/relearning.csv").read_bytes()).hexdigest()


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
