"""Evaluate a model under intervention with lm-evaluation-harness task definitions, one row per question kept."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the harness's data sets are local files

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.clearing import Clearing, clear
from overpaint.models import replaced


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the study.

    name, topic: its entry in the catalogue and the topic it asks about.
    path: JSONL of questions {id, unit, split, question, choices, answer} or of texts {id, unit, split, text}.
    metric: the harness's metric for questions (`acc`, `acc_norm`, `acc_mutual_info`); `perplexity` for texts.
    limit: at most so many rows of the split, the first ones; 0 for all.
    prior: what stands before an option in the unconditional term of `acc_mutual_info`; "" for one start token. A
        question of the same form that asks about nothing makes it domain-conditional PMI (Holtzman et al. 2021).
    """

    name: str
    topic: str
    path: Path
    metric: str
    limit: int = 0
    prior: str = ""

    @classmethod
    def of(cls, name: str, settings: dict, path: Path) -> "Benchmark":
        """The benchmark of a catalogue entry, normalised to `path`."""
        metric = "perplexity" if settings["kind"] == "text" else settings["metric"]
        return cls(name, settings["topic"], path, metric, settings["limit"], settings["prior"])


class IntervenedLM(TemplateLM):
    """A Hugging Face model as it is at the moment of the call, hooks included, behind the harness's interface.

    Contexts shared between options run once: context and options are packed into one row in which an option sees
    its context and itself only, so that no token is computed twice or padded.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, pack_tokens: int = 384) -> None:
        super().__init__()
        self.model, self.tokenizer, self.pack_tokens = model, tokenizer, pack_tokens
        self.prior = ""
        self._encoded: dict[tuple[str, bool], list[int]] = {}
        self._start = [*tokenizer("")["input_ids"], tokenizer.eos_token_id][0]

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token before text that has no context: what the tokenizer itself starts texts with, else eos."""
        return self._start

    def tok_encode(self, string: str, add_special_tokens: bool = True, **kwargs) -> list[int]:
        """Token ids, by default with the special tokens that the tokenizer adds by itself; encoded once."""
        key = (string, add_special_tokens)
        if key not in self._encoded:
            self._encoded[key] = self.tokenizer(string, add_special_tokens=add_special_tokens)["input_ids"]
        return self._encoded[key]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation; an empty context is `prior` where that is set."""
        pairs = [(context or self.prior, continuation) for context, continuation in (r.args for r in requests)]
        return super().loglikelihood([SimpleNamespace(args=pair) for pair in pairs], disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, each token once, in windows of the model's context length."""
        totals = []
        for (text,) in (request.args for request in requests):
            tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            longest = self.model.config.max_position_embeddings - 1
            windows = get_rolling_token_windows(tokens, self.prefix_token_id, longest, 1)
            pairs = [(tuple(c), tuple(t)) for c, t in map(make_disjoint_window, windows)]
            totals.append(pairs)
        scores = iter(self.score([pair for pairs in totals for pair in pairs]))
        return [sum(next(scores)[0] for _ in pairs) for pairs in totals]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Not needed by any benchmark of the study."""
        raise NotImplementedError("overpaint scores likelihoods; generation tasks of the harness are not supported")

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, **kwargs) -> list[tuple[float, bool]]:
        return self.score([(tuple(context), tuple(target)) for _, context, target in requests])

    @torch.no_grad()
    def score(self, pairs: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[tuple[float, bool]]:
        """Log-likelihood of each target after its context, and whether greedy decoding would write it."""
        targets: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
        for context, target in pairs:
            targets.setdefault(context, {})[target] = None
        found: dict[tuple, tuple[float, bool]] = {}
        for pack in _packs(targets, self.pack_tokens):
            found |= self._score_pack(pack)
        return [found[pair] for pair in pairs]

    def _score_pack(self, pack: list[tuple[tuple[int, ...], list[tuple[int, ...]]]]) -> dict:
        device = self.model.device
        tokens, group, branch, position, wanted = [], [], [], [], []
        for index, (context, options) in enumerate(pack):
            start = len(tokens)
            tokens += context
            group += [index] * len(context)
            branch += [0] * len(context)
            position += range(len(context))
            for number, option in enumerate(options, 1):
                # the last context token predicts an option's first token; its last token predicts nothing
                rows = [start + len(context) - 1, *range(len(tokens), len(tokens) + len(option) - 1)]
                wanted.append(((context, option), rows))
                tokens += option[:-1]
                group += [index] * (len(option) - 1)
                branch += [number] * (len(option) - 1)
                position += range(len(context), len(context) + len(option) - 1)
        mask = _tree_mask(torch.tensor(group), torch.tensor(branch), torch.tensor(position), self.model.dtype)
        kept = sorted({row for _, rows in wanted for row in rows})
        logits = self.model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([position], device=device),
            attention_mask=mask.to(device),
            logits_to_keep=torch.tensor(kept, device=device),
            use_cache=False,
        ).logits[0]
        logs = logits.float().log_softmax(-1)
        best, place = logs.argmax(-1).tolist(), {row: index for index, row in enumerate(kept)}
        scores = {}
        for (context, option), rows in wanted:
            at = [place[row] for row in rows]
            total = logs[at, list(option)].double().sum().item()
            scores[context, option] = (total, [best[index] for index in at] == list(option))
        return scores


def evaluate_clearings(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    base_tensors: dict[str, Tensor],
    plan: list[tuple[Clearing, list[Benchmark]]],
    split: str,
) -> list[dict]:
    """Rows of every benchmark under every clearing of `plan`, on the rows of one `split`.

    `model` is the unlearned model, `base_tensors` the base's tensors that the method changed, for clearings that go
    on the base. A row: clearing, variant, benchmark, topic, id, unit, kind, answer, correct, nll (nats, of the right
    answer or the text), tokens (of the text), scores (log-likelihood of each option).
    """
    lm = IntervenedLM(model, tokenizer)
    tasks = {b: _task(b, split) for b in dict.fromkeys(b for _, benchmarks in plan for b in benchmarks)}
    rows = []
    for clearing, benchmarks in plan:
        label = {"clearing": clearing.name, "variant": clearing.variant}
        with replaced(model, base_tensors if clearing.on_base else {}), clear(model, clearing):
            rows += [label | row for benchmark in benchmarks for row in _answers(lm, tasks[benchmark], benchmark)]
        print("evaluated", clearing.name, clearing.variant, flush=True)
    return rows


def _answers(lm: IntervenedLM, task: ConfigurableTask, benchmark: Benchmark) -> list[dict]:
    """The harness's requests of one task, answered by `lm` as it is now, one row per document."""
    lm.prior = benchmark.prior
    responses = getattr(lm, task.OUTPUT_TYPE.replace("multiple_choice", "loglikelihood"))(task.instances)
    by_document: dict[int, list] = {}
    for request, response in zip(task.instances, responses, strict=True):
        by_document.setdefault(request.doc_id, []).append(response)
    label = {"benchmark": benchmark.name, "topic": benchmark.topic}
    return [
        label | _row(doc, task.process_results(doc, found), found, benchmark.metric, lm.tokenizer)
        for doc, found in zip(task.eval_docs, by_document.values(), strict=True)
    ]


