"""Score texts after contexts by a model as it is at the moment; what texts share runs once."""

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn

from overpaint.jobs.provenance import NOTED
from overpaint.models.trying import by_trying

Pair = tuple[tuple[int, ...], tuple[int, ...]]  # context and target, in tokens
Scores = dict[Pair, tuple[float, bool]]  # log-likelihood of the target, and whether greedy decoding would write it
# Tokens a forward. On a processor matrix products are at their best from about 200 rows on, and attention over a whole
# pack grows with its square; a GPU wants more rows.
PACK_TOKENS = {"cpu": 256}
PACK_TOKENS_ELSEWHERE = 2048
# Largest difference of log-probabilities, packed and alone, that is taken for rounding, in nats.
ROUNDING = {torch.float32: 1e-3, torch.float16: 0.2, torch.bfloat16: 0.5}


@dataclass
class Pack:
    """Texts as a tree of tokens, in the order in which a walk along its branches meets them.

    tokens, depth: of each node.    end: of each node, the first node behind its branch.
    paths: of each pair of context and target, the nodes that predict the target's tokens.
    """

    tokens: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    paths: dict[Pair, list[int]] = field(default_factory=dict)
    _path: list[int] = field(default_factory=list)

    @property
    def predicting(self) -> list[int]:
        """The nodes whose logits predict a target's tokens, in order."""
        return sorted({node for path in self.paths.values() for node in path})

    def read(self, logits: Tensor) -> Scores:
        """The scores of all pairs, from the logits [n, vocabulary] of the n nodes `predicting`."""
        every = logits.float().log_softmax(-1)  # as the harness; logsumexp rounds otherwise
        place = {node: index for index, node in enumerate(self.predicting)}
        at = [place[node] for path in self.paths.values() for node in path]
        ids = torch.tensor([token for _, target in self.paths for token in target], device=every.device)
        at = torch.tensor(at, device=every.device)
        values = torch.stack([every[at, ids].double(), (every.argmax(-1)[at] == ids).double()]).cpu()
        ends = list(accumulate(len(path) for path in self.paths.values()))
        spans = zip(self.paths, [0, *ends], ends, strict=False)
        return {pair: (values[0, a:b].sum().item(), bool(values[1, a:b].all())) for pair, a, b in spans}

    @property
    def branches(self) -> bool:
        """Whether some token does not see all tokens before it."""
        return any(end < len(self.tokens) for end in self.end)

    def shared(self, text: tuple[int, ...]) -> int:
        """How many tokens `text` shares with the one that was added last."""
        pairs = zip(text, self._path, strict=False)
        return next(
            (depth for depth, (token, node) in enumerate(pairs) if token != self.tokens[node]),
            min(len(text), len(self._path)),
        )

    def add(self, pair: Pair, text: tuple[int, ...]) -> None:
        """Add a text, context and target but for its last token; texts come sorted."""
        shared, size = self.shared(text), len(self.tokens)
        new = range(size, size + len(text) - shared)
        self._path = [*self._path[:shared], *new]
        self.tokens += text[shared:]
        self.depth += range(shared, len(text))
        self.end += [0] * len(new)
        for node in self._path:
            self.end[node] = len(self.tokens)
        self.paths[pair] = self._path[len(text) - len(pair[1]) :]


def _packs(texts: Iterable[tuple[Pair, tuple[int, ...]]], limit: int, longest: int) -> Iterator[Pack]:
    """Sorted texts in packs of at most `limit` tokens; a longer one, or one of over `longest`, stands alone."""
    pack, alone = Pack(), False
    for pair, text in texts:
        shared = pack.shared(text)
        apart = alone or len(text) > longest
        same = shared == len(text) == len(pack.tokens)
        if pack.tokens and not same and (apart or len(pack.tokens) + len(text) - shared > limit):
            yield pack
            pack = Pack()
        pack.add(pair, text)
        alone = len(text) > longest
    if pack.paths:
        yield pack


