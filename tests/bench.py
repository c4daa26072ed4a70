"""What training, collecting and evaluating cost beside the plain way: `make bench`.

Every measurement of the first two runs in a process of its own, so that its peak memory is its own; what is compared
alternates, and ratios are taken within a repeat. One thread, so that a second of wall time is a second of processor
time. `--only evaluation` runs one of the three.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from helpers.models import reference
from torch import nn
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedTokenizerBase

from overpaint.jobs.telling import counted
from overpaint.junk import collection
from overpaint.models import pretrain
from overpaint.models.load import load_model, load_tokenizer
from overpaint.sources import wikipedia, world
from overpaint.sources.articles import read_articles
from overpaint.unlearning import prefix, span, training
from overpaint.unlearning.methods import Task, rmu

SETTINGS = {
    "c": 6.5, "seed": 0, "c_unit": "absolute", "control_vector": "uniform", "updated": [-2, -1, 0],
    "projections": ["mlp"], "batch": 4, "min_chars": 0, "lr": 5e-5, "max_batches": 150, "shuffle": False,
    "skip_first": False, "mask_padding": False,
}  # fmt: skip
TRAININGS = {"mistral-32x256": (7, 512), "smollm2-135m": (10, 64)}  # layer, tokens a text
# The published loop costs the same in every step. Ours takes its history before and after these, so as often per step
# as the 21 times in a run of 150.
STEPS = {"reference": 2, "single": 14, "sweep": 14}
SWEEP = 8  # runs that share a layer
PROMPTS = (32, 128)
BATCHES = (1, 4, 16)  # sizes that the harness's own model may choose from
CHUNK = 50  # items after which the two models that are compared take turns
# Nats. Scores in float32, the harness's own as ours, are up to 1.2e-4 from those in double precision.
TOLERANCE = 2e-4
FORMS = ("continuation", "letter")
ARMS = {
    "reference": "the published loop",
    "single": "one run, prefix and frozen targets included",
    "sweep": f"a run of a sweep of {SWEEP} that share a layer, what they share included",
    "plain": "output_hidden_states=True, batches of 8 padded prompts",
    "ours": "collect",
    "harness": "the harness's own model, HFLM, at the fastest of the batch sizes " + ", ".join(map(str, BATCHES)),
    "intervened": "IntervenedLM without a clearing",
}


def load(name: str, smollm2: Path) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """A random model of the shape of Mistral-7B at width 256, or SmolLM2."""
    if name == "smollm2-135m":
        return load_model(smollm2, device="cpu"), load_tokenizer(smollm2)
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 896, "num_hidden_layers": 32, "num_attention_heads": 8}
    config = MistralConfig(vocab_size=32000, num_key_value_heads=2, sliding_window=None, **shape)
    tokenizer = pretrain.build_tokenizer(world.generate(seed=0, entities=24, values=12))
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False), tokenizer


def words(count: int, length: int, seed: int) -> list[str]:
    """Texts of `length` random words of the fictional world."""
    vocabulary = world.vocabulary(world.generate(seed=0, entities=24, values=12))
    draw = random.Random(seed)
    return [" ".join(draw.choices(vocabulary, k=length)) for _ in range(count)]


def train(arm: str, model: nn.Module, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """Train as the arm does; the number of steps that were made."""
    (layer, length), steps = TRAININGS[name], STEPS[arm]
    forget, retain = {"topic": words(4 * steps, length, 0)}, words(4 * steps, length, 1)
    settings = SETTINGS | {
        "layer": layer,
        "max_tokens": length,
        "forget_max_tokens": length,
        "steps": steps,
        "alpha": 1200.0,
    }
    if arm == "reference":
        controls = rmu.draw_controls(["topic"], model.config.hidden_size, "uniform", 0)
        given = settings | {"alpha": [1200.0], "forget_max_tokens": [length]}
        reference.unlearn(model, tokenizer, forget, retain, controls, given)
        return steps
    training.PROBES = 1
    if arm == "single":
        rmu.unlearn(model, Task(settings, tokenizer, forget, retain))
        return steps
    with tempfile.TemporaryDirectory() as folder:
        trained = span.span_of(model, settings)
        prefix.write(prefix.compute(trained, tokenizer, forget, retain, settings, norms=False), Path(folder))
        for run in range(SWEEP):
            for parameter, original in zip(trained.edited, trained.original, strict=True):
                parameter.data.copy_(original)
            rmu.unlearn(model, Task(settings | {"c": 2.0 + run}, tokenizer, forget, retain, prefix=Path(folder)))
    return SWEEP * steps


def collect(arm: str, model: nn.Module, tokenizer: PreTrainedTokenizerBase, count: int) -> int:
    """Activations of every layer on `count` prompts of unequal length: at the last token, and their means."""
    prompts = [text for length in range(8, 40, 4) for text in words(count // 8, length, length)]
    random.Random(0).shuffle(prompts)
    if arm == "ours":
        collection.collect(model, tokenizer, prompts)
        return count
    tokenizer.padding_side = "left"
    last, mean = [], []
    for start in range(0, count, 8):
        inputs = tokenizer(prompts[start : start + 8], return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.no_grad():
            states = torch.stack(model(**inputs, output_hidden_states=True, use_cache=False).hidden_states, 1)
        real = inputs["attention_mask"][:, None, :, None]
        last.append(states[:, :, -1].clone())
        mean.append((states * real).sum(2) / real.sum(2))
    torch.cat(last), torch.cat(mean)
    return count


def measure(arm: str, name: str, count: int, smollm2: Path) -> dict[str, float]:
    """Processor and wall seconds per step or prompt, and the peak memory of this process, in MB."""
    torch.set_num_threads(1)
    model, tokenizer = load(name, smollm2)
    work: Callable[[], int] = lambda: train(arm, model, tokenizer, name)  # noqa: E731
    if arm in ("plain", "ours"):
        work = lambda: collect(arm, model, tokenizer, count)  # noqa: E731
    cpu, wall = time.process_time(), time.perf_counter()
    done = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": cpu / done, "wall_s": wall / done, "peak_mb": peak}


def run(arm: str, name: str, count: int, smollm2: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", arm, name, str(count), "--smollm2", str(smollm2)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}, {arm}: {found['wall_s']:.3g} s each, {found['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
    return found


def compare(name: str, arms: list[str], count: int, repeats: int, smollm2: Path) -> list[dict]:
    """Rows of the first arm against each other one: medians of both, and median and range of their ratios."""
    found = [{arm: run(arm, name, count, smollm2) for arm in arms} for _ in range(repeats)]
    rows = []
    for arm in arms[1:]:
        for quantity in ("cpu_s", "wall_s", "peak_mb"):
            pairs = pd.DataFrame([{"plain": f[arms[0]][quantity], "ours": f[arm][quantity]} for f in found])
            ratio = pairs.plain / pairs.ours if quantity != "peak_mb" else pairs.ours / pairs.plain
            rows.append(
                {"model": name, "compared": f"{arm} with {arms[0]}", "prompts": count, "quantity": quantity}
                | {"plain": pairs.plain.median(), "ours": pairs.ours.median(), "ratio": ratio.median()}
                | {"ratio_low": ratio.min(), "ratio_high": ratio.max(), "repeats": repeats}
            )
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format), end="\n\n", flush=True)
    return rows


def items(path: Path, form: str, count: int) -> list[list[SimpleNamespace]]:
    """Four requests each of `count` questions on Wikipedia articles, by the options' words or by letters.

    The words follow the first 24 words of the article and the question; letters follow the options, in the form of
    WMDP and MMLU with the description that these have.
    """
    articles = read_articles(path)
    rows = wikipedia.question_rows(articles, ["Arts", "Geography", "History", "Physical sciences", "Technology"])
    words = {article.title: article.extract.split() for article in articles}
    leads = {title: " ".join(text[:24]) for title, text in words.items() if len(text) >= 24}
    found = []
    for row in [row for row in rows if row["unit"] in leads][:count]:
        context, options = f"{leads[row['unit']]}\n{row['question']}", row["choices"]
        if form == "letter":
            listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
            asked = row["question"].removeprefix("Question: ").removesuffix("\nAnswer:")
            context = "The following are multiple choice questions (with answers) about the world.\n\n"
            context, options = f"{context}{asked}\n{listed}\nAnswer:", list("ABCD")
        found.append([SimpleNamespace(args=(context, f" {option}")) for option in options])
    return found


def evaluate(path: Path, smollm2: Path, form: str, count: int, repeats: int) -> list[dict]:
    """Rows of the harness's own model against ours on the same questions, in this process, taking turns."""
    from lm_eval.models.huggingface import HFLM

    from overpaint.scoring.evaluation import IntervenedLM

    torch.set_num_threads(1)
    model, tokenizer = load("smollm2-135m", smollm2)
    questions = items(path, form, count)

    def score(lm, asked: list[list[SimpleNamespace]], spent: dict[str, float]) -> list[list[tuple[float, bool]]]:
        cpu, wall = time.process_time(), time.perf_counter()
        scores = lm.loglikelihood([request for question in asked for request in question], disable_tqdm=True)
        for quantity, seconds in (("cpu_s", time.process_time() - cpu), ("wall_s", time.perf_counter() - wall)):
            spent[quantity] = spent.get(quantity, 0) + seconds / count
        return [scores[start : start + 4] for start in range(0, len(scores), 4)]

    tried: dict[int, dict[str, float]] = {size: {} for size in BATCHES}
    for size, spent in tried.items():
        score(HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size), questions[:CHUNK], spent)
    size = min(tried, key=lambda size: tried[size]["cpu_s"])
    found = []
    for _ in range(repeats):
        arms = {
            "plain": HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size),
            "ours": IntervenedLM(model, tokenizer),
        }
        spent: dict[str, dict[str, float]] = {arm: {} for arm in arms}
        answers: dict[str, list] = {arm: [] for arm in arms}
        for start in counted(range(0, len(questions), CHUNK), f"{form}, {CHUNK} questions each"):
            for arm, lm in arms.items():
                answers[arm] += score(lm, questions[start : start + CHUNK], spent[arm])
        found.append(spent)
        check(answers["plain"], answers["ours"])
        ratio = spent["plain"]["cpu_s"] / spent["ours"]["cpu_s"]
        print(f"{form}: {ratio:.2f} times the throughput, in processor seconds", flush=True)
    rows = []
    for quantity in ("cpu_s", "wall_s"):
        pairs = pd.DataFrame([{arm: spent[quantity] for arm, spent in repeat.items()} for repeat in found])
        ratio = pairs.plain / pairs.ours
        rows.append(
            {"model": "smollm2-135m", "compared": f"intervened with harness (batches of {size}), {form}"}
            | {"prompts": len(questions), "quantity": quantity, "plain": pairs.plain.median()}
            | {"ours": pairs.ours.median(), "ratio": ratio.median(), "ratio_low": ratio.min()}
            | {"ratio_high": ratio.max(), "repeats": repeats}
        )
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format), end="\n\n", flush=True)
    return rows


