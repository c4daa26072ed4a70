"""What is added in the files that docs/extending.md names is used without a change anywhere else.

In one copy of the checkout: a direction, a method, a source of texts, a measure and a page.
"""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.checkout import MODEL, OUT, SMOKE, copy_checkout, snakemake

from overpaint.sources import texts, world

DIRECTION = '''

@direction()
def first(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The direction of the first topic alone."""
    return [({}, orthonormal(next(iter(junk.topics.values()))[None]))]
'''
METHOD = '''"""Scales the down projection of the run's layer."""

from overpaint.models.overlay import Overlay, base_fingerprint
from overpaint.models.parts import parameter_names, trained_parameters

NEEDS = ()
GIVES_U = False


def unlearn(model, task):
    """The layer's down projection times `factor`."""
    parameters = trained_parameters(model, task.settings["layer"], [0], ["mlp"])
    names = parameter_names(model, parameters)
    base = base_fingerprint(model, names)
    scaled = [parameter.detach() * task.settings["factor"] for parameter in parameters]
    return Overlay(dict(zip(names, scaled, strict=True)), settings=task.settings, base=base), []
'''
SOURCE = '''"""A source of texts: a file, from its end."""

from overpaint.sources.texts import read_rows

TAKES = "path"
SAME = {"path": "one file"}


def rows(kind, settings, path):
    """The rows of the file in reverse order."""
    return read_rows(path, kind, settings)[::-1]
'''
MEASURE = {
    "__init__.py": '''"""How long the prompts are."""

FILE, JOB = "length.parquet", "length"


def runs(study):
    """The base alone."""
    return ["base"]
''',
    "measure.py": '''"""Lengths of prompts."""


def measure(tokenizer, prompts):
    """Rows {topic, unit, value}: tokens of each prompt (topic, row)."""
    return [{"topic": t, "unit": row["unit"], "value": len(tokenizer(row["text"])["input_ids"])} for t, row in prompts]
''',
    "table.py": '''"""The table of lengths."""

from overpaint.tables.ratios import ratios

KEYS = []


def table(frames, study):
    """Mean tokens of a prompt."""
    return ratios(frames, study, KEYS, {"": ("value", "rows")}, KEYS)
''',
    "page.py": '''"""Lengths, on a page."""

from overpaint.report import markup
from overpaint.report.section import section


@section
def show(view):
    """The table of lengths."""
    return markup.table(view.length[["topic", "value", "n"]], "lengths")
''',
}
RULE = '''

rule measure_length:
    """Count the tokens of prompts."""
    input:
        model=base_model,
        prompts=texts("prompts", SETTINGS["prompts"]),
    output:
        length="<out>/{model}/{run}/length.parquet",
        job="<out>/{model}/{run}/length.job.json",
    log:
        "logs/<out>/{model}/{run}/measure_length.log",
    conda:
        "../../envs/measure_depth.yaml"
    resources:
        **needs("measure_length"),
    params:
        topics=STUDY.prompt_topics,
        code=code("measure_length.py"),
    script:
        "../scripts/measure_length.py"
'''
SCRIPT = '''"""Count the tokens of prompts."""

from pathlib import Path

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.length.measure import measure
from overpaint.models.load import load_tokenizer
from overpaint.sources.texts import read_rows

with job(snakemake) as out:
    files = zip(snakemake.params.topics.values(), snakemake.input.prompts, strict=True)
    prompts = [(topic, row) for topic, path in files for row in read_rows(Path(path), "prompts")]
    pd.DataFrame(measure(load_tokenizer(snakemake.input.model), prompts)).to_parquet(out.length)
'''
CELLS = [
    'tables = ""\nprimary = ""\nstudy = ""',
    "from overpaint.measures.length import page\nfrom overpaint.report import view\n\n"
    "views = view.load(tables, primary, study)",
    "page.show(views)",
]


