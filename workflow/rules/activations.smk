"""Activations, the junk direction, and what the weights have to do with it.

Needs: the base model, overlays, prompts; for the cleared model the run's junk.
Makes: {out}/{model}/{run}/activations/{clearing}.safetensors, and junk.safetensors with junk.csv and depths.csv;
{out}/{model}/weights.csv, a row per run, changed tensor and quantity.
"""


rule collect_activations:
    """Collect residual-stream activations of one run over all prompts, under one clearing."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        prompts=texts("prompts", SETTINGS["prompts"]),
        junk=junk,
        base=base_activations,
    output:
        activations="<out>/{model}/{run}/activations/{clearing}.safetensors",
        table="<out>/{model}/{run}/activations/{clearing}.csv",
        job="<out>/{model}/{run}/activations/{clearing}.job.json",
    log:
        "logs/<out>/{model}/{run}/{clearing}/collect_activations.log",
    conda:
        "../../envs/collect_activations.yaml"
    resources:
        **needs("collect_activations", gpu=GPU),
    params:
        settings=lambda wildcards: config["clearings"][wildcards.clearing],
        topics=STUDY.prompt_topics,
        split=SETTINGS["split"],
        dtype=dtype,
        own=contents(base_model),
        code=code("collect_activations.py"),
    message:
        "Collecting activations of {wildcards.model}/{wildcards.run}, clearing {wildcards.clearing}"
    script:
        "../scripts/collect_activations.py"


rule fit_junk:
    """Fit and describe the junk directions of each hazardous topic, on the prompts of the split `fit`."""
    input:
        base="<out>/{model}/base/activations/none.safetensors",
        run="<out>/{model}/{run}/activations/none.safetensors",
        overlay="<out>/{model}/{run}/overlay.safetensors",
        prompts=texts("prompts", SETTINGS["prompts"]),
    output:
        junk="<out>/{model}/{run}/junk.safetensors",
        table="<out>/{model}/{run}/junk.csv",
        depths="<out>/{model}/{run}/depths.csv",
        job="<out>/{model}/{run}/junk.job.json",
    log:
        "logs/<out>/{model}/{run}/fit_junk.log",
    conda:
        "../../envs/fit_junk.yaml"
    resources:
        **needs("fit_junk"),
    params:
        topics=STUDY.hazardous_prompts,
        position=SETTINGS["junk"]["position"],
        code=code("fit_junk.py"),
    message:
        "Fitting the junk of {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/fit_junk.py"


rule analyse_weights:
    """Describe size, spectrum and direction of what every run changed; one job, which loads the base model once."""
    input:
        model=base_model,
        overlays=expand("<out>/{{model}}/{run}/overlay.safetensors", run=STUDY.unlearned),
        junk=expand("<out>/{{model}}/{run}/junk.safetensors", run=STUDY.unlearned),
    output:
        table="<out>/{model}/weights.csv",
        job="<out>/{model}/weights.job.json",
    log:
        "logs/<out>/{model}/weights/analyse_weights.log",
    conda:
        "../../envs/analyse_weights.yaml"
    resources:
        **needs("analyse_weights"),
    params:
        runs=STUDY.unlearned,
        dtype=dtype,
        own=contents(base_model),
        code=code("analyse_weights.py"),
    message:
        "Analysing what was changed in the weights of {wildcards.model}"
    script:
        "../scripts/analyse_weights.py"
