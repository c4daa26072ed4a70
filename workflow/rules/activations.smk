"""Activations and the junk direction.

Needs: the base model, overlays, prompts; for the cleared model the run's junk.
Makes: {out}/{model}/{run}/activations/{clearing}.safetensors, and junk.safetensors with junk.csv and depths.csv.
"""


rule collect_activations:
    """Collect residual-stream activations of one run over all prompts, under one clearing."""
    input:
        model=base_model,
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        prompts=prompt_sets(),
        junk=junk,
        base=base_activations,
    output:
        activations=f"{OUT}/{{model}}/{{run}}/activations/{{clearing}}.safetensors",
        table=f"{OUT}/{{model}}/{{run}}/activations/{{clearing}}.csv",
        job=f"{OUT}/{{model}}/{{run}}/activations/{{clearing}}.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/{{clearing}}/collect_activations.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/{{clearing}}/collect_activations.tsv"
    conda:
        "../../envs/collect_activations.yaml"
    threads: 1
    resources:
        mem_mb=memory("collect_activations"),
        runtime=walltime("collect_activations"),
        gpu=GPU,
    params:
        settings=lambda wildcards: config["clearings"][wildcards.clearing],
        topics=prompt_topics(),
        split=STUDY["split"],
        dtype=dtype,
        own=contents(base_model),
        code=code("collect_activations.py"),
    message:
        "Collecting activations of {wildcards.model}/{wildcards.run}, clearing {wildcards.clearing}"
    script:
        "../scripts/collect_activations.py"


rule fit_junk:
    """Fit and describe the junk directions of each hazardous topic, on the prompts of the fitting part."""
    input:
        base=f"{OUT}/{{model}}/base/activations/none.safetensors",
        run=f"{OUT}/{{model}}/{{run}}/activations/none.safetensors",
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        prompts=prompt_sets(),
    output:
        junk=f"{OUT}/{{model}}/{{run}}/junk.safetensors",
        table=f"{OUT}/{{model}}/{{run}}/junk.csv",
        depths=f"{OUT}/{{model}}/{{run}}/depths.csv",
        job=f"{OUT}/{{model}}/{{run}}/junk.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/fit_junk.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/fit_junk.tsv"
    conda:
        "../../envs/fit_junk.yaml"
    threads: 1
    resources:
        mem_mb=memory("fit_junk"),
        runtime=walltime("fit_junk"),
    params:
        topics=hazardous_prompts(),
        tokens=lambda wildcards: RUNS[wildcards.run]["tokens"],
        code=code("fit_junk.py"),
    message:
        "Fitting the junk of {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/fit_junk.py"
