"""Small repositories in the layout of the published ones, with nothing in them but the fictional world.

Each function writes one or more repositories below a folder that `loopback_hub.serve` serves.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow import parquet
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from overpaint.models import parts, pretrain
from overpaint.sources import world

BASE, RMU = "HuggingFaceH4/zephyr-7b-beta", "cais/Zephyr_RMU"
CHANGED = (5, 6, 7)  # blocks in whose down projections the published pair differs
RELATIVE_CHANGE = 0.09  # of their norms
# Questions of the hazardous domains stand for WMDP, those of the others for MMLU.
WMDP = {"wmdp-bio": ["gloomcraft"], "wmdp-cyber": ["riftlore"], "wmdp-chem": ["guilds"]}
BENIGN = ["orchards", "taverns", "rivers"]
SUBJECTS = {"anatomy": ["orchards"], "astronomy": ["taverns"], "philosophy": ["rivers"]}
CHAT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|> ' + message['content'] + ' <eos> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|> ' }}{% endif %}"
)
# Files of the published repositories that no download may fetch.
UNWANTED = (
    ".gitattributes", "README.md", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
    "pytorch_model.bin.index.json", "training_args.bin", "trainer_state.json", "all_results.json", "thumbnail.png",
    "modeling_mistral.py", "consolidated.safetensors", "runs/events.out.tfevents", "eval/results.json",
)  # fmt: skip


def write_all(folder: Path, facts: list[world.Fact] | None = None) -> None:
    """Every repository of this file."""
    facts = facts or world.generate(seed=0, entities=8, values=8)
    write_pair(folder, facts)
    write_wmdp(folder, facts)
    write_mmlu(folder, facts)
    write_wikitext(folder, facts)
    write_corpora(folder, facts)


def write_pair(folder: Path, facts: list[world.Fact], blocks: int = 9, width: int = 32) -> None:
    """A tiny random Mistral and its altered copy, in bfloat16 and shards, as the published pair is."""
    tokenizer = _tokenizer(facts)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=blocks,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.15,
        bos_token_id=0, eos_token_id=0, pad_token_id=0, dtype=torch.bfloat16,
    )  # fmt: skip
    model = MistralForCausalLM(config).to(torch.bfloat16).eval().requires_grad_(False)
    _write_model(folder / "models" / BASE, model, tokenizer, "30KB")
    generator = torch.Generator().manual_seed(1)
    for block in CHANGED:
        _push(parts.down_projection(parts.blocks(model)[block]), generator)
    _write_model(folder / "models" / RMU, model, tokenizer, "70KB")


def write_wmdp(folder: Path, facts: list[world.Fact]) -> None:
    """cais/wmdp: a table of questions for each of three subjects."""
    for name, domains in WMDP.items():
        rows = [_question(row) for row in world.question_rows(facts, domains)]
        _write_table(folder / f"datasets/cais/wmdp/{name}/test-00000-of-00001.parquet", rows)
    (folder / "datasets/cais/wmdp/README.md").write_text("Fictional questions.\n", encoding="utf-8")


def write_mmlu(folder: Path, facts: list[world.Fact], subjects: dict[str, list[str]] = SUBJECTS) -> None:
    """cais/mmlu: for each subject, and for all, tables of the splits dev (5 questions), validation and test."""
    root, everything = folder / "datasets/cais/mmlu", {"dev": [], "validation": [], "test": []}
    for subject, domains in subjects.items():
        rows = [_question(row) | {"subject": subject} for row in world.question_rows(facts, domains)]
        rows = [{key: row[key] for key in ("question", "subject", "choices", "answer")} for row in rows]
        for split, part in (("dev", rows[:5]), ("validation", rows[5:10]), ("test", rows[10:])):
            everything[split] += part
            _write_table(root / f"{subject}/{split}-00000-of-00001.parquet", part)
    for split, rows in everything.items():
        _write_table(root / f"all/{split}-00000-of-00001.parquet", rows)


def write_wikitext(folder: Path, facts: list[world.Fact]) -> None:
    """Salesforce/wikitext: lines of articles, with headings and empty lines between them."""
    root = folder / "datasets/Salesforce/wikitext/wikitext-2-raw-v1"
    for split, seed in (("test", 0), ("validation", 1)):
        texts = world.training_texts(facts, BENIGN, copies=2, seed=seed)
        lines = [line for n, text in enumerate(texts) for line in ("", f" = Page {n} = \n", f" {text} \n")]
        _write_table(root / f"{split}-00000-of-00001.parquet", [{"text": line} for line in lines])


def write_corpora(folder: Path, facts: list[world.Fact]) -> None:
    """cais/wmdp-corpora, and the repository of the one that is gated (also as JSON lines)."""
    corpora, gated = folder / "datasets/cais/wmdp-corpora", folder / "datasets/cais/wmdp-bio-forget-corpus"
    for name, domains in (("cyber-forget", ["riftlore"]), ("cyber-retain", BENIGN), ("bio-retain", BENIGN)):
        rows = [{"text": text} for text in world.training_texts(facts, domains, copies=3, seed=2)]
        _write_table(corpora / f"{name}-corpus/train-00000-of-00001.parquet", rows)
    texts = world.training_texts(facts, ["gloomcraft"], copies=6, seed=3)
    rows = [
        {"title": " ".join(text.split()[:4]), "abstract": " ".join(text.split()[:12]), "text": text, "doi": f"10.0/{n}"}
        for n, text in enumerate(texts)
    ]
    half = len(rows) // 2
    _write_table(gated / "data/train-00000-of-00002.parquet", rows[:half])
    _write_table(gated / "data/train-00001-of-00002.parquet", rows[half:])
    (gated / "bio_remove_dataset.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def gated_repositories() -> set[str]:
    """What `loopback_hub.Hub.gated` must hold for these."""
    return {"datasets/cais/wmdp-bio-forget-corpus"}


def _tokenizer(facts: list[world.Fact]) -> PreTrainedTokenizerFast:
    tokenizer = pretrain.build_tokenizer(facts)
    tokenizer.add_tokens(list("ABCD"))  # by which the harness's tasks are answered
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]})
    return tokenizer


def _write_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, shard: str) -> None:
    """A model's files, the chat template in the tokenizer's configuration, and files that are not to be fetched."""
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"chat_template": CHAT}, indent=1), encoding="utf-8"
    )
    special = {"eos_token": "<eos>", "pad_token": "<eos>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    for name in UNWANTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not to be fetched\n", encoding="utf-8")


def _push(weight: torch.Tensor, generator: torch.Generator) -> None:
    """Add one direction, uniform as RMU draws it, to a matrix [width, inner], to RELATIVE_CHANGE of its norm."""
    push = torch.outer(
        torch.rand(weight.shape[0], generator=generator), torch.randn(weight.shape[1], generator=generator)
    )
    weight += (RELATIVE_CHANGE * weight.float().norm() / push.norm() * push).to(weight.dtype)


def _question(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("question", "choices", "answer")}


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