def _tree_mask(end: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask [1, 1, tokens, tokens]: a token sees itself and the tokens on whose branch it is."""
    index = torch.arange(len(end), device=end.device)
    seen = (index[None] <= index[:, None]) & (index[:, None] < end[None])
    return torch.zeros(seen.shape, dtype=dtype, device=end.device).masked_fill(~seen, torch.finfo(dtype).min)[
        None, None
    ]


class Scorer:
    """A Hugging Face model as it is at the moment of the call, hooks included, that scores tokens after tokens.

    What texts share runs once: a description, a context and the first words of options are the trunk of a tree of
    tokens, which is packed into one row in which a token sees the tokens before it on its branch only. So no token is
    computed twice or padded. Edits act on each token by itself, so that they do the same in a pack.

    max_length: how many tokens the model reads.    pack_tokens: how many it is given at once, by default `PACK_TOKENS`.
    """

    def __init__(self, model: nn.Module, max_length: int, pack_tokens: int | None = None) -> None:
        self.model, self.max_length = model, max_length
        self.pack_tokens = pack_tokens or PACK_TOKENS.get(model.device.type, PACK_TOKENS_ELSEWHERE)
        self._packed: dict[tuple[int, tuple[Pair, ...]], list[Pack]] = {}
        self._longest = self._longest_packed()

    @torch.no_grad()
    def score(self, pairs: list[Pair]) -> list[tuple[float, bool]]:
        """Log-likelihood of each target after its context, and whether greedy decoding would write it.

        What is longer than the model's positions loses tokens from the left, as in the harness.
        """
        different = tuple(dict.fromkeys(pairs))

        def run(size: int) -> Scores:
            self.pack_tokens, scores = size, {}  # what fits is kept for later
            for pack in self.packs(different, size):
                scores |= pack.read(self._logits(pack))
            return scores

        scores = by_trying(run, self.pack_tokens)
        NOTED["pack_tokens"] = self.pack_tokens
        return [scores[pair] for pair in pairs]

    def packs(self, pairs: tuple[Pair, ...], size: int) -> list[Pack]:
        """Packs of at most `size` tokens; made once, since every clearing is asked the same."""
        if (size, pairs) not in self._packed:
            fitting = [(pair, (*pair[0], *pair[1])[-self.max_length - 1 :][:-1]) for pair in pairs]
            cut = sum(len(row) < len(context) + len(target) - 1 for (context, target), row in fitting)
            if cut:
                print(f"{cut} of {len(fitting)} texts are longer than {self.max_length} tokens: cut from the left")
            fitting.sort(key=lambda item: item[1])
            self._packed[size, pairs] = list(_packs(fitting, size, self._longest))
        return self._packed[size, pairs]

    def inputs(self, pack: Pack) -> dict[str, Tensor]:
        """What the model is given of a pack; one of a single branch needs no mask of ours."""
        device = self.model.device
        given = {"input_ids": torch.tensor([pack.tokens], device=device)}
        if pack.branches:
            mask = _tree_mask(torch.tensor(pack.end, device=device), self.model.dtype)
            given |= {"attention_mask": mask, "position_ids": torch.tensor([pack.depth], device=device)}
        return given

    def _logits(self, pack: Pack) -> Tensor:
        """Logits after the tokens of a pack that predict others, [n, vocabulary]."""
        kept = torch.tensor(pack.predicting, device=self.model.device)
        return self.model(**self.inputs(pack), logits_to_keep=kept, use_cache=False).logits[0]

    @torch.no_grad()
    def _longest_packed(self) -> int:
        """How many tokens a text in a pack may have: as many as the model's attention window, all where it has none.

        None in a model that does not take our masks and positions, which two short texts show.
        """
        config = self.model.config.get_text_config()
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            return 0
        texts = torch.randint(config.vocab_size, (2, 6), generator=torch.Generator().manual_seed(0)).tolist()
        pairs = [((7, *text), (7,)) for text in texts]
        packs = [list(_packs([(pair, pair[0]) for pair in pairs], 99, longest)) for longest in (7, 0)]
        logits = [torch.cat([self._logits(pack) for pack in some]) for some in packs]
        together, alone = (one.float().log_softmax(-1) for one in logits)
        if (together - alone).abs().max() > ROUNDING.get(self.model.dtype, 1e-3):
            print(f"{type(self.model).__name__} scores packed texts otherwise: each is run by itself, which is slower")
            return 0
        return getattr(config, "sliding_window", None) or self.max_length
