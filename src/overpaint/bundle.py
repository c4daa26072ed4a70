"""Bundle what a study has made, to go on from it on another machine (standard library only).

A bundle is a tar of files, the job.json beside them, and Snakemake's record of each: with it Snakemake knows on the
other machine, as on this one, which parameters and inputs a file was made from, and runs again what differs there.
"""

import shutil
import sys
import tarfile
from base64 import urlsafe_b64encode
from pathlib import Path

from overpaint.errors import UserError
from overpaint.provenance import RECORD, read_record, sha256

METADATA = Path(".snakemake/metadata")
LONGEST_NAME = 254  # of a file of metadata; Snakemake cuts longer ones into folders


def pack(output: Path, bundle: Path, rules: list[str]) -> list[Path]:
    """Write what `rules` made below `output`, or all rules where none is named, and all that it was made from.

    Returns the outputs packed. A file that is not what its job wrote is refused.
    """
    records = {path: read_record(path) for path in sorted(output.rglob(f"*{RECORD}"))}
    if not records:
        raise UserError(f"There are no results in {output}: run the study first, or name another folder.")
    known = {record["rule"] for record in records.values()}
    if unknown := set(rules) - known:
        raise UserError(
            f"No {', '.join(sorted(unknown))} has run in {output}: choose among {', '.join(sorted(known))}."
        )
    jobs = _with_upstream(records, [path for path, record in records.items() if record["rule"] in (rules or known)])
    part = bundle.with_name(f".{bundle.name}-part")
    outputs = []
    try:
        with tarfile.open(part, "w", dereference=True) as tar:
            for job in jobs:
                made = _verified(job, records[job], Path())
                outputs += made
                for path in [*made, job, *(record for path in [*made, job] if (record := metadata(path)).exists())]:
                    tar.add(path)
        part.replace(bundle)
    finally:
        part.unlink(missing_ok=True)
    return outputs


def unpack(bundle: Path) -> list[Path]:
    """Put the files of a bundle into this folder, once each of them was found to be what its job.json says.

    A file that is here already may be the same one; another one is refused, and nothing is put here then.
    """
    if not bundle.is_file():
        raise UserError(f"There is no file {bundle}: name one that `make pack` wrote.")
    part = Path(f".{bundle.name}-part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tarfile.open(bundle) as tar:
            tar.extractall(part, filter="data")
        outputs = []
        for job in sorted(part.rglob(f"*{RECORD}")):
            outputs += _verified(job, read_record(job), part)
        if not outputs:
            raise UserError(f"{bundle} holds no results: name a file that `make pack` wrote.")
        for path in outputs:
            here = path.relative_to(part)
            if here.exists() and sha256(here) != sha256(path):
                raise UserError(f"{here} is here already and differs from the one in {bundle}: move it away first.")
        for here in (path.relative_to(part) for path in outputs):
            if here.is_dir():
                shutil.rmtree(here)
        for path in sorted(path for path in part.rglob("*") if path.is_file()):
            here = path.relative_to(part)
            here.parent.mkdir(parents=True, exist_ok=True)
            path.replace(here)
        return [path.relative_to(part) for path in outputs]
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{bundle} cannot be read ({error}): copy it again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def metadata(path: Path) -> Path:
    """Where Snakemake keeps its record of an output."""
    name = urlsafe_b64encode(str(path).encode()).decode()
    parts = [name[start : start + LONGEST_NAME] for start in range(0, len(name), LONGEST_NAME)]
    return METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def _with_upstream(records: dict[Path, dict], jobs: list[Path]) -> list[Path]:
    """Those jobs and every job that they depend on, at any remove."""
    maker = {str(made): path for path in records for made in [*_outputs(path, records[path], Path()), path]}
    found, waiting = set(), list(jobs)
    while waiting:
        job = waiting.pop()
        if job not in found:
            found.add(job)
            waiting += [maker[name] for name in records[job]["inputs"] if name in maker]
    return sorted(found)


def _outputs(job: Path, record: dict, root: Path) -> list[Path]:
    """The outputs of a job: beside its job.json, wherever that was moved to, or below `root` where it wrote them."""
    beside = {name: job.with_name(Path(name).name) for name in record["outputs"]}
    return [path if path.exists() else root / name for name, path in beside.items()]


def _verified(job: Path, record: dict, root: Path) -> list[Path]:
    """The outputs of a job, each of which must be what the job wrote."""
    outputs = _outputs(job, record, root)
    for path, digest in zip(outputs, record["outputs"].values(), strict=True):
        if not path.exists():
            raise UserError(f"{path} is missing, which {record['rule']} wrote: run the study again before you pack it.")
        if sha256(path) != digest:
            raise UserError(
                f"{path} is not what {record['rule']} wrote: delete it and run the study, or copy it, again."
            )
    return outputs


def main(arguments: list[str]) -> int:
    """`pack FOLDER BUNDLE [RULE ...]` or `unpack BUNDLE`."""
    try:
        match arguments:
            case ["pack", output, bundle, *rules]:
                outputs = pack(Path(output), Path(bundle), rules)
                print(f"{len(outputs)} outputs in {bundle} ({Path(bundle).stat().st_size / 1e6:.1f} MB).")
            case ["unpack", bundle]:
                print(f"{len(unpack(Path(bundle)))} outputs unpacked, each as its job wrote it.")
            case _:
                raise UserError(f"usage: python -m overpaint.bundle {main.__doc__}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
