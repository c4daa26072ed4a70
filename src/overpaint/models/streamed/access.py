"""What others ask of a model that may be streamed: to hold blocks, to read parameters and to change them."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from overpaint.models.streamed.store import Parts


def parts(model: nn.Module) -> Parts | None:
    """The parts of a streamed model; None of one that is in memory whole."""
    return getattr(model, "streamed", None)


@contextmanager
def held(model: nn.Module, indices: Iterable[int]) -> Iterator[None]:
    """Within the context some blocks are in memory; those of a model that is whole always are."""
    with ExitStack() as stack:
        if streamed := parts(model):
            for index in indices:
                stack.enter_context(streamed.held(streamed.block(index)))
        yield


@contextmanager
def outside(model: nn.Module) -> Iterator[None]:
    """Within the context all that stands before and behind the blocks is in memory."""
    with ExitStack() as stack:
        if streamed := parts(model):
            for part in streamed.outside:
                stack.enter_context(streamed.held(part))
        yield


def hold(model: nn.Module, indices: Iterable[int]) -> None:
    """Have some blocks in memory from now on."""
    if streamed := parts(model):
        for index in indices:
            streamed.hold(streamed.block(index))


def parameters(model: nn.Module, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Names with the parameters of a model; of a streamed one each is in memory until the next is asked for."""
    if streamed := parts(model):
        yield from streamed.each(names)
    else:
        every = dict(model.named_parameters())
        yield from ((name, every[name].detach()) for name in names)


def weight(model: nn.Module, module: nn.Module) -> Tensor:
    """The matrix of a module outside of the blocks, such as the head."""
    if streamed := parts(model):
        with streamed.held(next(name for name, other in model.named_modules() if other is module)):
            return module.weight.detach()
    return module.weight.detach()


@torch.no_grad()
def change(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors` into the parameters of the same names, of a streamed model whenever they are read."""
    if streamed := parts(model):
        streamed.change(tensors)
        return
    every = dict(model.named_parameters())
    for name, tensor in tensors.items():
        every[name].copy_(tensor)
