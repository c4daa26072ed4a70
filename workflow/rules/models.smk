"""The base model.

Needs: the models, worlds and packages of the configuration.
Makes: {out}/worlds/{world}.json, {out}/downloads/{package}, {out}/{model}/checkpoint/.
Rules that `--cache` may be given have no `benchmark:`, which a job taken from the cache could not fill.
"""


rule generate_world:
    """Invent the facts of a fictional world."""
    output:
        world=f"{OUT}/worlds/{{world}}.json",
        job=f"{OUT}/worlds/{{world}}.job.json",
    log:
        f"logs/{OUT}/worlds/{{world}}/generate_world.log",
    benchmark:
        f"logs/{OUT}/worlds/{{world}}/generate_world.tsv"
    conda:
        "../../envs/generate_world.yaml"
    threads: 1
    resources:
        mem_mb=memory("generate_world"),
        runtime=walltime("generate_world"),
    params:
        settings=lambda wildcards: config["worlds"][wildcards.world],
        code=code("generate_world.py"),
    message:
        "Inventing the world {wildcards.world}"
    script:
        "../scripts/generate_world.py"


rule download_package:
    """Fetch one file of a registry package and verify its hash; the only rule that needs a network."""
    localrule: True  # on clusters, where Snakemake itself runs: nodes that compute often reach no network
    output:
        file=f"{OUT}/downloads/{{package}}",
        job=f"{OUT}/downloads/{{package}}.job.json",
    log:
        f"logs/{OUT}/downloads/{{package}}/download_package.log",
    conda:
        "../../envs/download_package.yaml"
    wildcard_constraints:
        package=named(*config["packages"]),
    threads: 1
    resources:
        mem_mb=memory("download_package"),
        runtime=walltime("download_package"),
    params:
        settings=lambda wildcards: config["packages"][wildcards.package],
        code=code("download_package.py"),
    message:
        "Downloading {params.settings[package]} {params.settings[version]}"
    script:
        "../scripts/download_package.py"


rule pretrain_model:
    """Train the base model of a fictional world."""
    input:
        world=lambda wildcards: source_file(config["models"][wildcards.model]),
    output:
        model=directory(f"{OUT}/{{model}}/checkpoint"),
        job=f"{OUT}/{{model}}/checkpoint.job.json",
    log:
        f"logs/{OUT}/{{model}}/pretrain_model.log",
    conda:
        "../../envs/pretrain_model.yaml"
    priority: 1  # nothing runs before it has ended but the preparing of texts
    wildcard_constraints:
        model=models_from("miniature"),
    threads: 1  # sums depend on the number of threads: one, so that a machine with more cores trains the same model
    resources:
        mem_mb=memory("pretrain_model"),
        runtime=walltime("pretrain_model"),
        gpu=GPU,
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
        file=lambda wildcards: source_file(config["models"][wildcards.model]),
    output:
        model=directory(f"{OUT}/{{model}}/checkpoint"),
        job=f"{OUT}/{{model}}/checkpoint.job.json",
    log:
        f"logs/{OUT}/{{model}}/convert_model.log",
    conda:
        "../../envs/convert_model.yaml"
    wildcard_constraints:
        model=models_from("package"),
    threads: 1
    resources:
        mem_mb=memory("convert_model"),
        runtime=walltime("convert_model"),
    params:
        code=code("convert_model.py"),
    message:
        "Converting the base model {wildcards.model}"
    script:
        "../scripts/convert_model.py"
