"""Score a model in many states at once, block by block, for a model that is read from its folder block by block."""

from collections import defaultdict
from typing import NamedTuple

import torch

from overpaint.models.streamed.access import outside
from overpaint.models.streamed.passes import Inputs, Pass, State, fitting, logits, through
from overpaint.models.trying import by_trying
from overpaint.scoring.packing import Pack, Pair, Scorer, Scores

Asked = tuple[State, tuple[Pair, ...]]  # a state, and what the model is asked in it


class _Item(NamedTuple):
    """A pack with the numbers of the states in which it is asked."""

    pack: Pack
    numbers: list[int]
    inputs: Inputs


@torch.no_grad()
def score(scorer: Scorer, asked: list[Asked]) -> list[Scores]:
    """What `scorer.score` gives of the model in each of the states; they share what they have in common."""
    model = scorer.model

    def passes(item: _Item) -> list[Pass]:
        return [Pass(item.inputs, asked[number][0]) for number in item.numbers]

    def run(size: int) -> list[Scores]:
        scorer.pack_tokens, found = size, [{} for _ in asked]
        for items in fitting(model, _items(scorer, asked, size), passes):
            listed = [
                (item, number, one) for item in items for number, one in zip(item.numbers, passes(item), strict=True)
            ]
            hidden = through(model, [one for _, _, one in listed])
            for (item, number, one), states in zip(listed, hidden, strict=True):
                kept = torch.tensor(item.pack.predicting, device=model.device)
                found[number] |= item.pack.read(logits(model, one, states, kept)[0])
        return found

    with outside(model):
        return by_trying(run, scorer.pack_tokens)


def _items(scorer: Scorer, asked: list[Asked], size: int) -> list[_Item]:
    """Every pack once; equal questions are the same packs."""
    packs: dict[int, Pack] = {}
    numbers: dict[int, list[int]] = defaultdict(list)
    for number, (_, pairs) in enumerate(asked):
        for pack in scorer.packs(pairs, size):
            packs[id(pack)] = pack
            numbers[id(pack)].append(number)
    return [_Item(pack, numbers[key], Inputs(scorer.inputs(pack))) for key, pack in packs.items()]
