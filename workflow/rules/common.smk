"""Settings and functions of all rules; no rules."""

import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE / "src"))

from overpaint import environments, sweep
from overpaint.configuration import complete, read_plan
from overpaint.errors import UserError
from overpaint.fingerprint import fingerprint
from overpaint.report import PAGES as REPORTS
from overpaint.resources import has_gpu, memory_mb, minutes, model_mb

try:
    config = complete(config, BASE / "workflow/schemas/config.schema.yaml")
    PLAN = read_plan(config, BASE / "workflow/schemas/plan.schema.yaml")
    CHOSEN = sweep.chosen(config)
    MODEL_MB = {name: model_mb(entry) for name, entry in CHOSEN["models"].items()}
    if workflow.is_main_process and DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        prefix = Path(workflow.deployment_settings.conda_prefix or ".snakemake/conda")
        environments.check(prefix, sorted(BASE.glob("envs/*.yaml")))
except UserError as error:
    raise WorkflowError(str(error)) from None

# Jobs import the package from this checkout, in every environment; everything after a download is offline.
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH='{BASE}/src' PYTHONNOUSERSITE=1 HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 "
    "TOKENIZERS_PARALLELISM=false HF_DATASETS_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error; "
)

STUDY = config["study"]
OUT = STUDY["output"]
MODELS = sweep.as_list(STUDY["model"])
RUNS = sweep.expand_runs(STUDY["runs"], config["methods"])
DEPTH = sweep.picked(config, STUDY["depth"])
RELEARNED = sweep.picked(config, STUDY["relearn"]["runs"])
EMERGING = sweep.picked(config, STUDY["emergence"]["runs"])
for run in EMERGING:
    RUNS[run]["snapshots"] = STUDY["emergence"]["snapshots"]
UNLEARNED = [run for run in RUNS if run != "base"]
SHARING = [run for run in RUNS if STUDY["share_prefix"] and sweep.prefix_settings(RUNS[run])]
PREFIX_OF = {run: sweep.prefix_name(RUNS[run]) for run in SHARING}
PREFIXES = {name: sweep.prefix_settings(RUNS[run]) for run, name in PREFIX_OF.items()}
GPU = int(has_gpu())  # that of this machine; cluster profiles say themselves which rules use one
TEMPLATES = sorted(str(path.relative_to(BASE)) for path in BASE.glob("src/overpaint/report/templates/*"))
TABLES = [
    "cells", "hypotheses", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights", "history",
    "completions", "provenance",
]  # fmt: skip
MEASURES = ["agreement", "coherence", "depth", "relearning", "emergence"]  # tables, gathered by a rule of their own


wildcard_constraints:
    model="|".join(map(re.escape, config["models"])),
    run="base|[^/]+/layer=[0-9]+/c=[^/]+/seed=[0-9]+",  # a pattern of every run's name took twice as long to plan
    clearing="|".join(map(re.escape, config["clearings"])),


def named(*names):
    """Names as one pattern for a wildcard; one that nothing matches where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def source(catalogue):
    """Input function: the file that an entry of `catalogue` is made from, for one model."""
    return lambda wildcards: source_file(sweep.of_model(config, config[catalogue][wildcards.name], wildcards.model))


def source_file(entry):
    """The world, downloaded file or folder, or own file that an entry names."""
    if "world" in entry:
        return f"{OUT}/worlds/{entry['world']}.json"
    if "dataset" in entry:
        return f"{OUT}/downloads/datasets/{entry['dataset']}"
    return f"{OUT}/downloads/{entry['package']}" if "package" in entry else entry["path"]


def checkpoint(name):
    """Folder of a model: the user's own, or the one that the study makes."""
    return config["models"][name].get("path", f"{OUT}/{name}/checkpoint")


def base_model(wildcards):
    """Input function: folder of the base model."""
    return checkpoint(wildcards.model)


def code(script, *others):
    """Fingerprint of a script's library code: a change of code reruns the rule, a change of comments does not."""
    return fingerprint(BASE / "workflow/scripts" / script, *others)


def memory(rule):
    """Resource function: MB for a job of `rule`."""

    def ask(wildcards, attempt):
        models = 2 if rule == "unlearn" and released(wildcards) else 1
        return memory_mb(rule, size_mb(wildcards), attempt, models)

    return ask


def walltime(rule):
    """Resource function: minutes for a job of `rule`."""
    return lambda wildcards, attempt: minutes(rule, size_mb(wildcards), attempt)


def size_mb(wildcards):
    """MB of the weights of the wildcard's model, or of the largest of the study."""
    return MODEL_MB.get(getattr(wildcards, "model", ""), max(MODEL_MB[name] for name in MODELS))


def corpora(names):
    """Normalised corpora of the catalogue, for the wildcard's model."""
    return [f"{OUT}/{{model}}/corpora/{name}.jsonl" for name in names]


def training_corpora(role):
    """Input function: the corpora to `forget` or `retain`, for a method that trains on them."""

    def find(wildcards):
        trains = sweep.prefix_settings(RUNS[wildcards.run])
        return expand(corpora(STUDY[role]), model=wildcards.model) if trains else []

    return find


def prompt_sets():
    """Normalised prompt sets of the study, for the wildcard's model."""
    return [f"{OUT}/{{model}}/prompts/{name}.jsonl" for name in STUDY["prompts"]]


