"""Shared fixtures: a fictional world, its tokenizer, tiny random models, and a smoke study that was run."""

import copy
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from helpers import planner
from helpers.checkout import OUT, SMOKE, copy_checkout, files, snakemake
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OlmoConfig,
    PhiConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from overpaint.junk.directions import Junk, unit
from overpaint.models import pretrain
from overpaint.models.parts import blocks
from overpaint.sources import world

for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)  # what a test makes is not a part of the make that runs the tests
torch.set_num_threads(1)  # tensors this small only lose time to more threads


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that run studies come first, so that none of them is left when nothing runs beside it."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


WIDTH = 32
SHAPE = {"hidden_size": WIDTH, "num_attention_heads": 4, "max_position_embeddings": 64, "initializer_range": 0.15}
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
GATED = SHAPE | TOKENS | {"intermediate_size": 48, "num_key_value_heads": 2}
PLAIN = SHAPE | TOKENS | {"intermediate_size": 48}
GEMMA = GATED | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64}
# Gemma 2 and 3 attend to a window in some blocks; these texts are shorter than the window.
ARCHITECTURES = {
    "llama": (LlamaConfig, GATED),
    "mistral": (MistralConfig, GATED | {"sliding_window": 8}),
    "qwen2": (Qwen2Config, GATED),
    "gpt2": (GPT2Config, SHAPE | TOKENS),
    "gpt_neox": (GPTNeoXConfig, PLAIN),
    "phi": (PhiConfig, PLAIN),
    "gemma2": (Gemma2Config, GEMMA),
    "gemma3": (Gemma3TextConfig, GEMMA | {"sliding_window_pattern": 2}),
    "qwen3": (Qwen3Config, GATED | {"head_dim": 8}),
    "olmo": (OlmoConfig, GATED),
    "olmo2": (Olmo2Config, GATED),
}
# Settings of every method on the tiny model; tests override what they are about.
SETTINGS = {
    "layer": 2, "c": 4.0, "seed": 0, "c_unit": "mean_norm", "control_vector": "uniform", "updated": [-1, 0],
    "projections": ["mlp"], "steps": 12, "batch": 2, "max_tokens": 24, "forget_max_tokens": 24, "min_chars": 0,
    "lr": 1e-2, "alpha": 5.0, "max_batches": 4, "shuffle": True, "skip_first": True, "mask_padding": True,
    "beta": 0.1, "margin": 0.0,
}  # fmt: skip


@pytest.fixture(scope="session")
def facts() -> list[world.Fact]:
    """Facts of a small world."""
    return world.generate(seed=0, entities=8, values=8)


@pytest.fixture(scope="session")
def tokenizer(facts) -> PreTrainedTokenizerFast:
    """The word-level tokenizer of the world."""
    return pretrain.build_tokenizer(facts)


@pytest.fixture(scope="session")
def make_model(tokenizer) -> Callable[..., PreTrainedModel]:
    """make_model(architecture, seed=0, blocks=4, **config): a random model in which every vector is random too."""

    def make(architecture: str, seed: int = 0, blocks: int = 4, **changes) -> PreTrainedModel:
        kind, settings = ARCHITECTURES[architecture]
        config = kind(**settings | {"vocab_size": len(tokenizer), "num_hidden_layers": blocks} | changes)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases start at ones and zeros, which hides mistakes
                parameter += 0.1 * torch.randn_like(parameter)
        return model

    return make


@pytest.fixture(scope="session")
def originals(make_model) -> dict[str, PreTrainedModel]:
    """One model of each architecture; tests get copies of them."""
    return {name: make_model(name) for name in ARCHITECTURES}


@pytest.fixture
def llama(originals) -> PreTrainedModel:
    """A tiny random Llama, fresh for each test."""
    return copy.deepcopy(originals["llama"])


@pytest.fixture(params=list(ARCHITECTURES))
def architecture(request) -> str:
    """The name of each architecture in turn."""
    return request.param


@pytest.fixture
def any_model(originals, architecture) -> PreTrainedModel:
    """A tiny random model of each architecture in turn, fresh for each test."""
    return copy.deepcopy(originals[architecture])


