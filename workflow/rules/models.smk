"""The base model; and any run as a model for use elsewhere, which no report needs: ask for one by its path.

Needs: the models and worlds of the configuration; a downloaded package where a model lies in one; a run and its junk.
Makes: {out}/worlds/{world}/, {out}/{model}/checkpoint/ (of a model of the hub: downloads.smk),
{out}/{model}/{run}/export/{clearing}/, an ordinary Hugging Face folder.
"""


rule generate_world:
    """Invent the facts of a fictional world."""
    output:
        world="<out>/worlds/{world}/facts.json",
        taught="<out>/worlds/{world}/taught.json",  # what base models depend on: no split, nothing that corpora leave out
        job="<out>/worlds/{world}/facts.job.json",
    log:
        "logs/<out>/worlds/{world}/generate_world.log",
    conda:
        "../../envs/generate_world.yaml"
    resources:
        **needs("generate_world"),
    params:
        settings=lambda wildcards: config["worlds"][wildcards.world],
        code=code("generate_world.py"),
    message:
        "Inventing the world {wildcards.world}"
    script:
        "../scripts/generate_world.py"


rule pretrain_model:
    """Train the base model of a fictional world."""
    input:
        world=lambda wildcards: f"{OUT}/worlds/{config['models'][wildcards.model]['world']}/taught.json",
    output:
        model=directory("<out>/{model}/checkpoint"),
        job="<out>/{model}/checkpoint.job.json",
    log:
        "logs/<out>/{model}/pretrain_model.log",
    conda:
        "../../envs/pretrain_model.yaml"
    priority: 1  # nothing runs before it has ended but the preparing of texts
    wildcard_constraints:
        model=models_from("fictional", "trained"),
    threads: 1  # sums depend on the number of threads: one, so that a machine with more cores trains the same model
    resources:
        **needs("pretrain_model", gpu=GPU),
    params:
        settings=lambda wildcards: config["models"][wildcards.model],
        code=code("pretrain_model.py"),
    message:
        "Training the base model {wildcards.model}"
    script:
        "../scripts/pretrain_model.py"


rule convert_model:
    """Turn a GGUF file into an ordinary Hugging Face folder."""
    input:
        file=lambda wildcards: f"{OUT}/downloads/{config['models'][wildcards.model]['package']}",
    output:
        model=directory("<out>/{model}/checkpoint"),
        job="<out>/{model}/checkpoint.job.json",
    log:
        "logs/<out>/{model}/convert_model.log",
    conda:
        "../../envs/convert_model.yaml"
    wildcard_constraints:
        model=models_from("package"),
    resources:
        **needs("convert_model"),
    params:
        code=code("convert_model.py"),
    message:
        "Converting the base model {wildcards.model}"
    script:
        "../scripts/convert_model.py"


rule export_model:
    """Write one run, with one clearing folded into its weights, as a Hugging Face folder."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
    output:
        model=directory("<out>/{model}/{run}/export/{clearing}"),
        job="<out>/{model}/{run}/export/{clearing}.job.json",
    log:
        "logs/<out>/{model}/{run}/{clearing}/export_model.log",
    conda:
        "../../envs/export_model.yaml"
    resources:
        **needs("export_model"),
    params:
        settings=lambda wildcards: config["clearings"][wildcards.clearing],
        dtype=dtype,
        own=contents(base_model),
        code=code("export_model.py"),
    message:
        "Exporting {wildcards.model}/{wildcards.run}, clearing {wildcards.clearing}"
    script:
        "../scripts/export_model.py"