def check(plain: list, ours: list) -> None:
    """Say how far the two models' log-likelihoods are apart, and end where they are not the same."""
    pairs = [(a, b) for ones, others in zip(plain, ours, strict=True) for a, b in zip(ones, others, strict=True)]
    apart = max(abs(a[0] - b[0]) for a, b in pairs)
    flags = sum(a[1] != b[1] for a, b in pairs)
    chosen = [[max(range(4), key=lambda i: options[i][0]) for options in answers] for answers in (plain, ours)]
    other = sum(a != b for a, b in zip(*chosen, strict=True))
    print(f"log-likelihoods apart by at most {apart:.1e} nats; other predictions: {other}, other greedy flags: {flags}")
    if apart > TOLERANCE or other or flags:
        raise SystemExit("The two models do not score alike: the comparison of their speed means nothing.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=3, metavar=("ARM", "MODEL", "PROMPTS"), help="one measurement, as JSON")
    parser.add_argument("--smollm2", type=Path, required=True, help="Hugging Face folder of SmolLM2-135M")
    parser.add_argument("--wikipedia", type=Path, default=Path("results/smollm2/downloads/wikipedia"))
    parser.add_argument("--only", choices=["training", "collecting", "evaluation"], help="one of the three parts")
    parser.add_argument("--questions", type=int, default=500, help="of the evaluation")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/performance.csv"))
    given = parser.parse_args()
    if given.measure:
        arm, name, count = given.measure
        print(json.dumps(measure(arm, name, int(count), given.smollm2)))
        return
    print("\n".join(f"{arm}: {text}" for arm, text in ARMS.items()))
    print("Seconds are per step, prompt or question; ratio: plain / ours for seconds, ours / plain for memory.\n")
    rows = []
    for name in TRAININGS if given.only in (None, "training") else ():
        rows += compare(name, ["reference", "single", "sweep"], 0, given.repeats, given.smollm2)
    for count in PROMPTS if given.only in (None, "collecting") else ():
        rows += compare("smollm2-135m", ["plain", "ours"], count, given.repeats, given.smollm2)
    for form in FORMS if given.only in (None, "evaluation") else ():
        rows += evaluate(given.wikipedia, given.smollm2, form, given.questions, given.repeats)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(given.output, index=False)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
