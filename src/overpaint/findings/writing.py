"""Write README.md, docs/findings.md and its figure from docs/data, after taking over the studies that ended here."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from overpaint.archive import release
from overpaint.errors import program
from overpaint.findings import depths, kept, making, measured, phrases
from overpaint.findings.kept import Kept
from overpaint.models.trained import place
from overpaint.report import wording
from overpaint.report.drawing import STYLE
from overpaint.report.sections import split
from overpaint.report.view import View

STUDIES = {"miniature": ""} | {name: f"studies/{name}.yaml" for name in ("map", "bases", "contrast", "smollm2")}
DATA, TEMPLATES, FIGURE = Path("docs/data"), Path("docs/templates"), Path("docs/split.png")
WRITTEN = {"README.md.j2": Path("README.md"), "findings.md.j2": Path("docs/findings.md")}
NOT_GENERATED = "not-generated.yaml"  # in the place of a study's data: text of a run of which no table was kept
KEY = "Source"  # of the figure's metadata: the hash of the table that it shows


@dataclass(frozen=True)
class Typed:
    """What is said of a study of which no table was kept: `section` in docs/findings.md, the rest in README.md."""

    section: str
    summary: str
    cost: str


def studies(root: Path) -> dict[str, Kept | Typed]:
    """What docs/data of a checkout holds of each study. Raises UserError where a file is missing."""
    return {name: _study(root / DATA / name, file) for name, file in STUDIES.items()}


def _study(folder: Path, file: str) -> Kept | Typed:
    typed = folder / NOT_GENERATED
    if typed.is_file():
        return Typed(**yaml.safe_load(typed.read_text(encoding="utf-8")))
    return kept.load(folder, f"make study STUDY={file}" if file else "make study")


def texts(root: Path) -> dict[Path, str]:
    """{file: its text}, from what the checkout holds."""
    environment = Environment(
        loader=FileSystemLoader(root / TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= phrases.FILTERS
    environment.tests["typed"] = lambda study: isinstance(study, Typed)
    names: dict[str, Any] = studies(root)
    names |= {"m": measured, "d": depths, "s": making, "of_all": phrases.of_all, "limit": wording.DAMAGE_LIMIT}
    names |= {"weights": making.weights(root / place("miniature"))}
    return {path: phrases.filled(environment.get_template(name).render(names)) for name, path in WRITTEN.items()}


def draw(root: Path) -> None:
    """Write the figure of the default study's layers, with the hash of the table that it shows."""
    found = studies(root)["miniature"]
    clearings, tables = found.config["clearings"], {"relearning": found.relearning}
    view = View(found.models[0], "rmu", found.primary, found.cell, True, root, clearings, tables)
    with matplotlib.rc_context(STYLE):
        split.draw(view).savefig(root / FIGURE, metadata={KEY: shown(root), "Software": None})


def shown(root: Path) -> str:
    """The SHA-256 of the table that the figure shows."""
    return hashlib.sha256((root / DATA / "miniature/relearning.csv").read_bytes()).hexdigest()


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
