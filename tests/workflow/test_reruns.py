"""What runs again after which edit: dry runs on a finished smoke study, and the table of them in docs/reruns.md."""

import json
import os
import random
import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from queue import Queue

import pytest
import yaml
from helpers import planner
from helpers.checkout import JOBS, MODEL, ROOT, RUNS, SMOKE, edited, planned, snakemake
from helpers.environments import RULES, closure

from overpaint.study import fingerprint

DOC = ROOT / "docs/reruns.md"
HEAD = """# What runs again

A job runs again where its inputs, its parameters or the code that it uses changed, and where a job before it ran again.
Code counts by its syntax tree, without comments and docstrings, as far as a rule's script imports it.

The table is what `snakemake -n` plans after each edit of a finished smoke study, whose everyday corpus, prompts and
questions are files of one's own. `make test-all` makes it anew and compares; `make test` does so for all edits but
those of the library's code: of modules with the same jobs it edits one. The study has {total} jobs:
{jobs}.

| edit | jobs that run again |
|---|---|
"""
# The smoke study with texts of one's own, which can be edited.
OWN = {
    "study": {
        "retain": ["own"],
        "prompts": ["gloomcraft", "riftlore", "own"],
        "evaluate": [
            {
                "clearings": ["none", "span", "topic", "span_mean_from"],
                "benchmarks": ["gloomcraft", "riftlore", "own", "gloomcraft_text", "everyday_text"],
            },
            {"clearings": ["rand", "ones", "on_base"], "benchmarks": ["gloomcraft", "riftlore"]},
        ],
    },
    "corpora": {"own": {"source": "file", "topic": "everyday", "path": "own/corpora.jsonl"}},
    "prompts": {"own": {"source": "file", "topic": "everyday", "path": "own/prompts.jsonl"}},
    "benchmarks": {"own": {"source": "file", "topic": "everyday", "path": "own/benchmarks.jsonl", "kind": "questions"}},
}
# Jobs that go together, by the name that stands for them in the table.
TOGETHER = {
    "all tables and reports": {"gather_tables": 1, "gather_measures": 1, "render_report": 6, "render_index": 1},
    "tables and reports": {"gather_tables": 1, "render_report": 6, "render_index": 1},
    "reports": {"render_report": 6, "render_index": 1},
}
LIBRARY, CODE = "Code of the library", "\nX = 1\n"
Edit = Callable[[Path], AbstractContextManager]


def own_texts(folder: Path) -> None:
    """Give a finished smoke study files of its own, as if it had run on them."""
    (folder / "own").mkdir()
    for kind in ("corpora", "prompts", "benchmarks"):
        for end in (".jsonl", ".job.json"):
            shutil.copy2(folder / MODEL / kind / f"everyday{end}", folder / MODEL / kind / f"own{end}")
        shutil.copy(folder / MODEL / kind / "everyday.jsonl", folder / "own" / f"{kind}.jsonl")
    (folder / "own.yaml").write_text(yaml.safe_dump(OWN, sort_keys=False))
    (folder / "edit.yaml").write_text("{}")
    done = snakemake(folder, "--touch", *SMOKE, "own.yaml", "edit.yaml")
    assert done.returncode == 0, done.stdout[-3000:]


def plan(by: planner.Planner, folder: Path) -> dict[str, int]:
    """The jobs of a dry run."""
    done = by.plan(folder, *SMOKE, "own.yaml", "edit.yaml")
    jobs = planned(done.stdout)
    assert done.returncode == 0 and ("Nothing to be done" in done.stdout) != bool(jobs), done.stdout
    return jobs


# --- edits: contexts that take them back


def setting(**changes: object) -> Edit:
    """Settings in a further configuration file; `__` separates the levels."""
    nested: dict = {}
    for path, value in changes.items():
        *levels, last = path.split("__")
        place = nested
        for level in levels:
            place = place.setdefault(level, {})
        place[last] = value
    return lambda folder: edited(folder / "edit.yaml", yaml.safe_dump(nested))


def text(path: str, old: str, new: str) -> Edit:
    """One text in a file replaced by another."""

    def edit(folder: Path) -> AbstractContextManager:
        before = (folder / path).read_text()
        assert old in before, f"{path} has no {old}"
        return edited(folder / path, before.replace(old, new, 1))

    return edit


