"""Where the inputs of rules are: functions of names, and of the wildcards of a job; no rules."""


def source(entry):
    """The world, downloaded file or folder, or own file that an entry names."""
    places = {"world": f"{OUT}/worlds/{{}}/facts.json", "dataset": f"{OUT}/downloads/datasets/{{}}", "path": "{}"}
    places["package"] = f"{OUT}/downloads/{{}}"
    taken = sweep.TAKES[entry["source"]]
    return places[taken].format(entry[taken])


def checkpoint(name):
    """Folder of a model: the user's own, one of bases/, or the one that the study makes; none without a name."""
    entry = config["models"][name] if name else {}
    if entry.get("source") == "trained":
        return ancient(entry["path"])  # known by what it holds: every clone gives it a time of its own
    return entry.get("path", f"{OUT}/{name}/checkpoint") if name else []


def base_model(wildcards):
    """Input function: folder of the base model."""
    return checkpoint(wildcards.model)


def dtype(wildcards):
    """Params function: type of a model's weights and activations."""
    return config["models"][wildcards.model]["dtype"]


def texts(catalogue, names):
    """Normalised texts of a catalogue, for the wildcard's model."""
    return [f"{OUT}/{{model}}/{catalogue}/{name}.jsonl" for name in names]


def training_corpora(role):
    """Input function: the corpora to `forget` or `retain`, for a method that trains on them."""

    def find(wildcards):
        names = SETTINGS[role] if STUDY.trains(wildcards.run) else []
        return expand(texts("corpora", names), model=wildcards.model)

    return find


def junk(wildcards):
    """Input function: the run's junk directions, which the base model and the clearing `none` do without."""
    needed = wildcards.run != "base" and getattr(wildcards, "clearing", "") != "none"
    return f"{OUT}/{wildcards.model}/{wildcards.run}/junk.safetensors" if needed else []


def shared_prefix(wildcards):
    """Input function: what the run shares with others, where the study says so and the method trains."""
    name = STUDY.prefix_of.get(wildcards.run)
    return f"{OUT}/{wildcards.model}/prefix/{name}" if name else []


def released(wildcards):
    """Input function: the released model that the method `published` compares with the base."""
    return checkpoint(STUDY.released(wildcards.run))


def naive(wildcards):
    """Input function: the model that never knew the hazardous facts."""
    return checkpoint(STUDY.naive.get(wildcards.model))


def base_naive(wildcards):
    """Input function: the same, which is looked into in the base's job."""
    return naive(wildcards) if wildcards.run == "base" else []


def text_source(wildcards):
    """Input function: what an entry of STUDY.texts is made from, for the wildcard's model."""
    return source(STUDY.source(wildcards.texts, wildcards.model))


def base_activations(wildcards):
    """Input function: the base's activations, to compare with; the base itself has nothing to compare with."""
    return f"{OUT}/{wildcards.model}/base/activations/none.safetensors" if wildcards.run != "base" else []