@pytest.fixture(scope="session")
def inputs(tokenizer, facts) -> dict[str, Tensor]:
    """Two texts of unequal length, padded on the left."""
    texts = [row["text"] for row in world.prompt_rows(facts, ["gloomcraft"])[:2]]
    assert len({len(text.split()) for text in texts}) == 2
    encoded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture(scope="session")
def texts(facts) -> dict[str, list[str]]:
    """Training texts of unequal lengths by topic: two hazardous ones and `retain`."""
    domains = {"gloomcraft": ["gloomcraft"], "riftlore": ["riftlore"], "retain": ["taverns", "rivers"]}
    return {
        topic: [" ".join(text.split()[: 9 + 5 * index % 13]) for index, text in enumerate(_some(facts, own))]
        for topic, own in domains.items()
    }


def _some(facts: list[world.Fact], domains: list[str]) -> list[str]:
    return world.training_texts(facts, domains, copies=8, seed=1)[:24]


@pytest.fixture(scope="session")
def junk(originals) -> Junk:
    """Random directions of two topics that share a part, and random means at every site of every architecture."""
    generator = torch.Generator().manual_seed(3)
    shared, *own = torch.randn(3, WIDTH, generator=generator)
    topics = {name: unit(shared + part) for name, part in zip(("gloomcraft", "riftlore"), own, strict=True)}
    count = len(blocks(originals["llama"]))
    sites = [f"{index}/{place}" for index in range(count) for place in ("input", "attention", "mlp")]
    means = {site: torch.randn(WIDTH, generator=generator) for site in sites}
    kinds = {"contrast": list(topics), "u": list(topics), "top_k": [""], "benign": [""], "span_boot": ["0", "1"]}
    ranks = {"top_k": 3, "span_boot": 2}
    others = {
        kind: {name: unit(torch.randn(ranks.get(kind, 1), WIDTH, generator=generator)) for name in names}
        for kind, names in kinds.items()
    }
    return Junk(topics, 3, means, others)


@pytest.fixture(scope="session")
def logits() -> Callable[[nn.Module, dict[str, Tensor]], Tensor]:
    """logits(model, inputs): those of real tokens, [tokens, vocabulary]."""

    @torch.no_grad()
    def run(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        return model(**inputs, use_cache=False).logits[inputs["attention_mask"].bool()]

    return run


@pytest.fixture(scope="session")
def residuals() -> Callable[[nn.Module, dict[str, Tensor]], tuple[Tensor, ...]]:
    """residuals(model, inputs): transformers' own hidden states at the start of each block, [batch, tokens, width]."""

    @torch.no_grad()
    def run(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        states = model(**inputs, use_cache=False, output_hidden_states=True).hidden_states
        return states[:-1]  # the last one is after the final norm

    return run


@pytest.fixture
def settings() -> dict:
    """Settings that every method accepts."""
    return dict(SETTINGS)


@pytest.fixture(scope="session")
def study(tmp_path_factory, worker_id) -> Path:
    """A copy in which the smoke study has run to its end; all that Snakemake said is in .snakemake/said.txt.

    It runs once for all processes that share the tests; each has a copy of its own, which its tests may add to.
    """
    base = tmp_path_factory.getbasetemp()
    whole = (base if worker_id == "master" else base.parent) / "finished"
    with FileLock(f"{whole}.lock"):
        if not whole.exists():
            _finish(whole)
    return shutil.copytree(whole, tmp_path_factory.mktemp("study") / "copy", symlinks=True)


def _finish(folder: Path) -> None:
    """Run the smoke study in a copy of the checkout."""
    before = files(copy_checkout(folder))
    done = snakemake(folder, "--verbose", *SMOKE)
    assert done.returncode == 0, done.stdout[-5000:]
    assert files(folder) == before, "the study wrote outside results/ and logs/"
    (folder / ".snakemake/said.txt").write_text(done.stdout, encoding="utf-8")


@pytest.fixture(scope="session")
def dry_run() -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """dry_run(folder, arguments): what Snakemake would do in a copy, and says as `stdout`."""
    with planner.started() as by:
        yield by.plan


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Path:
    """A copy in which the smoke study has run here, in the environment of these tests, to its tables."""
    folder = copy_checkout(tmp_path_factory.mktemp("plain"))
    done = snakemake(folder, f"{OUT}/tables/scores.csv", *SMOKE)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder
