"""What a DOI holds of a version: the source, results of the shipped studies as they are here, and how to cite it."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from overpaint.archive import crate
from overpaint.errors import UserError, program
from overpaint.jobs.bundle import LAST, pack_final, written
from overpaint.jobs.provenance import git, git_state, sha256
from overpaint.study import start

# The rules whose outputs are heavy and can be made again, or are others' texts and models, which may be under terms.
LEFT_OUT = {
    "download_package", "download_model", "download_dataset", "convert_model", "prepare_texts", "prepare_task",
    "compute_prefix", "collect_activations", "export_model",
}  # fmt: skip
SUMS = "SHA256SUMS"
RELEASES, CITATION, CHANGES = Path("release"), Path("CITATION.cff"), Path("CHANGELOG.md")


def write(folder: Path, results: dict[str, Path]) -> list[str]:
    """Write {name}.tar, a bundle, and {name}.zip, an RO-Crate, of the studies whose results are in {name: folder}.

    Beside them how to cite, what changed, the licence, and the SHA-256 of every file; returns their names. Raises
    UserError where a file of a study is not what its job wrote.
    """
    for name, output in results.items():
        print(f"{name}: {len(pack_final(output, folder / f'{name}.tar', LEFT_OUT))} outputs in its bundle")
        print(f"{name}: {crate.write(output, folder / f'{name}.zip')} jobs in its RO-Crate")
    for path in (CITATION, CHANGES, Path("LICENSE")):
        if not (folder / path).exists():
            shutil.copy(path, folder)
    names = sorted(path.name for path in folder.iterdir())
    sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    (folder / SUMS).write_text(sums, encoding="utf-8")
    return [*names, SUMS]


def finished(studies: Iterable[str]) -> dict[str, Path]:
    """{study: folder of the results} of those that ended here and that this checkout would not run again."""
    found = {}
    for study in studies:
        name, output = name_of(study), start.results(study)
        if not (output / LAST).exists():
            print(f"{name}: left out, for it has not ended here")
        elif not _is_done(study):
            print(f"{name}: left out, for jobs of it would run again: run the study, or look with `snakemake -n`")
        else:
            found[study] = output
    return found


def name_of(study: str) -> str:
    """The name of a study by its file, of which the default one has none."""
    return Path(study or "default").stem


def _is_done(study: str) -> bool:
    """Whether Snakemake has nothing to do for a study."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    command += ["--configfile", study] if study else []
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return said.returncode == 0 and "Nothing to be done" in said.stdout


def version() -> str:
    """The version of this checkout, on which its files agree."""
    stated = {
        "pyproject.toml": tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
        CITATION: _first(r"^version: (\S+)$", CITATION),
        CHANGES: _first(r"^## (\S+)", CHANGES),
    }
    if len(set(stated.values())) > 1:
        said = ", ".join(f"{path} has {number or 'none'}" for path, number in stated.items())
        raise UserError(f"The files do not agree on the version: {said}.")
    return stated["pyproject.toml"]


def _first(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def _commit() -> str:
    """The commit whose source a release holds."""
    state = git_state()
    if state["git"] is None or state["dirty"]:
        raise UserError("A release holds the source of a commit: commit your changes first, in a checkout with git.")
    return state["git"]


def _add_source(folder: Path, number: str, commit: str) -> None:
    """Write the source of a commit, and how to cite that, with its date."""
    archive = (folder / f"overpaint-{number}.tar.gz").absolute()
    try:
        git("archive", "--format=tar.gz", f"--prefix=overpaint-{number}/", f"--output={archive}", commit)
        day = git("show", "--no-patch", "--format=%cs", commit)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"git cannot write the source ({error}): see to that and run it again.") from error
    text = CITATION.read_text(encoding="utf-8")
    (folder / CITATION).write_text(f"{text}commit: {commit}\ndate-released: {day}\n", encoding="utf-8")


def release() -> str:
    """Make the release of this checkout; returns what is to be said of it."""
    number, commit = version(), _commit()
    folder = RELEASES / number
    if folder.exists():
        raise UserError(f"{folder} is there already: move it away, or raise the version.")
    studies = ["", *map(str, sorted(Path("studies").glob("*.yaml")))]
    results = finished(studies)
    if not results:
        raise UserError("None of the shipped studies is finished here: run one first, such as `make study`.")
    RELEASES.mkdir(exist_ok=True)
    with written(folder) as part:
        part.mkdir()
        _add_source(part, number, commit)
        names = write(part, {name_of(study): output for study, output in results.items()})
    told = ", ".join(map(name_of, results))
    return f"{len(names)} files in {folder}, of {len(results)} of {len(studies)} studies: {told}."


@program
def main() -> None:
    """`python -m overpaint.archive.release`, in the folder of the checkout."""
    print(release())


if __name__ == "__main__":
    sys.exit(main())
