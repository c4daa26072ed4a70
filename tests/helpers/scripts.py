"""A rule's script as Snakemake runs it."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards

from helpers.checkout import ROOT

SCRIPTS = ROOT / "workflow/scripts"


def named_inputs(inputs: dict[str, Path | list[Path]]) -> InputFiles:
    """Inputs by name, of which some are lists, as Snakemake hands them to a script."""
    found = InputFiles()
    for name, value in inputs.items():
        start = len(found)
        found.extend(map(str, value) if isinstance(value, list) else [str(value)])
        found._set_name(name, start, end=len(found) if isinstance(value, list) else None)
    return found


def run(rule: str, folder: Path, inputs: dict[str, Any], outputs: list[str], **params: Any) -> dict[str, Path]:
    """Run a rule's script; the outputs by name, `job` among them, all of which must be there."""
    places = {name: folder / name for name in outputs} | {"job": folder / f"{rule}.job.json"}
    fake = SimpleNamespace(
        rule=rule,
        threads=1,
        input=named_inputs(inputs),
        output=OutputFiles(fromdict={name: str(path) for name, path in places.items()}),
        log=Log(fromdict={"log": str(folder / f"{rule}.log")}),
        params=Params(fromdict=params),
        wildcards=Wildcards(fromdict={}),
    )
    runpy.run_path(str(SCRIPTS / f"{rule}.py"), init_globals={"snakemake": fake})
    assert all(path.exists() for path in places.values())
    facts = json.loads(places["job"].read_text(encoding="utf-8"))
    assert facts["rule"] == rule and set(facts["inputs"]) == set(fake.input)
    return places
