"""Bundle what a study has made, to go on from it on another machine (standard library only).

A bundle is a tar of files, the job.json beside them, and Snakemake's record of each: with it Snakemake knows on the
other machine, as on this one, which parameters and inputs a file was made from, and runs again what differs there.
"""

import os
import shutil
import sys
import tarfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from overpaint.errors import UserError, program
from overpaint.jobs.job import part_folder, remove_leftovers
from overpaint.jobs.provenance import MARK, RECORD, check_ancestry, files_below, outputs_of, read_record, sha256
from overpaint.jobs.telling import counted
from overpaint.jobs.unpacking import hidden, metadata, unpack

Records = dict[Path, dict]
FINAL, LAST = ("tables", "reports", "figures"), "reports/index.html"  # what a reader opens


def pack(output: Path, bundle: Path, rules: list[str]) -> list[Path]:
    """Write what `rules` made below `output`, or all rules where none is named, and all that it was made from.

    Returns the outputs packed. A file that is not what its job wrote, or whose job.json is missing, is refused.
    """
    if ".." in output.parts:
        raise UserError(f"The names of a bundle have no `..`, as {output} has: give the study an absolute output.")
    records = read_records(output)
    known = {record["rule"] for record in records.values()}
    if unknown := set(rules) - known:
        raise UserError(
            f"No {', '.join(sorted(unknown))} has run in {output}: choose among {', '.join(sorted(known))}."
        )
    chosen = [path for path, record in records.items() if record["rule"] in (rules or known)]
    jobs = _with_upstream(output, records, chosen)
    for fault in faults(output, jobs, whole=not rules):
        raise UserError(fault)
    return _write(output, bundle, jobs)


def pack_final(output: Path, bundle: Path, without: Collection[str]) -> list[Path]:
    """Write the tables and pages of the study in `output` and all that they were made from, but by the rules `without`.

    Returns the outputs packed; what `of_study` refuses is refused.
    """
    jobs = of_study(output).items()
    return _write(output, bundle, {job: record for job, record in jobs if record["rule"] not in without})


def of_study(output: Path) -> Records:
    """The jobs of the one study that has ended in `output`, below which others may have their folders.

    A file that is not what its job wrote, or was made from another one than is there, is refused.
    """
    records = read_records(output)
    if not (output / LAST).exists():
        raise UserError(f"The study in {output} has not ended, for it has no {LAST}: run it first.")
    jobs = _with_upstream(output, records, [job for job in records if is_final(job, output)])
    for fault in (*faults(output, jobs, whole=False), *_stale(output, jobs)):
        raise UserError(fault)
    return jobs


def _write(output: Path, bundle: Path, jobs: Records) -> list[Path]:
    """Write the outputs of `jobs` and what is recorded of them; returns the outputs."""
    outputs = list(made_by(output, jobs))
    with written(bundle) as part, tarfile.open(part, "w", dereference=True) as tar:
        for path in counted([*outputs, *jobs], "packed"):
            marks = [path / MARK] if (path / MARK).exists() else []  # by which Snakemake knows how old a folder is
            for file in [*(files_below(path) if path.is_dir() else [path]), *marks, metadata(path)]:
                if file != metadata(path) or file.exists():
                    tar.add(file)
    return outputs


def verify(output: Path) -> list[Path]:
    """The outputs below a folder, each what its job wrote, made from what is there; all that is not is told.

    Every final table, page and figure must be one of them.
    """
    records = read_records(output)
    errors = [UserError(fault) for fault in dict.fromkeys([*faults(output, records), *_stale(output, records)])]
    for fault in errors[:-1]:
        print(fault, file=sys.stderr)
    if errors:
        raise errors[-1]
    return list(made_by(output, records))


def is_final(path: Path, output: Path) -> bool:
    """Whether a path below the folder of a study is what a reader opens: a table, a page or a figure."""
    return path.relative_to(output).parts[0] in FINAL


def _stale(output: Path, records: Records) -> Iterator[str]:
    """A sentence for each job that read another file than is there now, and for each final file that none wrote."""
    now = made_by(output, records) | {job: sha256(job) for job in records}
    for job, record in records.items():
        for name, digest in record["inputs"].items():
            if now.get(Path(name), digest) != digest:
                yield f"{job} is of what {record['rule']} made from another {name} than is there: run the study again."
    for path in _below(output):
        final = path.is_file() and is_final(path, output) and not hidden(path.relative_to(output))
        if final and now.keys().isdisjoint({path, *path.parents}):
            yield _unnamed(path)


