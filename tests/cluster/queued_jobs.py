"""What jobs that went through the queue say of themselves."""

import json
import re
from collections import defaultdict
from pathlib import Path

from helpers.checkout import OUT


def jobs_of(folder: Path) -> dict[str, list[str]]:
    """{rule: ids of the cluster jobs in which it ran}, one a job of the rule."""
    found = defaultdict(list)
    for path in sorted((folder / OUT).rglob("*.job.json")):
        fact = json.loads(path.read_text())
        found[fact["rule"]].append(fact["cluster_job"])
    return dict(found)


def limits(job: dict[str, str]) -> tuple[int, int]:
    """MB and minutes that a job that has ended was given."""
    return int(re.search(r"mem=(\d+)M", job["Tres"])[1]), int(job["TimeLimit"])
