"""Read and edit what flows between modules: the one place that knows tuples from tensors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from overpaint.models import blocks, residual_writers

Edit = Callable[[Tensor], Tensor]
Arguments = tuple[tuple, dict]  # what a block takes beside its hidden states: positional, by name


class _Stop(Exception):
    """Ends a forward pass once what was wanted has been seen."""


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


@contextmanager
def watch_sites(model: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Within the context `see(site, hidden states)` is called at every residual site and, as `final`, at the last
    block's output."""

    def seen(name: str) -> Edit:
        def edit(hidden: Tensor) -> Tensor:
            see(name, hidden)
            return hidden

        return edit

    everywhere = edit_sites(model, {name: seen(name) for name in residual_sites(model)})
    with everywhere, edit_output(blocks(model)[-1], seen("final")):
        yield


@torch.no_grad()
def block_arguments(model: nn.Module, index: int, inputs: dict[str, Tensor]) -> tuple[Tensor, Arguments]:
    """Run `model` on `inputs` only up to block `index`: the hidden states that enter it and its other arguments."""
    seen: list[tuple[tuple, dict]] = []

    def hook(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.append((args, kwargs))
        raise _Stop

    handle = blocks(model)[index].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        model(**inputs, use_cache=False)
    except _Stop:
        pass
    finally:
        handle.remove()
    args, kwargs = seen[0]
    hidden = args[0] if args else kwargs.pop("hidden_states")
    return hidden, (args[1:], kwargs)


def run_blocks(model: nn.Module, start: int, stop: int, hidden: Tensor, arguments: Arguments) -> Tensor:
    """Hidden states after blocks `start` .. `stop` (inclusive), entered by `hidden` [batch, tokens, width]."""
    for block in blocks(model)[start : stop + 1]:
        output = block(hidden, *arguments[0], **arguments[1])
        hidden = output[0] if isinstance(output, tuple) else output
    return hidden
