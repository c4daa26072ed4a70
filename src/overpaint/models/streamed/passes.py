"""Many forward passes at once, block by block: a block is read once, whatever the number of passes.

Passes on the same inputs share their states up to the first block in which they differ, by its tensors or by an edit.
What a block is given beside the states (masks, positions) is what the model itself gives it.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from overpaint.models.hooks import Edit, logits_from, residual_sites, skipped
from overpaint.models.overlay import replaced
from overpaint.models.parts import blocks
from overpaint.models.streamed.access import held, outside

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model is given: input_ids [batch, tokens], and masks and positions where they are not the model's own."""

    given: dict[str, Tensor]

    @property
    def tokens(self) -> int:
        """Number of tokens, padding included."""
        return self.given["input_ids"].numel()


@dataclass(frozen=True, eq=False)
class State:
    """What a model has in a pass that it has not of itself.

    tensors: parameters by name in place of the model's own.    edits: by residual site.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    edits: dict[str, Edit] = field(default_factory=dict)


MODEL = State()


class Pass(NamedTuple):
    """A forward pass of a model.

    start, entering: the block to begin with and the states that enter it, [batch, tokens, width]; of itself the model
        begins with the first.
    """

    inputs: Inputs
    state: State = MODEL
    start: int = 0
    entering: Tensor | None = None


MEMORY = Path("/proc/meminfo")
OUTSIDE = -1  # what stands before and behind the blocks
Call = tuple[tuple, dict[str, Any]]  # what a block is given beside the hidden states


class _Stop(Exception):
    """Ends a pass whose blocks have all been asked for."""


@torch.no_grad()
def through(
    model: nn.Module,
    passes: Sequence[Pass],
    see: Callable[[int, int, Tensor], None] | None = None,
    stop: int | None = None,
) -> list[Tensor]:
    """States behind the last block of every pass, or those that enter the block `stop`, [batch, tokens, width].

    see: is given the number of a pass, that of a block, and the states behind it.
    """
    chain, sites, names = blocks(model), residual_sites(model), _block_names(model)
    states = {id(one.state): one.state for one in passes}
    parts = {key: _by_block(state, names) for key, state in states.items()}
    alike = {key: _alike(state, parts[key]) for key, state in states.items()}
    first: dict[int, int] = {}
    for number, one in enumerate(passes):
        first.setdefault(id(one.state.tensors), number)
    order = sorted(range(len(passes)), key=lambda number: first[id(passes[number].state.tensors)])
    with outside(model):
        hidden, calls = _entering(model, passes, parts)
    for index, block in enumerate(chain[:stop]):
        shared: dict[tuple, Tensor] = {}
        with held(model, [index]):
            for number in order:
                inputs, state, start, entering = passes[number]
                if index < start:
                    continue
                key = (id(inputs), number if entering is not None else -1, *alike[id(state)](index))
                if key not in shared:
                    with _as(model, sites, parts[id(state)].get(index)):
                        shared[key] = _run(block, hidden[number], calls[number][index])
                hidden[number] = shared[key]
                if see:
                    see(number, index, hidden[number])
    return hidden


def fitting(model: nn.Module, items: Sequence[T], passes: Callable[[T], list[Pass]]) -> Iterator[list[T]]:
    """As many items at a time, one at least, as a quarter of the free memory holds the states of the passes of."""
    left, taken = room(model.device) / 4, []
    width = model.config.get_text_config().hidden_size * model.dtype.itemsize
    for item in items:
        wanted = passes(item)
        masks = {id(tensor): tensor.nbytes for one in wanted for tensor in one.inputs.given.values()}
        needed = sum(one.inputs.tokens for one in wanted) * width + sum(masks.values())
        if taken and needed > left:
            yield taken
            left, taken = room(model.device) / 4, []
        left -= needed
        taken.append(item)
    yield taken


@torch.no_grad()
def logits(model: nn.Module, one: Pass, hidden: Tensor, keep: Tensor | int = 0) -> Tensor:
    """The logits of a pass from its states behind the last block; keep: rows, or how many of the last, 0 for all."""
    outside = _by_block(one.state, _block_names(model)).get(OUTSIDE) if one.state.tensors else None
    with _as(model, {}, outside):
        return logits_from(model, len(blocks(model)) - 1, hidden, keep, one.inputs.given.get("position_ids"))


def room(device: torch.device) -> int:
    """Bytes of memory that are free on a GPU, or on this machine: 4 GB where it does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    told = re.search(r"MemAvailable: *(\d+) kB", MEMORY.read_text(encoding="ascii") if MEMORY.exists() else "")
    return 1024 * int(told[1]) if told else 4 * 2**30


