"""A finished study as a Provenance Run Crate, an RO-Crate of how each of its files was made.

https://www.researchobject.org/workflow-run-crate/profiles/0.5/provenance_run_crate/, from the job.json of each job. The
crate holds what a reader opens (tables, pages, figures), each job.json, the Snakefile and the scripts of the rules; all
else is named in it with its SHA-256.
"""

import hashlib
import json
import mimetypes
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overpaint.errors import UserError, program
from overpaint.jobs.bundle import Records, is_final, of_study, written
from overpaint.jobs.provenance import files_below, outputs_of, sha256

if TYPE_CHECKING:
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

VERSION = "1.1"  # of RO-Crate, on which the profiles stand
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # where `sha256` is one
DONE = "http://schema.org/CompletedActionStatus"
SNAKEFILE, SCRIPTS, RESULTS = Path("Snakefile"), Path("workflow/scripts"), Path("results")
LICENSE = "https://spdx.org/licenses/Apache-2.0"
DESCRIPTION = (
    "Tables, pages and figures of a study of how deep RMU unlearning goes, and how each file was made. Each action is "
    "one job of the workflow; its job.json has its settings, machine and packages. Files that are named, and not in "
    "this crate, have their SHA-256 as identifier, folders that of the lines `name SHA-256` of their files."
)


def write(output: Path, crate: Path) -> int:
    """Write the crate of the study whose results are in `output`, as a zip; returns the number of its jobs.

    Raises UserError where the study has not ended, or where a file is not what its job wrote.
    """
    if not SNAKEFILE.is_file():
        raise UserError(f"There is no {SNAKEFILE} here: write a crate in the folder of the checkout.")
    jobs = of_study(output)
    with written(crate) as part:
        _Crate(output, jobs).whole().write_zip(part)
    return len(jobs)


