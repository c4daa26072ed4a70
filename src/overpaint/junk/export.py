"""Write an unlearned or cleared model as an ordinary Hugging Face folder that needs none of our code."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.junk.clearing import Clearing, clear, covers
from overpaint.models.hooks import residual_sites
from overpaint.models.parts import attention, blocks, last_matrix, mlp

# Largest difference of log-probabilities that is taken for rounding, in nats. Float32 makes below 1e-5; the others are
# bounds that were not measured.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.2, torch.bfloat16: 0.5}


def export(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, variants: list[Clearing], folder: Path) -> None:
    """Save the model with its clearing folded into the weights; `variants` are those of one clearing."""
    if len(variants) != 1:
        raise UserError(
            f"The clearing {variants[0].name!r} has {len(variants)} variants, and a folder holds one model: export a "
            "clearing of one variant, such as `none`, or one with direction span or pooled."
        )
    fold(model, variants[0])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def fold(model: PreTrainedModel, clearing: Clearing) -> None:
    """Orthogonalise every matrix that writes to the residual stream, so that it never holds the cleared directions.

    Equivalent to directional ablation everywhere (Arditi et al. 2024, section 4.1); a tied output matrix is untied, as
    it reads the stream. Refused where the weights cannot do what the clearing does, which a forward pass checks.
    """
    if not len(clearing.basis):
        return
    sites = set(residual_sites(model))
    writes = {site for site in sites if covers("writes", site, 0)}
    whole = set(clearing.offsets) == writes or (set(clearing.offsets) == sites and clearing.strength == 1)
    if not whole or any(offset.any() for offset in clearing.offsets.values()):
        raise UserError(
            f"The clearing {clearing.name!r} spares some blocks or leaves the base's mean or a part of what it clears, "
            "which matrices without biases cannot express: export one with target zero and scope all or, for a "
            "strength other than 1, scope writes."
        )
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.randint(vocabulary, (2, 12), generator=torch.Generator().manual_seed(0)).to(model.device)
    with clear(model, clearing):
        wanted = model(tokens).logits.float().log_softmax(-1)
    _untie(model)
    basis = clearing.basis.to(model.device)
    for parameter, axis in _writers(model):
        parameter.copy_(_without(parameter.float(), basis, axis, clearing.strength))
    folded = model(tokens).logits.float().log_softmax(-1)
    if (folded - wanted).abs().max() > TOLERANCE[model.dtype]:
        raise UserError(
            f"A clearing cannot be folded into the weights of {type(model).__name__}, which change what is written to "
            "the residual stream after the last matrix, as a norm there does: export the clearing `none`."
        )


def _without(weight: Tensor, basis: Tensor, axis: int, strength: float) -> Tensor:
    """The weight less `strength` of the components along the rows of `basis` on `axis`, the residual stream's."""
    moved = weight.movedim(axis, -1)
    return (moved - strength * (moved @ basis.T) @ basis).movedim(-1, axis)


def _writers(model: PreTrainedModel) -> list[tuple[nn.Parameter, int]]:
    """Every parameter that writes to the residual stream, with the axis that runs along the stream."""
    width = model.config.get_text_config().hidden_size
    writers = [(m.weight, 1) for m in model.modules() if isinstance(m, nn.Embedding) and m.embedding_dim == width]
    for part in (part for block in blocks(model) for part in (attention(block), mlp(block))):
        matrix, axis, bias = last_matrix(part)
        writers += [(matrix, axis)] + ([] if bias is None else [(bias, 0)])
    return writers


def _untie(model: PreTrainedModel) -> None:
    """Give the output matrix weights of its own where it shares the embedding's."""
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