def benchmark_files():
    """Normalised benchmarks of the study, in the order of CHOSEN["benchmarks"], for the wildcard's model."""
    return [f"{OUT}/{{model}}/benchmarks/{name}.jsonl" for name in CHOSEN["benchmarks"]]


def questions(topics=None):
    """{benchmark: settings} of the study's plain questions, on all topics or on given ones."""
    return {name: config["benchmarks"][name] for name in sweep.plain_questions(config, topics)}


def question_files(topics=None):
    """The files of `questions`."""
    return [f"{OUT}/{{model}}/benchmarks/{name}.jsonl" for name in questions(topics)]


def plan(run):
    """What is evaluated: as the study says; the base model on everything, uncleared."""
    everything = [{"clearings": ["none"], "benchmarks": list(CHOSEN["benchmarks"])}]
    return sweep.plan(config, RUNS[run]) if run != "base" else everything


def planned_clearings(run):
    """{clearing: settings} under which a run is evaluated."""
    return {name: config["clearings"][name] for name in sweep.evaluated({"evaluate": plan(run)}, "clearings")}


def shown_clearings(run):
    """{clearing: settings} whose completions are shown."""
    names = ["none"] if run == "base" else ["none", STUDY["primary"]]
    return {name: config["clearings"][name] for name in names}


def coherence_nulls(run):
    """{clearing: settings} whose completions are measured beside those that are shown."""
    names = [] if run == "base" else STUDY["coherence"]["nulls"]
    return {name: config["clearings"][name] for name in names}


def control_model():
    """The checkpoint of a model that never knew the hazardous facts, where the study names one."""
    return next((checkpoint(name) for name in sweep.control(config)), [])


def base_control(wildcards):
    """Input function: that model, which is read by depth in the base's job."""
    return control_model() if wildcards.run == "base" else []


def looked_into(runs):
    """`runs` with the base before them, where there are any."""
    return ["base", *runs] if runs else []


def dtype(wildcards):
    """Params function: type of a model's weights and activations."""
    return config["models"][wildcards.model]["dtype"]


def models_from(origin):
    """Pattern of the models that come from one kind of source."""
    return named(*(name for name, entry in config["models"].items() if entry["source"] == origin))


def junk(wildcards):
    """Input function: the run's junk directions, which the base model and the clearing `none` do without."""
    needed = wildcards.run != "base" and getattr(wildcards, "clearing", "") != "none"
    return f"{OUT}/{wildcards.model}/{wildcards.run}/junk.safetensors" if needed else []


def shared_prefix(wildcards):
    """Input function: what the run shares with others, where the study says so and the method trains."""
    run = wildcards.run
    return f"{OUT}/{wildcards.model}/prefix/{PREFIX_OF[run]}" if run in PREFIX_OF else []


def released(wildcards):
    """Input function: the released model that the method `published` compares with the base."""
    settings = RUNS[wildcards.run]
    return checkpoint(settings["model"]) if "model" in settings else []


def base_activations(wildcards):
    """Input function: the base's activations, to compare with; the base itself has nothing to compare with."""
    return f"{OUT}/{wildcards.model}/base/activations/none.safetensors" if wildcards.run != "base" else []


def prompt_topics():
    """{prompt set: topic} of the study."""
    return {name: config["prompts"][name]["topic"] for name in STUDY["prompts"]}


def hazardous_prompts():
    """{hazardous topic: prompt set}, in the order of study.forget."""
    sets = {topic: name for name, topic in prompt_topics().items()}
    return {topic: sets[topic] for topic in sweep.hazardous_topics(config)}


def completed_runs():
    """The runs whose completions are shown: the base, and each layer and c at its grid's first seed."""
    first = [grid | {"seed": sweep.as_list(grid["seed"])[0]} for grid in STUDY["runs"]]
    return list(sweep.expand_runs(first, config["methods"]))


def jobs():
    """Provenance of every job between the base models and the tables."""
    texts = expand([*corpora(STUDY["forget"] + STUDY["retain"]), *prompt_sets(), *benchmark_files()], model=MODELS)
    cleared = every(f"activations/{STUDY['primary']}.job.json", UNLEARNED)
    trained = [name for name in (*MODELS, *sweep.control(config)) if "path" not in config["models"][name]]
    own = [f"{OUT}/{name}/checkpoint.job.json" for name in trained]
    return [
        *own,
        *(f"{OUT}/downloads/datasets/{name}.job.json" for name in CHOSEN["datasets"]),
        *(path.replace(".jsonl", ".job.json") for path in texts),
        *expand(f"{OUT}/{{model}}/prefix/{{prefix}}.job.json", model=MODELS, prefix=PREFIXES),
        *every("overlay.job.json"),
        *every("activations/none.job.json"),
        *cleared,
        *every("junk.job.json", UNLEARNED),
        *of_models("weights.job.json"),
        *every("answers.job.json"),
        *every("completions.job.json", completed_runs()),
        *every("depth.job.json", looked_into(DEPTH)),
        *every("relearning.job.json", RELEARNED),
        *every("emergence.job.json", EMERGING),
    ]


def every(pattern, runs=RUNS):
    """The paths of `pattern` for `runs`, of one model after the other."""
    return expand(f"{OUT}/{{model}}/{{run}}/{pattern}", model=MODELS, run=runs)


def of_models(pattern):
    """The paths of `pattern` for the models of the study."""
    return expand(f"{OUT}/{{model}}/{pattern}", model=MODELS)