def _task(benchmark: Benchmark, split: str) -> ConfigurableTask:
    """The harness's task for a benchmark's file, restricted to one split."""

    def of_split(rows):
        rows = rows.filter(lambda row: row["split"] == split)
        return rows.select(range(min(benchmark.limit or len(rows), len(rows))))

    kind = {
        "output_type": "multiple_choice",
        "doc_to_text": "question",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [_metric(name) for name in dict.fromkeys(("acc", benchmark.metric))],
    }
    if benchmark.metric == "perplexity":
        kind = {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "text",
            "metric_list": [_metric("word_perplexity", "weighted_perplexity", False)],
        }
    shared = {
        "task": benchmark.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(benchmark.path)}},
        "test_split": "test",
        "process_docs": of_split,
    }
    task = ConfigurableTask(config=shared | kind)
    task.build_all_requests(limit=None)
    return task


def _metric(name: str, aggregation: str = "mean", higher_is_better: bool = True) -> dict:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": higher_is_better}


def _row(doc: dict, result: dict, responses: list, metric: str, tokenizer: PreTrainedTokenizerBase) -> dict:
    row = {"id": doc["id"], "unit": doc["unit"]}
    if metric == "perplexity":
        tokens = len(tokenizer(doc["text"], add_special_tokens=False)["input_ids"])
        text = {"kind": "text", "answer": -1, "correct": None, "nll": -responses[0], "tokens": tokens, "scores": []}
        return row | text
    scores = [score for score, _ in responses[: len(doc["choices"])]]  # then the unconditional ones of PMI
    return row | {
        "kind": "question",
        "answer": doc["answer"],
        "correct": bool(result[metric]),
        "nll": -scores[doc["answer"]],
        "tokens": 0,
        "scores": scores,
    }


def _packs(targets: dict, limit: int) -> Iterable[list]:
    """Contexts with their options, grouped into packs of at most `limit` tokens (a longer one stands alone)."""
    pack, used = [], 0
    for context, options in targets.items():
        chunk, size = [], len(context)
        for option in options:
            if chunk and size + len(option) > limit:
                yield [(context, chunk)]
                chunk, size = [], len(context)
            chunk.append(option)
            size += len(option)
        if pack and used + size > limit:
            yield pack
            pack, used = [], 0
        pack.append((context, chunk))
        used += size
    if pack:
        yield pack


def _tree_mask(group: Tensor, branch: Tensor, position: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask [1, 1, tokens, tokens]: a token sees its own context and branch up to itself."""
    same = group[:, None] == group[None]
    path = (branch[None] == 0) | (branch[:, None] == branch[None])
    seen = same & path & (position[None] <= position[:, None])
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[None, None]
