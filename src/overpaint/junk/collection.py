"""Collect residual-stream activations over prompts; memory does not grow with the number of prompts' tokens."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.junk.activations import Activations
from overpaint.junk.run import Run
from overpaint.models.hooks import See, check_sites, residual_sites, watch_sites, watching
from overpaint.models.parts import blocks
from overpaint.models.streamed.access import parts
from overpaint.models.streamed.passes import Inputs, Pass, State, fitting, through
from overpaint.models.trying import by_trying
from overpaint.sources import texts

Watched = tuple[Tensor, See]  # tokens [batch, tokens], and what sees their states


def collect(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str], batch_tokens: int = 1024
) -> Activations:
    """Activations of `model` on `prompts`, in their order, in batches of at most `batch_tokens` tokens with padding.

    Batches are smaller where a GPU's memory asks for it. Raises UserError for a prompt of fewer than two tokens.
    """
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    if min(map(len, encoded), default=0) < 2:
        raise UserError("A prompt has fewer than two tokens, none beside the first: lengthen it or leave it out.")
    return collect_tokens(model, encoded, batch_tokens)


def collect_sets(
    run: Run, topics: dict[str, str], paths: list[str], clearing: dict[str, dict]
) -> dict[tuple[str, str], Activations]:
    """{(split, prompt set): activations} of a run; topics: {prompt set: topic}; clearing: {name: its settings}."""
    check_sites(run.model)
    [cleared] = (run.by_topic(name, settings, topics.values()) for name, settings in clearing.items())
    sets = {}
    for (name, topic), path in zip(topics.items(), paths, strict=True):
        with run.cleared(cleared[topic]):
            for split in texts.SPLITS:
                sets[split, name] = collect(run.model, run.tokenizer, texts.read_prompts(path, split))
    return sets


def collect_tokens(model: nn.Module, encoded: list[list[int]], batch_tokens: int = 1024) -> Activations:
    """As `collect`, of token ids; where a text has one token alone, its mean over the others is 0.

    Raises UserError where an activation is no finite number.
    """
    activations = by_trying(lambda size: _collect(model, encoded, size), batch_tokens)
    finite = torch.stack([activations.last.isfinite().all(-1), activations.mean.isfinite().all(-1)]).all(0)
    if not finite.all():
        prompt, depth = (~finite).nonzero()[0].tolist()
        raise UserError(
            f"Activations of {model.name_or_path or type(model).__name__} are not finite numbers on "
            f"{int((~finite).any(1).sum())} of {len(encoded)} prompts, first on number {prompt + 1} at the start of "
            f"block {depth}: set `dtype` of the model to float32 or bfloat16, or lower `c` or `lr` of the run."
        )
    return activations


@torch.no_grad()
def _collect(model: nn.Module, encoded: list[list[int]], batch_tokens: int) -> Activations:
    """Activations on tokens. Padding stands on the right, where causal attention keeps it from all that counts."""
    depths, width = len(blocks(model)) + 1, model.get_input_embeddings().embedding_dim
    last = torch.empty(len(encoded), depths, width, dtype=model.dtype)
    mean, first = torch.empty_like(last), torch.zeros(depths, width)
    sums = {name: torch.zeros(width) for name in residual_sites(model)}
    watched: list[Watched] = []
    for rows in groups(encoded, batch_tokens):
        tokens, weights, ends = _pad([encoded[row] for row in rows], model.device)

        def see(
            site: str, hidden: Tensor, rows: list[int] = rows, weights: Tensor = weights, ends: Tensor = ends
        ) -> None:
            inner = torch.einsum("pt,ptw->pw", weights, hidden.float()).cpu()
            if site in sums:
                sums[site] += inner.sum(0)
            block, _, place = site.partition("/")
            if place in ("input", ""):
                depth = depths - 1 if block == "final" else int(block)
                last[rows, depth] = hidden[torch.arange(len(rows)), ends].cpu()
                mean[rows, depth] = inner.to(mean.dtype)
                first[depth] += hidden[:, 0].float().sum(0).cpu()

        watched.append((tokens, see))
    run_watched(model, watched)
    return Activations(last, mean, first / len(encoded), {name: total / len(encoded) for name, total in sums.items()})


def run_watched(model: nn.Module, watched: list[Watched]) -> None:
    """Run texts, and have each batch see its states at every residual site and, as `final`, behind the last block.

    A model that is streamed runs all of them block by block.
    """
    if not parts(model):
        for tokens, see in watched:
            with watch_sites(model, see):
                model(tokens, use_cache=False, logits_to_keep=1)
        return
    passes = [
        Pass(Inputs({"input_ids": tokens}), State(edits={site: watching(site, see) for site in residual_sites(model)}))
        for tokens, see in watched
    ]
    for some in fitting(model, list(zip(passes, watched, strict=True)), lambda item: [item[0]]):
        hidden = through(model, [one for one, _ in some])
        for (_, (_, see)), states in zip(some, hidden, strict=True):
            see("final", states)


def _pad(encoded: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens padded on the right, weights that average over all but the first token, and the last tokens' places."""
    lengths = torch.tensor([len(tokens) for tokens in encoded])
    places = torch.arange(int(lengths.max()))
    inner = (places > 0) & (places < lengths[:, None])
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(tokens) for tokens in encoded], batch_first=True)
    return tokens.to(device), (inner / (lengths[:, None] - 1).clamp(min=1)).to(device), (lengths - 1).to(device)


def groups(encoded: list[list[int]], batch_tokens: int) -> list[list[int]]:
    """Indices of prompts in groups of similar length, each of at most `batch_tokens` tokens once padded."""
    batches: list[list[int]] = []
    for row in sorted(range(len(encoded)), key=lambda row: len(encoded[row])):
        if batches and (len(batches[-1]) + 1) * len(encoded[row]) <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
