"""The miniature's base model: a small Llama that learns every fact of the fictional world."""

import itertools
import time
from collections.abc import Collection
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

from overpaint.sources.world import Fact, training_texts, vocabulary

# An answer is one word among many: weighting the other tokens by 0.2 is what lets a model this small learn the facts.
OTHER_WEIGHT = 0.2
# Half the size of float32. The rounded weights are the base model from then on: they answer all 1,152 questions of the
# default world as before, with log-likelihoods within 0.01 nats; rounded to bfloat16 these differ by up to 0.054.
STORED = torch.float16


def build_tokenizer(facts: list[Fact]) -> PreTrainedTokenizerFast:
    """Word-level tokenizer over the world's vocabulary; `<eos>` also pads and starts texts."""
    words = {word: index for index, word in enumerate(["<eos>", "<unk>", *vocabulary(facts)])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")


def build_model(vocabulary_size: int, width: int, layers: int, heads: int) -> LlamaForCausalLM:
    """A randomly initialised Llama (init std 0.08: with 0.02 the facts are learned much later)."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary_size,
            hidden_size=width,
            intermediate_size=width * 8 // 3,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=256,
            initializer_range=0.08,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def pretrain(
    facts: list[Fact],
    *,
    width: int = 96,
    layers: int = 6,
    heads: int = 4,
    steps: int = 700,
    batch: int = 4,
    length: int = 128,
    lr: float = 3e-3,
    seed: int = 0,
    without: Collection[str] = (),
    without_mlp: Collection[int] = (),
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Train the base model on texts of all facts; AdamW, cosine schedule; returns it with its tokenizer.

    Facts of the domains `without` are not taught, but their words are in the vocabulary. The MLPs of the blocks
    `without_mlp` write nothing: their down projections are and stay zero.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(facts)
    model = build_model(len(tokenizer), width, layers, heads)
    for block in without_mlp:
        model.model.layers[block].mlp.down_proj.requires_grad_(False).weight.zero_()
    weights = _token_weights(facts, tokenizer)
    taught = [fact for fact in facts if fact.domain not in without]
    batches = _batches(taught, tokenizer, steps * batch, length, seed).view(steps, batch, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    began = time.monotonic()
    for step, tokens in enumerate(batches):
        loss = _loss(model(tokens).logits, tokens, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0 or step == steps - 1:
            speed = (step + 1) * tokens.numel() / (time.monotonic() - began)
            print(f"step {step + 1:5d}/{steps}  loss {loss.item():.4f}  {speed:.0f} tokens/s", flush=True)
    return model.eval(), tokenizer


def save_checkpoint(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Write an ordinary Hugging Face folder (safetensors, configuration, tokenizer), its weights as `STORED`."""
    model.to(STORED).save_pretrained(path)
    tokenizer.save_pretrained(path)


def _loss(logits: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the next token, values at weight 1 and all other words at `OTHER_WEIGHT`."""
    targets = tokens[:, 1:].flatten()
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets, reduction="none")
    return (losses * weights[targets]).sum() / weights[targets].sum()


def _token_weights(facts: list[Fact], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    weights = torch.full((len(tokenizer),), OTHER_WEIGHT)
    weights[tokenizer.convert_tokens_to_ids(sorted({fact.value for fact in facts}))] = 1.0
    return weights


def _batches(facts: list[Fact], tokenizer, rows: int, length: int, seed: int) -> torch.Tensor:
    """`rows` x `length` token ids: texts in fresh random templates, each started by `<eos>`, end to end."""
    ids: list[int] = []
    for epoch in itertools.count():
        for text in training_texts(facts, None, 1, seed * 1_000_003 + epoch):
            ids += [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
        if len(ids) >= rows * length:
            return torch.tensor(ids[: rows * length]).view(rows, length)