def notebook() -> str:
    """A page of the report that shows the measure."""
    cells = [
        {"cell_type": "code", "id": f"mine-{n}", "metadata": {"tags": ["parameters"]} if n == 0 else {}}
        | {"execution_count": None, "outputs": [], "source": source}
        for n, source in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first of a text."""
    text = path.read_text(encoding="utf-8")
    assert old in text, path
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy with an addition of each kind, in which a small study has run through all of them."""
    folder = copy_checkout(tmp_path_factory.mktemp("extended") / "checkout")
    package, schema = folder / "src/overpaint", folder / "workflow/schemas/config.schema.yaml"
    append(package / "junk/clearing.py", DIRECTION)
    (package / "unlearning/methods/scaled.py").write_text(METHOD)
    published = "        - additionalProperties: false\n          required: [kind, model]\n"
    keys = "kind: {const: scaled, description: Scales.}, factor: {type: number, description: By what.}"
    scaled = f"        - {{additionalProperties: false, required: [kind, factor], properties: {{{keys}}}}}\n"
    edit(schema, published, scaled + published)
    (package / "sources/reversed.py").write_text(SOURCE)
    for known in ("[fictional, wikipedia, dataset, file, harness]", "[fictional, wikipedia, dataset, file]"):
        edit(schema, known, f"{known[:-1]}, reversed]")
    task = "      - required: [task, dataset]\n"
    keys = 'source: {const: reversed}, path: {$ref: "#/$defs/path"}'
    edit(schema, task, f"      - {{required: [path], properties: {{{keys}}}}}\n{task}")
    (package / "measures/length").mkdir()
    for name, text in MEASURE.items():
        (package / "measures/length" / name).write_text(text)
    append(folder / "workflow/rules/measures.smk", RULE)
    (folder / "workflow/scripts/measure_length.py").write_text(SCRIPT)
    (folder / "reports/mine.ipynb").write_text(notebook())
    edit(package / "report/__init__.py", '"provenance")', '"provenance", "mine")')
    rows = world.question_rows(world.generate(entities=8, values=8), ["rivers"])
    texts.write_rows(rows, folder / "own.jsonl")
    mine = {
        "study": {
            "name": "mine", "output": OUT,
            "runs": [{"method": m, "layer": 1, "c": c, "seed": 0} for m, c in (("rmu_smoke", 4), ("scaled", 1))],
            "evaluate": [
                {"clearings": ["none", "span", "first"], "benchmarks": ["gloomcraft", "riftlore", "own"]},
                {"clearings": ["rand"], "benchmarks": ["gloomcraft", "riftlore"]},
            ],
            "measures": {name: {"runs": []} for name in ("depth", "relearning", "perturbations", "uds", "emergence")},
        },
        "methods": {"scaled": {"kind": "scaled", "factor": 0.0}},
        "clearings": {"first": {"direction": "first"}},
        "benchmarks": {"own": {"source": "reversed", "path": "own.jsonl", "topic": "everyday", "kind": "questions"}},
    }  # fmt: skip
    (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    done = snakemake(folder, *(f"{OUT}/reports/{page}.html" for page in ("mine", "index")), *SMOKE, "mine.yaml")
    assert done.returncode == 0, done.stdout
    return folder


def test_a_method_is_a_file_and_its_settings(extended):
    scores = pd.read_parquet(extended / OUT / "tables/scores.parquet")
    known = scores[(scores.method == "scaled") & (scores.metric == "accuracy")]
    assert set(known.clearing) == {"none", "span", "first", "rand"} and known.value.notna().all()


def test_a_direction_is_a_function(extended):
    answers = pd.read_parquet(extended / MODEL / "rmu_smoke/layer=1/c=4/seed=0/answers.parquet")
    nll = answers[answers.benchmark == "gloomcraft"].groupby("clearing").nll.mean()
    assert len({*nll[["none", "span", "first"]].round(6)}) == 3, "another direction than the span"


def test_a_source_is_a_file_and_its_keys(extended):
    rows = texts.read_rows(extended / MODEL / "benchmarks/own.jsonl", "questions")
    assert rows == texts.read_rows(extended / "own.jsonl", "questions")[::-1]


def test_a_measure_is_a_folder_a_rule_and_a_script_and_is_shown_on_a_page_of_ones_own(extended):
    lengths = pd.read_parquet(extended / OUT / "tables/length.parquet")
    prompts = [row["text"] for row in texts.read_rows(extended / MODEL / "prompts/gloomcraft.jsonl", "prompts")]
    [value] = lengths[lengths.topic == "gloomcraft"].value
    assert value == pytest.approx(sum(len(text.split()) for text in prompts) / len(prompts))
    page = (extended / OUT / "reports/mine.html").read_text(encoding="utf-8")
    assert "<table" in page and f"{value:g}" in page
    assert 'href="mine.html"' in (extended / OUT / "reports/index.html").read_text(encoding="utf-8")
