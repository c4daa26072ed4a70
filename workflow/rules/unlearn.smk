"""Unlearning: every variant of the sweep, and the base as the method that changes nothing; settings that are tried.

Needs: the base model and normalised corpora, prompts and benchmarks; a released model for the method `published`.
Makes: {out}/{model}/prefix/{prefix}/ (kept, so that a run added later needs no other run again), and per run
{out}/{model}/{run}/overlay.safetensors (changed tensors, control vectors, settings) with history.csv and
snapshots.safetensors (the changed tensors after some steps, of the runs that study.measures.emergence lists). Of settings that are tried, tuning.parquet (a row per question and text of
the split fit) and tuning.csv (what states attain) beside them; {out}/tables/tuning.parquet and {out}/tuned/, the choice.
"""


rule compute_prefix:
    """Run the blocks below the first trained one, once for all runs that share them."""
    input:
        model=base_model,
        forget=texts("corpora", SETTINGS["forget"]),
        retain=texts("corpora", SETTINGS["retain"]),
    output:
        prefix=directory("<out>/{model}/prefix/{prefix}"),
        job="<out>/{model}/prefix/{prefix}.job.json",
    log:
        "logs/<out>/{model}/prefix/{prefix}/compute_prefix.log",
    wildcard_constraints:
        prefix=named(*STUDY.prefixes),
    conda:
        "../../envs/compute_prefix.yaml"
    resources:
        **needs("compute_prefix", gpu=GPU),
    params:
        settings=lambda wildcards: STUDY.prefixes[wildcards.prefix],
        topics=STUDY.topics,
        dtype=dtype,
        own=contents(base_model),
        code=code("compute_prefix.py"),
    message:
        "Computing what enters {wildcards.prefix} of {wildcards.model}"
    script:
        "../scripts/compute_prefix.py"


rule unlearn:
    """Run one method with one choice of layer, c and seed."""
    input:
        model=base_model,
        forget=training_corpora("forget"),
        retain=training_corpora("retain"),
        prefix=shared_prefix,
        released=released,
    output:
        overlay="<out>/{model}/{run}/overlay.safetensors",
        history="<out>/{model}/{run}/history.csv",
        snapshots="<out>/{model}/{run}/snapshots.safetensors",
        job="<out>/{model}/{run}/overlay.job.json",
    log:
        "logs/<out>/{model}/{run}/unlearn.log",
    conda:
        "../../envs/unlearn.yaml"
    resources:
        **needs("unlearn", gpu=GPU),
    params:
        settings=lambda wildcards: STUDY.trained[wildcards.run],
        topics=STUDY.topics,
        dtype=dtype,
        own=contents(base_model, released),
        code=lambda wildcards: code("unlearn.py", f"overpaint.unlearning.methods.{STUDY.kind(wildcards.run)}"),
    message:
        "Unlearning {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/unlearn.py"


rule try_setting:
    """Ask what a setting attains and costs, on the split `fit` alone."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=[],
        prompts=texts("prompts", SETTINGS["prompts"]),
        benchmarks=texts("benchmarks", STUDY.chosen["benchmarks"]),
    output:
        answers="<out>/{model}/{run}/tuning.parquet",
        states="<out>/{model}/{run}/tuning.csv",
        job="<out>/{model}/{run}/tuning.job.json",
    log:
        "logs/<out>/{model}/{run}/try_setting.log",
    conda:
        "../../envs/try_setting.yaml"
    resources:
        **needs("try_setting", gpu=GPU),
    params:
        none=config["clearings"]["none"],
        topics=STUDY.prompt_topics,
        hazardous=STUDY.topics,
        position=SETTINGS["junk"]["position"],
        benchmarks=STUDY.chosen["benchmarks"],
        dtype=dtype,
        own=contents(base_model),
        code=code("try_setting.py"),
    message:
        "Trying {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/try_setting.py"


rule choose_setting:
    """Gather what was tried, and choose of each method the setting that forgets most within the budgets."""
    input:
        answers=per_run("tuning.parquet", STUDY.trials),
        states=per_run("tuning.csv", STUDY.trials),
    output:
        tuning="<out>/tables/tuning.parquet",
        tuning_csv="<out>/tables/tuning.csv",
        tuned=directory("<out>/tuned"),
        job="<out>/tables/tuning.job.json",
    log:
        "logs/<out>/tables/choose_setting.log",
    conda:
        "../../envs/choose_setting.yaml"
    resources:
        **needs("choose_setting"),
    params:
        study={key: SETTINGS[key] for key in ("name", "tune", "damage_budget", "perplexity_budget")},
        models=STUDY.models,
        runs=STUDY.trials,
        variants=STUDY.variants,
        hazardous=STUDY.topics,
        code=code("choose_setting.py"),
    message:
        "Choosing among the settings that were tried"
    script:
        "../scripts/choose_setting.py"