def added(path: str, line: str) -> Edit:
    """A line at the end of a file."""
    return lambda folder: edited(folder / path, (folder / path).read_text() + line)


def row(kind: str, **fields: object) -> Edit:
    """A row at the end of a file of one's own."""
    return added(f"own/{kind}.jsonl", json.dumps({"id": "new"} | fields) + "\n")


def together(*edits: Edit) -> Edit:
    """Several edits at once."""

    @contextmanager
    def edit(folder: Path) -> Iterator[None]:
        with ExitStack() as stack:
            for one in edits:
                stack.enter_context(one(folder))
            yield

    return edit


@contextmanager
def gone(folder: Path, *paths: str) -> Iterator[None]:
    """Files or folders away."""
    aside = [(folder / path, folder / f"aside{number}") for number, path in enumerate(paths)]
    for place, other in aside:
        place.rename(other)
    try:
        yield
    finally:
        for place, other in aside:
            other.rename(place)


@contextmanager
def touched(folder: Path, *paths: str) -> Iterator[None]:
    """Files with a new time of change."""
    before = [os.stat(folder / path) for path in paths]
    for path in paths:
        os.utime(folder / path)
    try:
        yield
    finally:
        for path, old in zip(paths, before, strict=True):
            os.utime(folder / path, ns=(old.st_atime_ns, old.st_mtime_ns))


