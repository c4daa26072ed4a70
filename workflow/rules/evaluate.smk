"""Evaluation before and after clearing.

Needs: the base model, overlays, junk directions, benchmarks, prompts.
Makes: {out}/{model}/{run}/answers.parquet (a row per question, clearing and draw) with agreement.parquet (a row per
running text, clearing and draw), and completions.jsonl with coherence.csv.
"""


rule evaluate:
    """Score one run on the benchmarks under every clearing of the study."""
    input:
        model=base_model,
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        junk=junk,
        benchmarks=benchmark_files(),
    output:
        answers=f"{OUT}/{{model}}/{{run}}/answers.parquet",
        agreement=f"{OUT}/{{model}}/{{run}}/agreement.parquet",
        job=f"{OUT}/{{model}}/{{run}}/answers.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/evaluate.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/evaluate.tsv"
    conda:
        "../../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=memory("evaluate"),
        runtime=walltime("evaluate"),
        gpu=GPU,
    params:
        plan=lambda wildcards: plan(wildcards.run),
        clearings=lambda wildcards: planned_clearings(wildcards.run),
        benchmarks=CHOSEN["benchmarks"],
        split=STUDY["split"],
        dtype=dtype,
        own=contents(base_model),
        code=code("evaluate.py"),
    message:
        "Evaluating {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/evaluate.py"


rule complete_prompts:
    """Continue a few prompts by the model as it is and cleared."""
    input:
        model=base_model,
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        junk=junk,
        prompts=prompt_sets(),
    output:
        completions=f"{OUT}/{{model}}/{{run}}/completions.jsonl",
        coherence=f"{OUT}/{{model}}/{{run}}/coherence.csv",
        job=f"{OUT}/{{model}}/{{run}}/completions.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/complete_prompts.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/complete_prompts.tsv"
    conda:
        "../../envs/complete_prompts.yaml"
    threads: 1
    resources:
        mem_mb=memory("complete_prompts"),
        runtime=walltime("complete_prompts"),
        gpu=GPU,
    params:
        clearings=lambda wildcards: shown_clearings(wildcards.run),
        nulls=lambda wildcards: coherence_nulls(wildcards.run),
        topics=prompt_topics(),
        prompts_shown=STUDY["completions"],
        prompts_measured=STUDY["coherence"]["prompts"],
        split=STUDY["split"],
        dtype=dtype,
        own=contents(base_model),
        code=code("complete_prompts.py"),
    message:
        "Completing prompts with {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/complete_prompts.py"