def _block_names(model: nn.Module) -> list[str]:
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(block)] for block in blocks(model)]


def _by_block(state: State, names: list[str]) -> dict[int, State]:
    """{number of a block: the state's tensors and edits in it}; tensors outside of blocks are at `OUTSIDE`."""
    found: dict[int, State] = {}
    for name, tensor in state.tensors.items():
        index = next((i for i, block in enumerate(names) if name.startswith(f"{block}.")), OUTSIDE)
        found.setdefault(index, State()).tensors[name] = tensor
    for site, edit in state.edits.items():
        found.setdefault(int(site.partition("/")[0]), State()).edits[site] = edit
    return found


def _alike(state: State, parts: dict[int, State]) -> Callable[[int], tuple[int, int]]:
    """What passes on the same inputs have in common whose states behind a block are the same."""
    changed, edited = (
        min((index for index, part in parts.items() if getattr(part, kind)), default=sys.maxsize)
        for kind in ("tensors", "edits")
    )
    return lambda index: (id(state.tensors) if index >= changed else 0, id(state) if index >= edited else 0)


def _entering(
    model: nn.Module, passes: Sequence[Pass], parts: dict[int, dict[int, State]]
) -> tuple[list[Tensor], list[list[Call]]]:
    """What enters the first block of every pass, and what each block is given beside it; once for equal ones."""
    found: dict[tuple[int, int], tuple[Tensor, list[Call]]] = {}
    keys = []
    for one in passes:
        outside = parts[id(one.state)].get(OUTSIDE)
        keys.append((id(one.inputs), id(outside)))
        if keys[-1] not in found:
            with _as(model, {}, outside):
                found[keys[-1]] = _calls(model, one.inputs)
    hidden = [found[key][0] if one.entering is None else one.entering for key, one in zip(keys, passes, strict=True)]
    return hidden, [found[key][1] for key in keys]


def _calls(model: nn.Module, inputs: Inputs) -> tuple[Tensor, list[Call]]:
    """What the model gives to its first block, and beside the states to each; no block runs."""
    chain, entering, calls = blocks(model), [], []

    def record(_block: nn.Module, args: tuple, kwargs: dict) -> None:
        kwargs = dict(kwargs)
        entering.append(args[0] if args else kwargs.pop("hidden_states"))
        calls.append((args[1:], kwargs))
        if len(calls) == len(chain):
            raise _Stop

    with ExitStack() as stack:
        stack.enter_context(skipped(chain))
        for block in chain:  # before other hooks, whose edits the block itself will meet
            handle = block.register_forward_pre_hook(record, prepend=True, with_kwargs=True)
            stack.callback(handle.remove)
        try:
            model(**inputs.given, use_cache=False)
        except _Stop:
            return entering[0], calls
    raise AssertionError(f"not all {len(chain)} blocks were asked for")


@contextmanager
def _as(model: nn.Module, sites: dict, state: State | None) -> Iterator[None]:
    """Within the context the model has the tensors of a state, and its edits at `sites`; the model's own for None."""
    with ExitStack() as stack:
        if state and state.tensors:
            stack.enter_context(replaced(model, state.tensors))
        for name, edit in state.edits.items() if state else ():
            module, place = sites[name]
            stack.enter_context(place(module, edit))
        yield


def _run(block: nn.Module, hidden: Tensor, call: Call) -> Tensor:
    output = block(hidden, *call[0], **call[1])
    return output[0] if isinstance(output, tuple) else output