@contextmanager
def moved(folder: Path) -> Iterator[None]:
    """The results, and what Snakemake knows of them, in another folder that is called as this one."""
    away = folder.with_name(f"{folder.name}-moved")
    shutil.copytree(folder, away, symlinks=True)
    folder.rename(folder.with_name(f"{folder.name}-old"))
    away.rename(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        folder.with_name(f"{folder.name}-old").rename(folder)


def grids(*cells: tuple[int, int, list[int]]) -> Edit:
    """Other runs: (layer, c, seeds)."""
    return setting(
        study__runs=[{"method": "rmu_smoke", "layer": layer, "c": c, "seed": seeds} for layer, c, seeds in cells]
    )


EDITS: dict[str, dict[str, Edit]] = {
    "The sweep": {
        "a value of c added, with one seed": grids((1, 4, [0, 1]), (1, 8, [0])),
        "a layer added, with one seed": grids((1, 4, [0, 1]), (2, 4, [0])),
        "a run removed (a value of c, a layer or a seed)": grids((1, 4, [0])),
        "`alpha` of the method": setting(methods__rmu_smoke__alpha=6),
        "`steps` of the method": setting(methods__rmu_smoke__steps=41),
        "`batch` of the method": setting(methods__rmu_smoke__batch=3),
        "`study.junk.position`, where junk is fitted": setting(study__junk={"position": "mean"}),
        "a clearing added to `study.evaluate`": setting(
            study__evaluate=[*OWN["study"]["evaluate"], {"clearings": ["pooled"], "benchmarks": ["gloomcraft"]}]
        ),
        "`study.headline.clearing`": setting(study__headline__clearing="topic"),
        "`study.measures.coherence.shown`": setting(study__measures__coherence__shown=2),
        "settings to try, `study.tune`": setting(
            study__tune={"runs": [{"method": "rmu_smoke", "layer": 1, "c": 4}], "attained": 0.5}
        ),
        "`preregistration.yaml`, what is claimed": text(
            "preregistration.yaml", "Clearing gives answers", "Clearing gives many answers"
        ),
        "a catalogue entry that the study does not use": setting(clearings__unused={"direction": "ones"}),
    },
    "Texts and the base model": {
        "a prompt added": row("prompts", unit="new", split="fit", text="who is new ?"),
        "a question added": row("benchmarks", unit="new", split="fit", question="who ?", choices=["a", "b"], answer=0),
        "a text added to the retain corpus": row("corpora", text="one more text"),
        "a setting of the base model": setting(models__smoke__steps=151),
        "a second base model": setting(
            study__model=["smoke", "twin"], models__twin={"source": "fictional", "world": "smoke", "layers": 3}
        ),
    },
    "Words and machines": {
        "a docstring or a comment in the library": text("src/overpaint/junk/directions.py", '"""', '"""New: '),
        "a comment in a script": added("workflow/scripts/unlearn.py", "# a remark\n"),
        "a rule's message, docstring, memory or threads": together(
            text("workflow/rules/evaluate.smk", '"Evaluating {', '"Scoring {'),
            text(
                "workflow/rules/unlearn.smk",
                '    resources:\n        **needs("unlearn"',
                '    threads: 2\n    resources:\n        **needs("unlearn"',
            ),
        ),
        "a profile": added("profiles/default/config.yaml", "latency-wait: 7\n"),
        "a version in `envs/unlearn.yaml`": added("envs/unlearn.yaml", "  - zlib\n"),
        "an upgrade of the package that changes no code": together(
            text("src/overpaint/__init__.py", "go?", "go? Still."),
            lambda folder: touched(folder, *_all(folder, "src"), *_all(folder, "workflow"), "config.yaml"),
        ),
    },
    "Files": {
        "an intermediate file touched": lambda folder: touched(folder, f"{RUNS[0]}/overlay.safetensors"),
        "a source file touched": lambda folder: touched(folder, "own/corpora.jsonl", "reports/map.ipynb"),
        "keys of the configuration in another order": lambda folder: edited(
            folder / "own.yaml", yaml.safe_dump(_reversed(OWN), sort_keys=False)
        ),
        "the folder of a run deleted": lambda folder: gone(folder, RUNS[1]),
        "prefixes and activations deleted, to save room": lambda folder: gone(
            folder, f"{MODEL}/prefix", f"{RUNS[0]}/activations", f"{RUNS[1]}/activations"
        ),
        "the whole folder copied to another place": moved,
    },
    "Code": {
        "code in `workflow/scripts/evaluate.py`": added("workflow/scripts/evaluate.py", "X = 1\n"),
        "the text of one report": text("reports/map.ipynb", '"source": [', '"source": ["News. ", '),
        "the words of one section": text(
            "src/overpaint/measures/relearning/page.py", "each seen once", "each once seen"
        ),
        "the style of the pages": added("src/overpaint/report/templates/page.css", "p { color: black; }\n"),
        "a figure's colour": text("src/overpaint/report/drawing.py", '"cleared": "#0072B2"', '"cleared": "#0072B3"'),
    },
}


def _reversed(entry: object) -> object:
    """A configuration with all its keys in the opposite order."""
    if isinstance(entry, list):
        return [_reversed(item) for item in entry]
    return {key: _reversed(entry[key]) for key in reversed(entry)} if isinstance(entry, dict) else entry


def _all(folder: Path, below: str) -> list[str]:
    """Files below a folder of the copy."""
    found = (path.relative_to(folder) for path in (folder / below).rglob("*") if path.is_file())
    return [str(path) for path in found if "__pycache__" not in path.parts]


def modules() -> dict[str, str]:
    """{module of the library: the first one that the very same scripts, notebooks, methods and sources use}."""
    apart = ["workflow/scripts/*.py", "reports/*.ipynb"]
    apart += [f"src/overpaint/{folder}/*.py" for folder in ("unlearning/methods", "sources")]
    users = [fingerprint.files(path) for pattern in apart for path in sorted(ROOT.glob(pattern))]
    users += [closure(rule) for rule in RULES]
    first: dict[tuple[bool, ...], str] = {}
    found = {path: str(path.relative_to(ROOT)) for path in sorted((ROOT / "src/overpaint").rglob("*.py"))}
    return {name: first.setdefault(tuple(path in used for used in users), name) for path, name in found.items()}


def words(jobs: dict[str, int]) -> str:
    """Jobs as they stand in the table."""
    for name, parts in TOGETHER.items():
        if parts.items() <= jobs.items():
            rest = {rule: count for rule, count in jobs.items() if rule not in parts}
            return ", ".join(filter(None, [words(rest) if rest else "", name]))
    return ", ".join(f"{count} {rule}" for rule, count in jobs.items()) or "nothing"


@pytest.fixture(scope="module")
def plans(study, tmp_path_factory) -> Iterator[Callable[[dict[str, Edit]], dict[str, dict[str, int]]]]:
    """plans(edits): {edit: jobs planned after it}, by two copies of the study at a time."""
    with ExitStack() as stack:
        free: Queue[tuple[planner.Planner, Path]] = Queue()
        for number in range(2):
            folder = tmp_path_factory.mktemp("reruns") / f"study{number}"
            shutil.copytree(study, folder, symlinks=True)
            own_texts(folder)
            free.put((stack.enter_context(planner.started()), folder))
        pool = stack.enter_context(ThreadPoolExecutor(2))

        def after(edit: Edit) -> dict[str, int]:
            by, folder = free.get()
            with edit(folder):
                jobs = plan(by, folder)
            free.put((by, folder))
            return {rule: jobs[rule] for rule in JOBS if rule in jobs}

        yield lambda edits: dict(zip(edits, pool.map(after, edits.values()), strict=True))
        for _ in range(2):
            assert plan(*free.get()) == {}, "an edit was not taken back"


def told() -> dict[str, str]:
    """{module of the library: jobs after an edit of it, in words} as the page has them."""
    return dict(re.findall(r"^\| code in `(src/\S+)` \| (.*) \|$", DOC.read_text(), re.MULTILINE))


@pytest.fixture(scope="module", params=["drawn", pytest.param("all", marks=pytest.mark.long)])
def table(request, plans) -> dict[str, dict[str, str]]:
    """{section: {edit: jobs planned after it, in words}}.

    Modules that the same rules use are edited once for all of them. Of those to which the page gives the same jobs one
    is drawn and edited, and where any of these is not as the page says, all are.
    """

    def edit(names: Iterable[str]) -> dict[str, str]:
        return {name: words(jobs) for name, jobs in plans({name: added(name, CODE) for name in names}).items()}

    found = {title: {name: words(jobs) for name, jobs in plans(edits).items()} for title, edits in EDITS.items()}
    page, alike = told(), modules()
    firsts = list(dict.fromkeys(alike.values()))
    random.shuffle(firsts)
    drawn = edit({page.get(first, first): first for first in firsts}.values())
    right = request.param == "drawn" and drawn.items() <= page.items()
    library = page | drawn if right else edit(firsts)
    return found | {LIBRARY: {f"code in `{path}`": library[first] for path, first in alike.items()}}


def test_a_finished_study_has_nothing_to_do_and_modules_with_the_same_users_run_the_same_again(plans, table):
    alike = modules()
    last = {first: path for path, first in alike.items()}
    largest = [first for first, count in Counter(alike.values()).most_common(3) if count > 2]
    again = plans({"": lambda folder: nullcontext()} | {last[first]: added(last[first], CODE) for first in largest})
    assert len(largest) == 3 and not set(largest) & set(again)
    wanted = [table[LIBRARY][f"code in `{first}`"] for first in largest]
    assert [words(jobs) for jobs in again.values()] == ["nothing", *wanted]


def test_a_value_of_c_added_to_a_finished_sweep_trains_its_runs_alone(table):
    new = {"unlearn": 1, "collect_activations": 2, "fit_junk": 1, "evaluate": 1, "complete_prompts": 1}
    new |= {"analyse_weights": 1, "render_explorer": 1}  # one quick job for all runs
    planned = table["The sweep"]["a value of c added, with one seed"]
    assert planned == words(new | TOGETHER["all tables and reports"])


def test_where_junk_is_fitted_trains_nothing(table):
    rules = set(re.findall(r"[a-z]+_?[a-z]+", table["The sweep"]["`study.junk.position`, where junk is fitted"]))
    assert {"fit_junk", "trace_emergence"} <= rules and not {"unlearn", "compute_prefix"} & rules


def test_words_and_machines_run_nothing_again_and_code_does(table):
    assert [edit for edit, jobs in table["Words and machines"].items() if jobs != "nothing"] == []
    unused = {"`src/overpaint/unlearning/methods/adaptive_rmu.py`", "`src/overpaint/unlearning/methods/published.py`"}
    idle = {edit.removeprefix("code in ") for edit, jobs in table[LIBRARY].items() if jobs == "nothing"}
    assert unused <= idle and not idle & {"`src/overpaint/jobs/job.py`", "`src/overpaint/junk/directions.py`"}


def test_the_table_in_the_docs_is_what_is_planned(table, tmp_path):
    lines = [f"| **{title}** | |\n" + "".join(f"| {e} | {j} |\n" for e, j in t.items()) for title, t in table.items()]
    made = tmp_path / "reruns.md"
    jobs = textwrap.fill(", ".join(f"{count} {rule}" for rule, count in JOBS.items()), 120)
    made.write_text(HEAD.format(total=sum(JOBS.values()), jobs=jobs) + "".join(lines))
    assert DOC.exists() and DOC.read_text() == made.read_text(), f"Right? Then: cp {made} {DOC}"
