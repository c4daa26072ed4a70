"""RMU as it was published, transcribed plainly: two models, full forwards, full backward."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from overpaint.models import parts


class AdamW(torch.optim.Optimizer):
    """The AdamW that the reference took from transformers: eps joins the second moment before its bias is corrected."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state |= {"step": 0, "m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)}
                state["step"] += 1
                state["m"].mul_(0.9).add_(parameter.grad, alpha=0.1)
                state["v"].mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
                corrected = (1 - 0.999 ** state["step"]) ** 0.5 / (1 - 0.9 ** state["step"])
                parameter.addcdiv_(state["m"], state["v"].sqrt().add_(1e-6), value=-group["lr"] * corrected)


def unlearn(
    model: nn.Module, tokenizer, forget: dict[str, list[str]], retain: list[str], controls: dict, settings: dict
) -> nn.Module:
    """The model after `settings["steps"]` steps; corpora in file order, padding in the losses."""
    updated, frozen = copy.deepcopy(model).requires_grad_(True), copy.deepcopy(model)
    layer, topics = settings["layer"], list(forget)
    blocks = [parts.blocks(updated)[layer + offset] for offset in settings["updated"]]
    optimizer = AdamW([parts.down_projection(block) for block in blocks], settings["lr"])
    tokenizer.padding_side, tokenizer.truncation_side = "left", "right"

    def activations(which: nn.Module, texts: list[str], length: int) -> Tensor:
        cache = []
        handle = parts.blocks(which)[layer].register_forward_hook(lambda _m, _i, output: cache.append(output))
        encoded = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=length)
        which(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
        handle.remove()
        return cache[0][0] if isinstance(cache[0], tuple) else cache[0]

    for step in range(settings["steps"]):
        number, first = step % len(topics), step // len(topics) * settings["batch"]
        texts, kept = (corpus[first : first + settings["batch"]] for corpus in (forget[topics[number]], retain))
        target = settings["c"] * controls[topics[number]].to(model.dtype)
        forgetting = activations(updated, texts, settings["forget_max_tokens"][number])
        forget_loss = mse_loss(forgetting, target.expand_as(forgetting))
        retaining = activations(updated, kept, settings["max_tokens"])
        with torch.no_grad():
            held = activations(frozen, kept, settings["max_tokens"])
        loss = forget_loss + settings["alpha"][number] * mse_loss(retaining, held)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return updated
