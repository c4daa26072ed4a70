"""Greedy continuations of prompts by a model as it is and cleared."""

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from overpaint.clearing import Clearing, clear


@torch.no_grad()
def complete(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str], clearing: Clearing, tokens: int = 32
) -> list[str]:
    """What `model` under `clearing` writes after each prompt, greedily, at most `tokens` tokens; untrusted text."""
    written = []
    with clear(model, clearing):
        for prompt in prompts:
            inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False).to(model.device)
            output = model.generate(
                **inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
            written.append(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return written
