"""Evaluation before and after clearing.

Needs: the base model and the one that never knew, overlays, junk directions, benchmarks, prompts.
Makes: {out}/{model}/{run}/answers.parquet (a row per question, clearing and draw) with agreement.parquet (a row per
running text, clearing and draw), and completions.jsonl with coherence.csv.
"""


rule evaluate:
    """Score one run on the benchmarks under every clearing of the study."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
        benchmarks=texts("benchmarks", STUDY.chosen["benchmarks"]),
    output:
        answers="<out>/{model}/{run}/answers.parquet",
        agreement="<out>/{model}/{run}/agreement.parquet",
        job="<out>/{model}/{run}/answers.job.json",
    log:
        "logs/<out>/{model}/{run}/evaluate.log",
    conda:
        "../../envs/evaluate.yaml"
    resources:
        **needs("evaluate", gpu=GPU),
    params:
        evaluation_plan=lambda wildcards: STUDY.evaluation(wildcards.run),
        clearings=lambda wildcards: STUDY.clearings(wildcards.run),
        benchmarks=STUDY.chosen["benchmarks"],
        split=SETTINGS["split"],
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
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
        prompts=texts("prompts", SETTINGS["prompts"]),
        naive=base_naive,
    output:
        completions="<out>/{model}/{run}/completions.jsonl",
        coherence="<out>/{model}/{run}/coherence.csv",
        job="<out>/{model}/{run}/completions.job.json",
    log:
        "logs/<out>/{model}/{run}/complete_prompts.log",
    conda:
        "../../envs/complete_prompts.yaml"
    resources:
        **needs("complete_prompts", gpu=GPU),
    params:
        clearings=lambda wildcards: STUDY.shown(wildcards.run),
        nulls=lambda wildcards: STUDY.coherence_nulls(wildcards.run),
        topics=STUDY.prompt_topics,
        prompts_shown=SETTINGS["measures"]["coherence"]["shown"],
        prompts_measured=SETTINGS["measures"]["coherence"]["prompts"],
        split=SETTINGS["split"],
        dtype=dtype,
        own=contents(base_model, base_naive),
        code=code("complete_prompts.py"),
    message:
        "Completing prompts with {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/complete_prompts.py"
