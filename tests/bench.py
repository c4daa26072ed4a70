"""What training and collecting cost beside the plain way: `make bench`.

Every measurement runs in a process of its own, so that its peak memory is its own; what is compared alternates, and
ratios are taken within a repeat. One thread, so that a second of wall time is a second of processor time.
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

import pandas as pd
import reference
import torch
from torch import nn
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedTokenizerBase

from overpaint import collection, models, prefix, pretrain, training, world
from overpaint.methods import Task, rmu

SETTINGS = {
    "c": 6.5, "seed": 0, "c_unit": "absolute", "control": "rand", "updated": [-2, -1, 0], "projections": ["mlp"],
    "batch": 4, "min_length": 0, "lr": 5e-5, "max_batches": 150, "shuffle": False, "skip_first": False,
    "mask_padding": False, "tokens": "last",
}  # fmt: skip
TRAININGS = {"mistral-32x256": (7, 512), "smollm2-135m": (10, 64)}  # layer, tokens a text
# The published loop costs the same in every step. Ours takes its history before and after these, so as often per step
# as the 21 times in a run of 150.
STEPS = {"reference": 2, "single": 14, "sweep": 14}
SWEEP = 8  # runs that share a layer
PROMPTS = (32, 128)
ARMS = {
    "reference": "the published loop",
    "single": "one run, prefix and frozen targets included",
    "sweep": f"a run of a sweep of {SWEEP} that share a layer, what they share included",
    "plain": "output_hidden_states=True, batches of 8 padded prompts",
    "ours": "collect",
}


def load(name: str, smollm2: Path) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """A random model of the shape of Mistral-7B at width 256, or SmolLM2."""
    if name == "smollm2-135m":
        return models.load_model(smollm2, device="cpu"), models.load_tokenizer(smollm2)
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
    settings = SETTINGS | {"layer": layer, "length": length, "forget_length": length, "steps": steps, "alpha": 1200.0}
    if arm == "reference":
        controls = rmu.draw_controls(["topic"], model.config.hidden_size, "rand", 0)
        given = settings | {"alpha": [1200.0], "forget_length": [length]}
        reference.unlearn(model, tokenizer, forget, retain, controls, given)
        return steps
    training.PROBES = 1
    if arm == "single":
        rmu.unlearn(model, Task(settings, tokenizer, forget, retain))
        return steps
    with tempfile.TemporaryDirectory() as folder:
        span = rmu.span_of(model, settings)
        prefix.write(prefix.compute(span, tokenizer, forget, retain, settings, norms=False), Path(folder))
        for run in range(SWEEP):
            for parameter, original in zip(span.edited, span.original, strict=True):
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
    return json.loads(done.stdout.splitlines()[-1])


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=3, metavar=("ARM", "MODEL", "PROMPTS"), help="one measurement, as JSON")
    parser.add_argument("--smollm2", type=Path, required=True, help="Hugging Face folder of SmolLM2-135M")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/performance.csv"))
    given = parser.parse_args()
    if given.measure:
        arm, name, count = given.measure
        print(json.dumps(measure(arm, name, int(count), given.smollm2)))
        return
    print("\n".join(f"{arm}: {text}" for arm, text in ARMS.items()))
    print("Seconds are per step or prompt; ratio: plain / ours for seconds, ours / plain for memory.\n")
    rows = []
    for name in TRAININGS:
        rows += compare(name, ["reference", "single", "sweep"], 0, given.repeats, given.smollm2)
    for count in PROMPTS:
        rows += compare("smollm2-135m", ["plain", "ours"], count, given.repeats, given.smollm2)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(given.output, index=False)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