def faults(output: Path, records: Records, whole: bool = True) -> Iterator[str]:
    """A sentence for each output that is missing, is not what its job wrote, or that no job.json names.

    whole: whether `records` are all of the folder, so that also what no other job reads needs to be named.
    """
    made = set(records)
    for job, record in counted(records.items(), "jobs verified"):
        outputs = outputs_of(job, record, output)
        made |= set(outputs)
        for path, digest in outputs.items():
            if not path.exists():
                yield f"{path} is missing, which {record['rule']} wrote: run the study again."
            elif sha256(path) != digest:
                yield f"{path} is not what {record['rule']} wrote: delete it and run the study, or copy it, again."
        try:
            check_ancestry({str(path): digest for path, digest in outputs.items()})
        except UserError as error:
            yield str(error)
    named = {Path(name) for record in records.values() for name in record["inputs"]}
    there = [path for path in named if path.is_relative_to(output) and path.exists()]
    there += [path for path in _below(output) if whole and metadata(path).exists()]
    for path in sorted({*there} - made):
        yield _unnamed(path)


def _unnamed(path: Path) -> str:
    return f"No job.json says how {path} was made: delete it and run the study again."


def made_by(output: Path, records: Records) -> dict[Path, str]:
    """{output: hash} of all jobs together."""
    return {path: digest for job, own in records.items() for path, digest in outputs_of(job, own, output).items()}


def read_records(output: Path) -> Records:
    """Every job.json below a folder, but those that a job is just writing."""
    paths = (path for path in _below(output) if path.name.endswith(RECORD))
    records = {path: read_record(path) for path in paths if not hidden(path.relative_to(output))}
    if not records:
        raise UserError(f"There are no results in {output}: run the study first, or name another folder.")
    return records


def _below(output: Path) -> list[Path]:
    """Every file and folder below one, also where a link leads to another disk."""
    return sorted(
        Path(root, name) for root, *names in os.walk(output, followlinks=True) for group in names for name in group
    )


def _with_upstream(output: Path, records: Records, jobs: Iterable[Path]) -> Records:
    """Those jobs and every job that they depend on, at any remove."""
    maker = {str(made): path for path in records for made in [*outputs_of(path, records[path], output), path]}
    needed, waiting = set(), list(jobs)
    while waiting:
        job = waiting.pop()
        if job not in needed:
            needed.add(job)
            waiting += [maker[name] for name in records[job]["inputs"] if name in maker]
    return {job: records[job] for job in sorted(needed)}


@contextmanager
def written(bundle: Path) -> Iterator[Path]:
    """A file to write to, which takes the place of `bundle` at the end."""
    if not bundle.name:
        raise UserError("BUNDLE or CRATE is empty: name the file to write, such as bundle.tar.")
    part = part_folder(bundle)
    try:
        remove_leftovers(bundle)
        part.mkdir()
        yield part / bundle.name
        (part / bundle.name).replace(bundle)
    except OSError as error:
        raise UserError(f"{bundle} cannot be written ({error}): free some room or name another file.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@program
def main(*arguments: str) -> None:
    """`pack FOLDER BUNDLE [RULE ...]`, `unpack BUNDLE [FOLDER]` or `verify FOLDER`."""
    match arguments:
        case ["pack", output, bundle, *rules]:
            outputs = pack(Path(output), Path(bundle), rules)
            print(f"{len(outputs)} outputs in {bundle} ({Path(bundle).stat().st_size / 1e6:.1f} MB).")
        case ["unpack", bundle, *folder] if len(folder) < 2:
            print(f"{len(unpack(Path(bundle), *map(Path, folder)))} outputs unpacked, each as its job wrote it.")
        case ["verify", output]:
            outputs = verify(Path(output))
            final = sum(is_final(path, Path(output)) for path in outputs)
            print(f"{len(outputs)} outputs in {output}, {final} of them final, each as its job wrote it.")
        case _:
            raise UserError(f"usage: python -m overpaint.jobs.bundle {main.__doc__}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
