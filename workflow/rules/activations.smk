"""Activations and the junk direction.

Needs: the base model, overlays, prompts; for the cleared model the run's junk.
Makes: {out}/{model}/{run}/activations/{clearing}.safetensors, and junk.safetensors with junk.csv and depths.csv.
"""


rule collect_activations:
    """Collect residual-stream activations of one run over all prompts, under one clearing."""
    input:
        model=checkpoint(),
        overlay=f"{MODEL}/{{run}}/overlay.safetensors",
        prompts=prompt_sets(),
        junk=junk,
        base=base_activations,
    output:
        activations=f"{MODEL}/{{run}}/activations/{{clearing}}.safetensors",
        table=f"{MODEL}/{{run}}/activations/{{clearing}}.csv",
        job=f"{MODEL}/{{run}}/activations/{{clearing}}.job.json",
    log:
        f"logs/{OUT}/{MODEL_NAME}/{{run}}/{{clearing}}/collect_activations.log",
    benchmark:
        f"logs/{OUT}/{MODEL_NAME}/{{run}}/{{clearing}}/collect_activations.tsv"
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
        dtype=dtype(),
        code=code("collect_activations.py"),
    message:
        "Collecting activations of {wildcards.run}, clearing {wildcards.clearing}"
    script:
        "../scripts/collect_activations.py"


rule fit_junk:
    """Fit and describe the junk directions of each hazardous topic, on the prompts of the fitting part."""
    input:
        base=f"{MODEL}/base/activations/none.safetensors",
        run=f"{MODEL}/{{run}}/activations/none.safetensors",
        overlay=f"{MODEL}/{{run}}/overlay.safetensors",
        prompts=prompt_sets(),
    output:
        junk=f"{MODEL}/{{run}}/junk.safetensors",
        table=f"{MODEL}/{{run}}/junk.csv",
        depths=f"{MODEL}/{{run}}/depths.csv",
        job=f"{MODEL}/{{run}}/junk.job.json",
    log:
        f"logs/{OUT}/{MODEL_NAME}/{{run}}/fit_junk.log",
    benchmark:
        f"logs/{OUT}/{MODEL_NAME}/{{run}}/fit_junk.tsv"
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
        "Fitting the junk of {wildcards.run}"
    script:
        "../scripts/fit_junk.py"
