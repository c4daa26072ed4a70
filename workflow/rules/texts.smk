"""Texts, normalised once to hashed JSONL.

Needs: a world, a downloaded package or data set, or a file of one's own, as the catalogue entry says.
Makes: {out}/corpora/{name}.jsonl, {out}/prompts/{name}.jsonl, {out}/benchmarks/{name}.jsonl.
"""


rule prepare_corpus:
    """Normalise the texts that methods train on."""
    input:
        source=source("corpora"),
    output:
        rows=f"{OUT}/corpora/{{name}}.jsonl",
        job=f"{OUT}/corpora/{{name}}.job.json",
    log:
        f"logs/{OUT}/corpora/{{name}}/prepare_corpus.log",
    benchmark:
        f"logs/{OUT}/corpora/{{name}}/prepare_corpus.tsv"
    conda:
        "../../envs/prepare_corpus.yaml"
    wildcard_constraints:
        name=named(*config["corpora"]),
    threads: 1
    resources:
        mem_mb=memory("prepare_corpus"),
        runtime=walltime("prepare_corpus"),
    params:
        settings=lambda wildcards: config["corpora"][wildcards.name],
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
        rows=f"{OUT}/prompts/{{name}}.jsonl",
        job=f"{OUT}/prompts/{{name}}.job.json",
    log:
        f"logs/{OUT}/prompts/{{name}}/prepare_prompts.log",
    benchmark:
        f"logs/{OUT}/prompts/{{name}}/prepare_prompts.tsv"
    conda:
        "../../envs/prepare_prompts.yaml"
    wildcard_constraints:
        name=named(*config["prompts"]),
    threads: 1
    resources:
        mem_mb=memory("prepare_prompts"),
        runtime=walltime("prepare_prompts"),
    params:
        settings=lambda wildcards: config["prompts"][wildcards.name],
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
        rows=f"{OUT}/benchmarks/{{name}}.jsonl",
        job=f"{OUT}/benchmarks/{{name}}.job.json",
    log:
        f"logs/{OUT}/benchmarks/{{name}}/prepare_benchmark.log",
    benchmark:
        f"logs/{OUT}/benchmarks/{{name}}/prepare_benchmark.tsv"
    conda:
        "../../envs/prepare_benchmark.yaml"
    wildcard_constraints:
        name=named(*(name for name, entry in config["benchmarks"].items() if entry["source"] != "harness")),
    threads: 1
    resources:
        mem_mb=memory("prepare_benchmark"),
        runtime=walltime("prepare_benchmark"),
    params:
        settings=lambda wildcards: config["benchmarks"][wildcards.name],
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
        rows=f"{OUT}/benchmarks/{{name}}.jsonl",
        job=f"{OUT}/benchmarks/{{name}}.job.json",
    log:
        f"logs/{OUT}/benchmarks/{{name}}/prepare_task.log",
    benchmark:
        f"logs/{OUT}/benchmarks/{{name}}/prepare_task.tsv"
    conda:
        "../../envs/prepare_task.yaml"
    wildcard_constraints:
        name=named(*(name for name, entry in config["benchmarks"].items() if entry["source"] == "harness")),
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
