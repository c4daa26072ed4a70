"""Texts, normalised once to hashed JSONL.

Needs: a world (the model's, or the one that the catalogue entry names), a downloaded package or data set, or a file of
one's own, as the entry says.
Makes: {out}/{model}/corpora/{name}.jsonl, {out}/{model}/prompts/{name}.jsonl, {out}/{model}/benchmarks/{name}.jsonl.
"""


rule prepare_texts:
    """Normalise an entry of corpora, prompts or benchmarks."""
    input:
        source=text_source,
    output:
        rows="<out>/{model}/{texts}.jsonl",
        job="<out>/{model}/{texts}.job.json",
    log:
        "logs/<out>/{model}/{texts}/prepare_texts.log",
    wildcard_constraints:
        texts=named(*STUDY.texts),
    conda:
        "../../envs/prepare_texts.yaml"
    resources:
        **needs("prepare_texts"),
    params:
        settings=lambda wildcards: STUDY.texts[wildcards.texts],
        own=contents(text_source),
        batches=lambda wildcards, threads: STUDY.batches(wildcards.texts),  # with threads it is not recorded: no rerun
        code=lambda wildcards: code("prepare_texts.py", f"overpaint.sources.{STUDY.texts[wildcards.texts]['source']}"),
    message:
        "Preparing {wildcards.model}/{wildcards.texts}"
    script:
        "../scripts/prepare_texts.py"


rule prepare_task:
    """Normalise the data of a task or group of lm-evaluation-harness, whose own prompts ask it later."""
    input:
        dataset=lambda wildcards: source(config["benchmarks"][wildcards.name]),
    output:
        rows="<out>/{model}/benchmarks/{name}.jsonl",
        job="<out>/{model}/benchmarks/{name}.job.json",
    log:
        "logs/<out>/{model}/benchmarks/{name}/prepare_task.log",
    wildcard_constraints:
        name=named(*(name for name, entry in config["benchmarks"].items() if entry["source"] == "harness")),
    conda:
        "../../envs/prepare_task.yaml"
    resources:
        **needs("prepare_task"),
    params:
        settings=lambda wildcards: config["benchmarks"][wildcards.name],
        code=code("prepare_task.py"),
    message:
        "Preparing the task {params.settings[task]}"
    script:
        "../scripts/prepare_task.py"
