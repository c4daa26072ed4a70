"""One cell of the default study from its base model, as a program: `one_cell.py FOLDER STEPS`.

Writes FOLDER/answers.parquet, and FOLDER/overlay.safetensors with what RMU changed.
"""

import copy
import sys
from pathlib import Path

import pandas as pd
import torch

from helpers.checkout import ROOT
from helpers.configurations import DEFAULT, SCHEMA
from overpaint import sources
from overpaint.junk import estimators
from overpaint.junk.collection import collect_sets
from overpaint.junk.estimators import Sample
from overpaint.junk.run import Run
from overpaint.models.load import load_model, load_tokenizer
from overpaint.scoring.evaluation import Benchmark, evaluate_clearings
from overpaint.sources import texts, world
from overpaint.study.configuration import complete
from overpaint.study.study import Study
from overpaint.unlearning import methods

RUN = {"method": "rmu", "layer": 3, "c": 4, "seed": 0}
EVALUATED = [{"clearings": ["none", "span"], "benchmarks": ["gloomcraft", "riftlore", "everyday"]}]


def of_one_cell(steps: int) -> Study:
    """The default study with this run alone, of so many steps."""
    config = copy.deepcopy(DEFAULT)
    config["methods"]["rmu"]["steps"] = steps
    config["study"] |= {"runs": [RUN], "evaluate": EVALUATED, "naive_model": "", "measures": {}}
    return Study(complete(config, SCHEMA))


def prepared(study: Study, folder: Path) -> dict[str, Path]:
    """{catalogue/name: file} of the study's texts, which are written to a folder."""
    world.save(world.generate(**next(iter(study.chosen["worlds"].values()))), folder / "world.json")
    files = {name: folder / f"{name}.jsonl" for name in study.used_texts}
    for name, file in files.items():
        file.parent.mkdir(exist_ok=True)
        texts.write_rows(sources.rows(study.texts[name], folder / "world.json"), file)
    return files


def main(folder: Path, steps: int) -> None:
    """RMU, its junk, and the answers before and after clearing."""
    torch.set_num_threads(1)
    study = of_one_cell(steps)
    files, [name], topics = prepared(study, folder), study.unlearned, study.prompt_topics
    checkpoint = ROOT / study.config["models"][study.models[0]]["path"]
    base = Run(load_model(checkpoint), load_tokenizer(checkpoint))
    corpora = {name: texts.read_texts(files[f"corpora/{name}"]) for name in study.chosen["corpora"]}
    forget = {topic: corpora[name] for topic, name in zip(study.topics, study.settings["forget"], strict=True)}
    retain = [text for name in study.settings["retain"] for text in corpora[name]]
    task = methods.Task(study.runs[name], base.tokenizer, forget, retain)
    overlay, _ = methods.get("rmu").unlearn(load_model(checkpoint), task)
    overlay.save(folder / "overlay.safetensors")

    model = load_model(checkpoint)
    run = Run(model, base.tokenizer, overlay, overlay.apply(model))
    prompts = [files[f"prompts/{name}"] for name in topics]
    uncleared = {"none": study.config["clearings"]["none"]}
    sets = [collect_sets(one, topics, prompts, uncleared) for one in (base, run)]
    before, after = ({name: found[split, name] for split, name in found if split == "fit"} for found in sets)
    sample = Sample.of(before, after, study.hazardous_prompts, overlay.controls, RUN["layer"] + 1, "last")
    run = Run(model, base.tokenizer, overlay, run.base_tensors, estimators.fit(sample, before, RUN["layer"]))
    asked = [Benchmark.of(name, entry, files[f"benchmarks/{name}"]) for name, entry in study.questions().items()]
    plan = [(how, asked) for clearing, entry in study.clearings(name).items() for how in run.clearings(clearing, entry)]
    pd.DataFrame(evaluate_clearings(run, plan, "test")).to_parquet(folder / "answers.parquet", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
