"""Settings that are really tried, on a tiny model, from training to the choice, which the test half cannot change."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.scripts import run

from overpaint.models.overlay import Overlay
from overpaint.sources import texts, world

TOPICS = {"hazard": "gloomcraft", "plain": "rivers"}  # {name of a text: topic}
NONE = {"direction": "none", "target": "zero", "scope": "all", "strength": 1, "on_base": False}
ENTRY = {"metric": "acc", "max_scored": 0, "prior": "", "scoring": "continuation", "description": ""}
ENTRY |= {"chat_template": False}
KINDS = {"prompts": world.prompt_rows, "questions": world.question_rows, "text": world.text_rows}
STUDY = {"name": "tiny", "damage_budget": 100, "perplexity_budget": 1000, "tune": {"attained": 1e-9, "cosine": 0}}


def changed(rows: list[dict], split: str) -> list[dict]:
    """The rows with other words and answers in one split."""
    new = {
        "text": lambda text: " ".join(text.split()[::-1]),
        "question": lambda text: " ".join(text.split()[::-1]),
        "choices": lambda words: words[::-1],
    }
    return [row | {key: new[key](row[key]) for key in new if key in row and row["split"] == split} for row in rows]


@pytest.fixture(scope="module")
def given(tmp_path_factory, originals, tokenizer, facts) -> dict:
    """A tiny base model, what two settings made of it, prompts and benchmarks."""
    folder = tmp_path_factory.mktemp("tried")
    originals["llama"].save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    for kind, make in KINDS.items():
        (folder / kind).mkdir()
        for name, topic in TOPICS.items():
            texts.write_rows(make(facts, [topic]), folder / f"{kind}/{name}.jsonl")
    return {
        "model": folder / "model",
        "prompts": [folder / f"prompts/{name}.jsonl" for name in TOPICS],
        "benchmarks": [folder / f"{kind}/{name}.jsonl" for kind in ("questions", "text") for name in TOPICS],
    }


@pytest.fixture(scope="module")
def trained(given, tmp_path_factory, facts) -> Callable[[dict], Path]:
    """trained(settings): the overlay of a run."""
    folder = tmp_path_factory.mktemp("corpora")
    corpora = [folder / f"{name}.jsonl" for name in TOPICS]
    for path, topic in zip(corpora, TOPICS.values(), strict=True):
        texts.write_rows(world.corpus_rows(facts, [topic]), path)

    def train(settings: dict) -> Path:
        made, own = tmp_path_factory.mktemp("run"), settings["kind"] != "base"
        inputs = {"model": given["model"], "prefix": [], "released": []}
        inputs |= {"forget": corpora[:1] if own else [], "retain": corpora[1:] if own else []}
        run("unlearn", made, inputs, ["overlay", "history", "snapshots"], settings=settings, topics=["gloomcraft"],
            dtype="float32")  # fmt: skip
        return made / "overlay"

    return train


def tried(folder: Path, given: dict, overlay: Path) -> dict[str, Path]:
    folder.mkdir()
    benchmarks = {
        f"{name}_{kind}": ENTRY | {"kind": kind, "topic": topic}
        for kind in ("questions", "text")
        for name, topic in TOPICS.items()
    }
    return run(
        "try_setting", folder, given | {"overlay": overlay, "junk": []}, ["answers", "states"], none=NONE,
        topics=TOPICS, hazardous=["gloomcraft"], position="last", benchmarks=benchmarks, dtype="float32",
    )  # fmt: skip


def with_other_words(given: dict, folder: Path, split: str) -> dict:
    """The same inputs, with other words in one split."""
    folder.mkdir()
    others = {}
    for kind, paths in {key: given[key] for key in ("prompts", "benchmarks")}.items():
        others[kind] = [folder / f"{kind}{number}.jsonl" for number in range(len(paths))]
        for path, other in zip(paths, others[kind], strict=True):
            texts.write_rows(changed([json.loads(line) for line in path.read_text().splitlines()], split), other)
    return given | others


@pytest.fixture
def settings(settings) -> dict:
    return settings | {"kind": "rmu", "method": "rmu+alpha-1", "layer": 2, "c": 4.0, "steps": 8, "alpha": 1.0}


def test_a_choice_from_training_on_is_the_same_whatever_the_test_half_says(tmp_path, given, trained, settings):
    runs = {"base": {"kind": "base", "method": "base"}}
    runs |= {f"rmu+alpha-{a}": settings | {"alpha": a, "method": f"rmu+alpha-{a}"} for a in (1.0, 1e6)}
    overlays = [trained(its) for its in runs.values()]
    found = {}
    for case in ("as it is", "test", "fit"):
        (folder := tmp_path / case).mkdir()
        inputs = given if case == "as it is" else with_other_words(given, folder / "texts", case)
        made = [tried(folder / str(number), inputs, overlay) for number, overlay in enumerate(overlays)]
        chosen = run(
            "choose_setting", folder, {key: [files[key] for files in made] for key in ("answers", "states")},
            ["tuning", "tuning_csv", "tuned"], study=STUDY, models=["tiny"], runs=runs,
            variants=dict.fromkeys([*runs][1:], "rmu"), hazardous=["gloomcraft"],
        )  # fmt: skip
        found[case] = pd.read_parquet(chosen["tuning"]), (chosen["tuned"] / "tiny/rmu.yaml").read_bytes()
        answers = pd.read_parquet(made[1]["answers"])
        assert set(answers.split) == {"fit"} and set(answers.clearing) == {"none"}
    pd.testing.assert_frame_equal(found["as it is"][0], found["test"][0])
    assert found["as it is"][1] == found["test"][1]
    assert not found["as it is"][0].equals(found["fit"][0]), "what is read has other words, too"
    pushed, held = found["as it is"][0].sort_values("alpha").to_dict("records")
    assert pushed["attained"] > held["attained"] and pushed["cosine"] < held["cosine"]
    assert pushed["choice"] == "chosen" or held["choice"] == "chosen"


def test_states_are_those_of_the_layer_on_prompts_that_no_corpus_tells_of(tmp_path, given, trained, settings):
    overlay = trained(settings)
    states = pd.read_csv(tried(tmp_path / "all", given, overlay)["states"])
    fit = [row for path in given["prompts"] for row in texts.prompts_of(path, "fit")]
    held = [row for row in fit if row["part"] != "in corpus"]
    assert 0 < len(held) < len(fit) and states.n.sum() == len(held)
    assert states[["topic", "quantity"]].values.tolist() == [["gloomcraft", "attained"], ["rivers", "cosine"]]
    assert states.value[1] < 1
    nothing = tmp_path / "nothing"
    kept = Overlay.load(overlay)
    Overlay({}, kept.controls, kept.settings, kept.base).save(nothing)
    unchanged = pd.read_csv(tried(tmp_path / "unchanged", given, nothing)["states"])
    assert unchanged.value[1] == pytest.approx(1) and unchanged.value[0] < states.value[0]
    Overlay({}, {}, {"layer": 2, "c": 4.0}, kept.base).save(nothing)
    assert pd.read_csv(tried(tmp_path / "without u", given, nothing)["states"]).quantity.tolist() == ["cosine"]
