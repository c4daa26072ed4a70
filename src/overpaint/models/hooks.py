"""Read and edit what flows between modules: the one place that knows tuples from tensors."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.models.parts import blocks, residual_writers

Edit = Callable[[Tensor], Tensor]
See = Callable[[str, Tensor], None]


class _Stop(Exception):
    """Ends a forward pass once the hidden states that were wanted have been seen."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__("not an error: the forward pass ends here")
        self.hidden = hidden


@contextmanager
def edit_input(module: nn.Module, edit: Edit) -> Iterator[None]:
    """Within the context the hidden states that enter `module` [batch, tokens, width] pass through `edit`."""

    def hook(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (edit(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])}

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def edit_output(module: nn.Module, edit: Edit) -> Iterator[None]:
    """Within the context the hidden states that `module` returns pass through `edit`."""

    def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> Tensor | tuple:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def residual_sites(model: nn.Module) -> dict[str, tuple[nn.Module, Callable]]:
    """Every place where the residual stream is read or written: name -> (module, context manager to edit there).

    Names are `{block}/input`, `{block}/attention`, `{block}/mlp`.
    """
    sites: dict[str, tuple[nn.Module, Callable]] = {}
    for index, block in enumerate(blocks(model)):
        attention, mlp = residual_writers(block)
        sites[f"{index}/input"] = (block, edit_input)
        sites[f"{index}/attention"] = (attention, edit_output)
        sites[f"{index}/mlp"] = (mlp, edit_output)
    return sites


@contextmanager
def edit_sites(model: nn.Module, edits: dict[str, Edit]) -> Iterator[None]:
    """Within the context each named residual site (`residual_sites`) passes through its edit."""
    sites = residual_sites(model)
    with ExitStack() as stack:
        for name, edit in edits.items():
            module, place = sites[name]
            stack.enter_context(place(module, edit))
        yield


@torch.no_grad()
def check_sites(model: nn.Module) -> None:
    """Refuse a model that writes to its residual stream elsewhere than at its residual sites, where no edit reaches.

    A direction that is taken out at every site must be gone behind the last block: to 2 % of what it was, which leaves
    room for bfloat16.
    """
    generator = torch.Generator().manual_seed(0)
    config = model.config.get_text_config()
    tokens = torch.randint(config.vocab_size, (1, 12), generator=generator).to(model.device)
    row = torch.nn.functional.normalize(torch.randn(config.hidden_size, generator=generator), dim=0)
    row = row.to(model.device, model.dtype)

    def left(sites: Iterable[str]) -> Tensor:
        outputs = []
        edits = {site: lambda hidden: hidden - (hidden @ row)[..., None] * row for site in sites}
        with edit_sites(model, edits), edit_output(blocks(model)[-1], lambda hidden: outputs.append(hidden) or hidden):
            model(tokens, use_cache=False, logits_to_keep=1)
        return (outputs[0].float() @ row.float()).norm()

    if left(residual_sites(model)) > 0.02 * left([]):
        raise UserError(
            f"{type(model).__name__} writes to its residual stream elsewhere than at the inputs, attention and MLPs of "
            "its blocks, so that nothing can be cleared from it: use another architecture."
        )


@contextmanager
def watch_sites(model: nn.Module, see: See) -> Iterator[None]:
    """Within the context `see(site, hidden states)` is called at every residual site and, as `final`, at the last
    block's output."""
    everywhere = edit_sites(model, {name: watching(name, see) for name in residual_sites(model)})
    with everywhere, edit_output(blocks(model)[-1], watching("final", see)):
        yield


def watching(site: str, see: See) -> Edit:
    """An edit that changes nothing and calls `see(site, hidden states)`."""

    def edit(hidden: Tensor) -> Tensor:
        see(site, hidden)
        return hidden

    return edit


def run_span(model: nn.Module, layer: int, inputs: dict[str, Tensor], start: int = 0, entering: Tensor | None = None):
    """Hidden states after block `layer` [batch, tokens, width]; no block above it runs.

    inputs: input_ids and attention_mask, [batch, tokens] each. With `entering` [batch, tokens, width], the states that
    enter block `start`, no block below that one runs either, and input_ids are not needed. Masks, positions and
    windows are those that the model itself gives to each block.
    """
    chain = blocks(model)
    with ExitStack() as stack:
        if entering is not None:
            inputs = {"inputs_embeds": entering, "attention_mask": inputs["attention_mask"]}
            stack.enter_context(skipped(chain[:start]))
            stack.enter_context(edit_input(chain[start], lambda _: entering))
        stack.enter_context(edit_output(chain[layer], _stop))
        try:
            model(**inputs, use_cache=False)
        except _Stop as stopped:
            return stopped.hidden
    raise AssertionError(f"block {layer} did not run")


@torch.no_grad()
def unembed(model: nn.Module, states: Tensor) -> Tensor:
    """The logits [n, vocabulary] that `model` makes of final residuals [n, width]: its own last norm and head.

    The model runs with every block skipped, so that whatever it does after them is done.
    """
    return logits_from(model, len(blocks(model)) - 1, states[:, None])[:, 0]


@torch.no_grad()
def logits_from(
    model: nn.Module, block: int, hidden: Tensor, keep: Tensor | int = 0, positions: Tensor | None = None
) -> Tensor:
    """The logits [batch, tokens, vocabulary] of a model whose `block` has returned `hidden` [batch, tokens, width].

    keep: the tokens whose logits are wanted, or how many of the last; 0 for all.
    positions: those of tokens that are not in a row, [batch, tokens].
    """
    own = {} if positions is None else {"position_ids": positions}
    chain = blocks(model)
    with skipped(chain[: block + 1]), edit_input(chain[0], lambda _: hidden):
        return model(inputs_embeds=hidden, logits_to_keep=keep, use_cache=False, **own).logits


def _stop(hidden: Tensor) -> Tensor:
    raise _Stop(hidden)


@contextmanager
def skipped(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within the context the modules return the hidden states that they are given."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, "forward", lambda hidden_states, *_, **__: hidden_states))
        yield
