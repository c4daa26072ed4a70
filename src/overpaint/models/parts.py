"""The parts of a model, found by structure: its blocks and the matrices that write to the residual stream."""

from torch import nn
from transformers.pytorch_utils import Conv1D

from overpaint.errors import UserError


def blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks: the one ModuleList as long as the configuration's `num_hidden_layers`."""
    count = model.config.get_text_config().num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(lists) != 1:
        raise UserError(
            f"{type(model).__name__} has {len(lists)} module lists of {count} blocks, not one: its layers cannot be "
            "found by structure, so use a decoder-only language model."
        )
    return lists[0]


def attention(block: nn.Module) -> nn.Module:
    """The attention module of a block."""
    return _child(block, ("attn", "attention"))


def mlp(block: nn.Module) -> nn.Module:
    """The MLP of a block."""
    return _child(block, ("mlp",))


def residual_writers(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The modules whose outputs a block adds to the residual stream: its attention and MLP, or the norms after them.

    A block with a `post_feedforward_layernorm` (Gemma 2, OLMo 2) normalises what it adds.
    """
    if hasattr(block, "post_feedforward_layernorm"):
        return block.post_attention_layernorm, block.post_feedforward_layernorm
    return attention(block), mlp(block)


def last_matrix(module: nn.Module) -> tuple[nn.Parameter, int, nn.Parameter | None]:
    """The last matrix that a module multiplies by, its axis that runs along the residual stream, and its bias."""
    experts = [p for p in module.parameters() if p.dim() == 3]
    if experts:
        return experts[-1], 1, None
    named = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    last = [m for name, m in named if "qkv" not in name][-1]  # Phi-3 lists what its attention reads with at the end
    return last.weight, int(isinstance(last, Conv1D)), last.bias


def down_projection(block: nn.Module) -> nn.Parameter:
    """The matrix by which the MLP of a block writes to the residual stream; of experts, theirs in one tensor."""
    return last_matrix(mlp(block))[0]


def output_projection(block: nn.Module) -> nn.Parameter:
    """The matrix by which the attention of a block writes to the residual stream."""
    return last_matrix(attention(block))[0]


PROJECTIONS = {"mlp": down_projection, "attention": output_projection}


def trained_parameters(
    model: nn.Module, layer: int, updated: list[int] | str, projections: list[str]
) -> list[nn.Parameter]:
    """The matrices that a method trains: `projections` of the blocks `updated`, counted from `layer` (0, -1, ...).

    `all` in the place of blocks is every weight of every block.
    """
    chain = blocks(model)
    if updated == "all":
        return list(chain.parameters())
    unknown = [name for name in projections if name not in PROJECTIONS]
    if unknown:
        raise UserError(f"There is no projection {unknown[0]!r}: use any of {', '.join(PROJECTIONS)} in `projections`.")
    return [PROJECTIONS[name](chain[layer + offset]) for offset in sorted(updated) for name in projections]


def check_layer(model: nn.Module, layer: int, updated: list[int] | str) -> None:
    """Refuse a layer whose `updated` blocks, counted from it, do not all exist."""
    count, first = len(blocks(model)), 0 if updated == "all" else -min(updated)
    if not first <= layer < count:
        raise UserError(
            f"Layer {layer} is outside the model: with updated blocks {updated} and {count} blocks in the model choose "
            f"layers from {first} to {count - 1} in `study.runs`."
        )


def parameter_names(model: nn.Module, parameters: list[nn.Parameter]) -> list[str]:
    """Names of `parameters` in `model`, in their order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]


def _child(block: nn.Module, words: tuple[str, ...]) -> nn.Module:
    """The child that multiplies by matrices and whose own name holds one of `words` (not a norm, not a dropout)."""
    children = [
        child
        for name, child in block.named_children()
        if any(word in name.lower() for word in words) and any(p.dim() > 1 for p in child.parameters())
    ]
    if len(children) != 1:
        raise UserError(
            f"{type(block).__name__} has {len(children)} children named like {' or '.join(words)}, not one: its "
            "residual writes cannot be found by structure, so use another architecture."
        )
    return children[0]