class _Crate:
    """The entities of one crate.

    made: {(name, hash): what a job wrote}; given: the same of what none did.
    tools, steps: {rule: its script, its place in the workflow}.
    """

    def __init__(self, output: Path, jobs: Records) -> None:
        try:
            from rocrate.rocrate import ROCrate  # only here: a study runs without it
        except ImportError as error:
            raise UserError("An RO-Crate needs the package rocrate: start it with `make crate`.") from error
        self.output, self.jobs, self.crate = output, jobs, ROCrate(version=VERSION)
        self.made: dict[tuple[str, str], Entity] = {}
        self.given: dict[tuple[str, str], Entity] = {}
        self.environments: dict[str, Entity] = {}
        rules = dict.fromkeys(job["rule"] for job in sorted(jobs.values(), key=lambda job: job["started"]))
        self.tools = {rule: self._tool(rule) for rule in rules}
        self.steps = {rule: self._step(rule, number) for number, rule in enumerate(rules)}

    def whole(self) -> "ROCrate":
        """The crate with all of them."""
        for job, record in self.jobs.items():
            self.made[str(job), sha256(job)] = self._held(job)
            for (name, digest), place in zip(
                record["outputs"].items(), outputs_of(job, record, self.output), strict=True
            ):
                self.made[name, digest] = self._written(name, place, digest)
        actions = [self._action(job, record) for job, record in self.jobs.items()]
        self._describe([self._run(self._workflow(), actions), *actions])
        return self.crate

    def _add(self, at: str, kind: str, **properties: Any) -> "Entity":
        """An entity that is no file."""
        from rocrate.model.contextentity import ContextEntity

        return self.crate.add(ContextEntity(self.crate, at, {"@type": kind} | _compact(properties)))

    def _held(self, path: Path) -> "Entity":
        """A file of the results that the crate holds."""
        place = RESULTS / path.relative_to(self.output)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        facts = {"name": str(place), "sha256": sha256(path), "contentSize": str(path.stat().st_size)}
        return self.crate.add_file(path, place, properties=facts | {"encodingFormat": kind})

    def _written(self, name: str, place: Path, digest: str) -> "Entity":
        """What a job wrote, held where a reader opens it."""
        if not is_final(place, self.output):
            return self._named(name, digest)
        if not place.is_dir():
            return self._held(place)
        folder = self.crate.add_dataset(dest_path=RESULTS / place.relative_to(self.output))
        folder["name"], folder["hasPart"] = place.name, [self._held(path) for path in files_below(place)]
        return folder

    def _named(self, name: str, digest: str) -> "Entity":
        """A file or folder that the crate does not hold."""
        return self._add(f"#{name}@{digest[:16]}", "CreativeWork", name=name, identifier=f"sha256:{digest}")

    def _tool(self, rule: str) -> "Entity":
        """The script of a rule, with the environments in which it ran."""
        ran = [record for record in self.jobs.values() if record["rule"] == rule]
        environments = {entity.id: entity for entity in map(self._environment, ran)}
        facts = {"name": rule, "version": _commits(ran), "softwareRequirements": list(environments.values())}
        script = SCRIPTS / f"{rule}.py"
        if not script.is_file():  # a rule of an earlier checkout
            return self._add(f"#tool/{rule}", "SoftwareApplication", **facts)
        kind = {"@type": ["File", "SoftwareSourceCode"], "encodingFormat": "text/x-python"}
        return self.crate.add_file(script, script, properties=kind | _compact(facts))

    def _environment(self, record: dict[str, Any]) -> "Entity":
        """Python and the packages with which a job ran."""
        python, packages = record["python"], record["packages"]
        digest = hashlib.sha256(json.dumps([python, packages], sort_keys=True).encode()).hexdigest()[:16]
        if digest not in self.environments:
            parts = [self._package(*found) for found in packages.items()]
            facts = {"name": f"Python with {len(parts)} packages", "version": python, "hasPart": parts}
            self.environments[digest] = self._add(f"#environment/{digest}", "CreativeWork", **facts)
        return self.environments[digest]

    def _package(self, name: str, version: str) -> "Entity":
        url = f"https://pypi.org/project/{name}/{version}/"
        return self._add(url, "SoftwareApplication", name=name, version=version, url=url)

    def _step(self, rule: str, number: int) -> "Entity":
        return self._add(f"#step/{rule}", "HowToStep", name=rule, position=str(number), workExample=self.tools[rule])

    def _workflow(self) -> "Entity":
        """The Snakefile, with its steps."""
        types = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
        kind = {"@type": types, "encodingFormat": "text/plain"}
        parts = {"hasPart": list(self.tools.values()), "step": list(self.steps.values())}
        facts = {"name": "overpaint", "version": _commits(self.jobs.values())} | parts
        return self.crate.add_workflow(SNAKEFILE, SNAKEFILE, main=True, lang="snakemake", properties=kind | facts)

    def _read(self, name: str, digest: str) -> "Entity":
        """What a job read."""
        if (name, digest) in self.made:
            return self.made[name, digest]
        return self.given.setdefault((name, digest), self._named(name, digest))

    def _action(self, job: Path, record: dict[str, Any]) -> "Entity":
        """One job."""
        facts = {
            "name": f"{record['rule']}: {job.relative_to(self.output)}",
            "description": f"Run at commit {_commits([record])}.",
            "instrument": self.tools[record["rule"]],
            "object": [self._read(*found) for found in record["inputs"].items()],
            "result": [self.made[found] for found in record["outputs"].items()],
            "subjectOf": self.made[str(job), sha256(job)],
            "startTime": record["started"],
            "endTime": _ended(record),
            "actionStatus": DONE,
        }
        return self._add(f"#job/{job.relative_to(self.output)}", "CreateAction", **facts)

    def _run(self, workflow: "Entity", actions: list["Entity"]) -> "Entity":
        """The run of the whole workflow, and which job was which of its steps."""
        facts = {
            "name": "The study",
            "description": f"All {len(actions)} jobs of the study.",
            "instrument": workflow,
            "object": list(self.given.values()),
            "result": [entity for entity in self.made.values() if not entity.id.startswith("#")],
            "startTime": min(action["startTime"] for action in actions),
            "endTime": max(action["endTime"] for action in actions),
            "actionStatus": DONE,
        }
        run = self._add("#run", "CreateAction", **facts)
        steps = [self.steps[record["rule"]] for record in self.jobs.values()]
        controls = [
            self._add(f"#control/{action.id[1:]}", "ControlAction", instrument=step, object=action)
            for action, step in zip(actions, steps, strict=True)
        ]
        # A job in an environment of its own has no Snakemake there.
        versions = {record["packages"].get("snakemake", "unknown") for record in self.jobs.values()}
        engine = self._package("snakemake", max(versions - {"unknown"}, default="unknown"))
        self._add("#orchestration", "OrganizeAction", instrument=engine, object=controls, result=run)
        return run

    def _describe(self, actions: list["Entity"]) -> None:
        """What the root of a crate must say."""
        crate, root = self.crate, self.crate.root_dataset
        crate.metadata.extra_contexts.append(TERMS)
        name = json.loads((self.output / "tables/config.json").read_text(encoding="utf-8"))["study"]["name"]
        crate.name, crate.description = f"overpaint: the study {name}", DESCRIPTION
        crate.datePublished = max(action["endTime"] for action in actions)
        crate.license = self._add(LICENSE, "CreativeWork", name="Apache License 2.0")
        root["conformsTo"] = [
            self._add(url, "CreativeWork", name=name, version=url.rpartition("/")[2]) for url, name in PROFILES.items()
        ]
        root["mentions"] = actions


def _compact(properties: dict[str, Any]) -> dict[str, Any]:
    """Lists of one as that one, none of none, as RO-Crate recommends."""
    single = {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in properties.items()
    }
    return {key: value for key, value in single.items() if value != []}


def _commits(records: Iterable[dict[str, Any]]) -> str:
    """The commits at which jobs ran."""
    found = {f"{job['git'] or 'unknown'}{' with changes' if job['dirty'] else ''}" for job in records}
    return ", ".join(sorted(found))


def _ended(record: dict[str, Any]) -> str:
    ended = datetime.fromisoformat(record["started"]) + timedelta(seconds=record["seconds"])
    return ended.isoformat(timespec="seconds")


@program
def main(output: str, crate: str) -> None:
    """`python -m overpaint.archive.crate FOLDER CRATE`."""
    print(f"{write(Path(output), Path(crate))} jobs in {crate} ({Path(crate).stat().st_size / 1e6:.1f} MB).")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
