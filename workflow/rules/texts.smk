"""Texts, normalised once to hashed JSONL.

Needs: a world (the model's, or the one that the catalogue entry names), a downloaded package or data set, or a file of
one's own, as the entry says.
Makes: {out}/{model}/corpora/{name}.jsonl, {out}/{model}/prompts/{name}.jsonl, {out}/{model}/benchmarks/{name}.jsonl.
"""


rule prepare_corpus:
    """Normalise the texts that methods train on."""
    input:
        source=source("corpora"),
    output:
        rows=f"{OUT}/{{model}}/corpora/{{name}}.jsonl",
        job=f"{OUT}/{{model}}/corpora/{{name}}.job.json",
    log:
        f"logs/{OUT}/{{model}}/corpora/{{name}}/prepare_corpus.log",
    benchmark:
        f"logs/{OUT}/{{model}}/corpora/{{name}}/prepare_corpus.tsv"
    wildcard_constraints:
        name=named(*config["corpora"]),
    conda:
        "../../envs/prepare_corpus.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_corpus"),
        runtime=walltime("prepare_corpus"),
    params:
        settings=lambda wildcards: config["corpora"][wildcards.name],
        own=contents(source("corpora")),
        code=code("prepare_corpus.py"),
    message:
        "Preparing the corpus {wildcards.name}"
    script:
        "../scripts/prepare_corpus.py"


rule prepare_prompts:
    """Normalise the prompts that activations are collected at."""
    input:
        source=source("prompts"),
    output:
        rows=f"{OUT}/{{model}}/prompts/{{name}}.jsonl",
        job=f"{OUT}/{{model}}/prompts/{{name}}.job.json",
    log:
        f"logs/{OUT}/{{model}}/prompts/{{name}}/prepare_prompts.log",
    benchmark:
        f"logs/{OUT}/{{model}}/prompts/{{name}}/prepare_prompts.tsv"
    wildcard_constraints:
        name=named(*config["prompts"]),
    conda:
        "../../envs/prepare_prompts.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_prompts"),
        runtime=walltime("prepare_prompts"),
    params:
        settings=lambda wildcards: config["prompts"][wildcards.name],
        own=contents(source("prompts")),
        code=code("prepare_prompts.py"),
    message:
        "Preparing the prompts {wildcards.name}"
    script:
        "../scripts/prepare_prompts.py"


rule prepare_benchmark:
    """Normalise questions or running texts that are scored."""
    input:
        source=source("benchmarks"),
    output:
        rows=f"{OUT}/{{model}}/benchmarks/{{name}}.jsonl",
        job=f"{OUT}/{{model}}/benchmarks/{{name}}.job.json",
    log:
        f"logs/{OUT}/{{model}}/benchmarks/{{name}}/prepare_benchmark.log",
    benchmark:
        f"logs/{OUT}/{{model}}/benchmarks/{{name}}/prepare_benchmark.tsv"
    wildcard_constraints:
        name=named(*(name for name, entry in config["benchmarks"].items() if entry["source"] != "harness")),
    conda:
        "../../envs/prepare_benchmark.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_benchmark"),
        runtime=walltime("prepare_benchmark"),
    params:
        settings=lambda wildcards: config["benchmarks"][wildcards.name],
        own=contents(source("benchmarks")),
        code=code("prepare_benchmark.py"),
    message:
        "Preparing the benchmark {wildcards.name}"
    script:
        "../scripts/prepare_benchmark.py"


rule prepare_task:
    """Normalise the data of a task or group of lm-evaluation-harness, whose own prompts ask it later."""
    input:
        dataset=lambda wildcards: f"{OUT}/downloads/datasets/{config['benchmarks'][wildcards.name]['dataset']}",
    output:
        rows=f"{OUT}/{{model}}/benchmarks/{{name}}.jsonl",
        job=f"{OUT}/{{model}}/benchmarks/{{name}}.job.json",
    log:
        f"logs/{OUT}/{{model}}/benchmarks/{{name}}/prepare_task.log",
    benchmark:
        f"logs/{OUT}/{{model}}/benchmarks/{{name}}/prepare_task.tsv"
    wildcard_constraints:
        name=named(*(name for name, entry in config["benchmarks"].items() if entry["source"] == "harness")),
    conda:
        "../../envs/prepare_task.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_task"),
        runtime=walltime("prepare_task"),
    params:
        settings=lambda wildcards: config["benchmarks"][wildcards.name],
        code=code("prepare_task.py"),
    message:
        "Preparing the task {params.settings[task]}"
    script:
        "../scripts/prepare_task.py"
