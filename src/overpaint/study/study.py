"""What a study says of its runs, texts and clearings (standard library only)."""

from collections.abc import Callable
from typing import Any

from overpaint.study import resources, sweep


class Study:
    """A completed configuration, and what follows from it for the jobs.

    settings: the configuration's `study`.
    chosen: the configuration with only those catalogue entries that the study uses.
    models: names of the base models, each of which is put through every run.
    topics: the hazardous topics, in the order of `study.forget`.
    runs: {run path: settings}, `base` first; those that `study.measures.emergence` lists keep snapshots.
    unlearned: the runs but `base`.
    trials: {run path: settings} of those that `study.tune` tries; `base` first, as in `runs`.
    variants: {what they name as their method: the method whose settings they vary}.
    trained: the runs and the trials together.
    families: {method: the one whose variant it is, or itself}; pages show variants beside it.
    depth, relearned, patched, perturbed, emerging: the runs that are looked into.
    prefix_of: {run: name of the prefix that it shares}; prefixes: {name: settings}.
    texts: {catalogue/name: entry, with the `kind` of its rows}.
    megabytes: {model: MB of its weights}.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.settings, self.chosen = config, config["study"], sweep.chosen(config)
        self.models = sweep.as_list(self.settings["model"])
        self.topics = sweep.hazardous_topics(config)
        self.depth = sweep.picked(config, self.settings["measures"]["depth"]["runs"])
        self.relearned = sweep.picked(config, self.settings["measures"]["relearning"]["runs"])
        self.perturbed = sweep.picked(config, self.settings["measures"]["perturbations"]["runs"])
        self.patched = sweep.picked(config, self.settings["measures"]["uds"]["runs"])
        self.emerging = sweep.picked(config, self.settings["measures"]["emergence"]["runs"])
        self.families = sweep.families(config)
        self.runs = sweep.expand_runs(self.settings["runs"], config["methods"])
        for run in self.emerging:
            self.runs[run]["snapshots"] = self.settings["measures"]["emergence"]["snapshots"]
        self.unlearned = [run for run in self.runs if run != "base"]
        self.trials = sweep.expand_runs(sweep.tried(self.settings), config["methods"])
        tried = [settings["method"] for run, settings in self.trials.items() if run != "base"]
        self.variants = {name: config["methods"][name]["like"] for name in tried}
        self.trained = sweep.Runs(self.runs | self.trials)
        fixed = {run: sweep.prefix_settings(its) for run, its in self.trained.items() if run != "base"}
        sharing = [run for run in fixed if self.settings["share_prefix"] and fixed[run]]
        self.prefix_of = {run: sweep.prefix_name(self.trained[run]) for run in sharing}
        self.prefixes = {name: fixed[run] for run, name in self.prefix_of.items()}
        self.texts = sweep.texts(config)
        self.megabytes = {name: resources.model_mb(entry) for name, entry in self.chosen["models"].items()}

    def kind(self, run: str) -> str:
        """The kind of a run's method."""
        return self.trained[run]["kind"]

    def trains(self, run: str) -> bool:
        """Whether a run's method trains on the corpora."""
        return "corpora" in sweep.NEEDS[self.kind(run)]

    def released(self, run: str) -> str | None:
        """The released model that a run compares with the base, where its method does."""
        return sweep.released(self.config).get(self.trained[run]["method"])

    @property
    def taught(self) -> list[str]:
        """The models of fictional worlds, which were trained before or can be."""
        return [name for name, entry in self.chosen["models"].items() if "world" in entry]

    @property
    def naive(self) -> dict[str, str]:
        """{base model: the one that never knew the hazardous facts}, where the study looks into runs beside it."""
        return sweep.naive_models(self.config)

    def evaluation(self, run: str) -> list[dict[str, list[str]]]:
        """What a run is evaluated on, as `study.evaluate` says; the base model on everything, uncleared."""
        everything = [{"clearings": ["none"], "benchmarks": list(self.chosen["benchmarks"])}]
        return sweep.evaluation_plan(self.config, self.runs[run]) if run != "base" else everything

    def clearings(self, run: str) -> dict[str, dict]:
        """{clearing: settings} under which a run is evaluated."""
        return self._clearings(sweep.evaluated({"evaluate": self.evaluation(run)}, "clearings"))

    def shown(self, run: str) -> dict[str, dict]:
        """{clearing: settings} whose completions are shown."""
        return self._clearings(["none"] if run == "base" else ["none", self.settings["headline"]["clearing"]])

    def coherence_nulls(self, run: str) -> dict[str, dict]:
        """{clearing: settings} whose completions are measured beside those that are shown."""
        return self._clearings([] if run == "base" else self.settings["measures"]["coherence"]["nulls"])

    def patching(self, run: str) -> dict[str, dict]:
        """{clearing: settings} under which what a run's model writes is given to the base: none, the primary, nulls."""
        return self.shown(run) | self._clearings(self.settings["measures"]["uds"]["nulls"])

    def _clearings(self, names: list[str]) -> dict[str, dict]:
        return {name: self.config["clearings"][name] for name in names}

    def questions(self, topics: list[str] | None = None) -> dict[str, dict]:
        """{benchmark: settings} of the study's plain questions, on all topics or on given ones."""
        return {name: self.config["benchmarks"][name] for name in sweep.plain_questions(self.config, topics)}

    @property
    def asked(self) -> dict[str, dict]:
        """{benchmark: settings} of all the study's questions, those of tasks of the harness too."""
        return {name: entry for name, entry in self.chosen["benchmarks"].items() if entry["kind"] == "questions"}

    @property
    def prompt_topics(self) -> dict[str, str]:
        """{prompt set: topic}."""
        return {name: self.config["prompts"][name]["topic"] for name in self.settings["prompts"]}

    @property
    def hazardous_prompts(self) -> dict[str, str]:
        """{hazardous topic: prompt set}, in the order of `topics`."""
        sets = {topic: name for name, topic in self.prompt_topics.items()}
        return {topic: sets[topic] for topic in self.topics}

    @property
    def completed(self) -> list[str]:
        """The runs whose completions are shown: the base, and each layer and c at its grid's first seed.

        Those of a method that is another's variant are not.
        """
        first = [grid | {"seed": sweep.as_list(grid["seed"])[0]} for grid in self.settings["runs"]]
        runs = sweep.expand_runs(first, self.config["methods"])
        return [run for run, its in runs.items() if self.families.get(its["method"], "base") == its["method"]]

    @property
    def used_texts(self) -> list[str]:
        """catalogue/name of the texts that the study uses."""
        used = sweep.used_texts(self.settings)
        return [f"{catalogue}/{name}" for catalogue, names in used.items() for name in names]

    def needs(self, rule: str, **more: Any) -> dict[str, Callable | int]:
        """Resources of a rule, as functions of wildcards and attempt: MB and minutes of a job; and `more`.

        They follow the size of the job's model; of a job of all models that of the largest. How a job holds its model
        is told as a resource, since results are the same: no job runs again for it.
        """

        def size(wildcards: Any) -> float:
            largest = max(self.megabytes[name] for name in self.models)
            return self.megabytes.get(getattr(wildcards, "model", ""), largest)

        def mem_mb(wildcards: Any, attempt: int) -> int:
            models = 2 if rule == "unlearn" and self.released(wildcards.run) else 1
            return resources.memory_mb(rule, size(wildcards), attempt, models)

        def runtime(wildcards: Any, attempt: int) -> int:
            return resources.minutes(rule, size(wildcards), attempt)

        how = {"residency": self.settings["residency"]} if rule in resources.STREAMED else {}
        return {"mem_mb": mem_mb, "runtime": runtime} | how | more

    @property
    def own(self) -> set[str]:
        """Paths of the user's own files and folders."""
        catalogues = (self.config[key] for key in ("models", "corpora", "prompts", "benchmarks"))
        return {entry["path"] for catalogue in catalogues for entry in catalogue.values() if "path" in entry}

    def batches(self, texts: str) -> dict[str, tuple[int, int]]:
        """{method: texts of a batch, characters that each has more than} that a corpus of `texts` must fill alone."""
        catalogue, name = texts.split("/")
        return sweep.batches(self.config, [name]) if catalogue == "corpora" else {}

    def source(self, texts: str, model: str) -> dict[str, Any]:
        """The entry of `texts` for one model, which names what it is made from."""
        return sweep.entry_for_model(self.config, self.texts[texts], model)
