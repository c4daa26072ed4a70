"""Evaluate a model under intervention with lm-evaluation-harness task definitions, one row per question kept."""

import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import torch
from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import resolve_max_length
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.clearing import Clearing, clear
from overpaint.errors import UserError
from overpaint.harness import LocalTask, definitions, own_task
from overpaint.hooks import check_sites
from overpaint.likelihood import check_finite, start_token
from overpaint.models import replaced
from overpaint.texts import LETTERS, spread
from overpaint.trying import by_trying


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the study.

    name, topic: its entry in the catalogue and the topic it asks about.
    path: JSONL of questions {id, unit, split, question, choices, answer}, of a task's documents {id, unit, split, task,
        document} or of texts {id, unit, split, text}.
    metric: the harness's metric for questions (`acc`, `acc_norm`, `acc_mutual_info`); `perplexity` for texts.
    limit: at most so many rows of the split, the first ones, or at even distances over a task or group; 0 for all.
    prior: what stands before an option in the unconditional term of `acc_mutual_info`; "" for one start token. A
        question of the same form that asks about nothing makes it domain-conditional PMI (Holtzman et al. 2021).
    scoring, description: `continuation` or `letter`, and what stands before each question; of our own questions.
    chat_template: whether a context is a conversation in the tokenizer's chat template.
    task: a task or group of lm-evaluation-harness that says all this itself; "" for our own questions.
    """

    name: str
    topic: str
    path: Path
    metric: str
    limit: int = 0
    prior: str = ""
    scoring: str = "continuation"
    description: str = ""
    chat_template: bool = False
    task: str = ""

    @classmethod
    def of(cls, name: str, settings: dict, path: Path) -> "Benchmark":
        """The benchmark of a catalogue entry, normalised to `path`."""
        metric = "perplexity" if settings["kind"] == "text" else settings["metric"]
        own = {key: settings[key] for key in ("topic", "limit", "prior", "scoring", "description", "chat_template")}
        return cls(name, path=path, metric=metric, task=settings.get("task", ""), **own)


Pair = tuple[tuple[int, ...], tuple[int, ...]]  # context and target, in tokens
# Tokens a forward. On a processor matrix products are at their best from about 200 rows on, and attention over a whole
# pack grows with its square; a GPU wants more rows.
PACK_TOKENS = {"cpu": 256}
PACK_TOKENS_ELSEWHERE = 2048
# Largest difference of log-probabilities, packed and alone, that is taken for rounding, in nats.
ROUNDING = {torch.float32: 1e-3, torch.float16: 0.2, torch.bfloat16: 0.5}


class IntervenedLM(TemplateLM):
    """A Hugging Face model as it is at the moment of the call, hooks included, behind the harness's interface.

    What texts share runs once: a description, a context and the first words of options are the trunk of a tree of
    tokens, which is packed into one row in which a token sees the tokens before it on its branch only. So no token is
    computed twice or padded. Edits act on each token by itself, so that they do the same in a pack.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, pack_tokens: int | None = None) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.pack_tokens = pack_tokens or PACK_TOKENS.get(model.device.type, PACK_TOKENS_ELSEWHERE)
        self.prior = ""
        self.max_length = resolve_max_length(model.config, tokenizer)
        self._encoded: dict[tuple[str, bool | None], list[int]] = {}
        self._packed: dict[tuple[int, tuple[Pair, ...]], list[_Pack]] = {}
        self._start = start_token(tokenizer)
        self._longest = self._longest_packed()

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token before text that has no context: what the tokenizer itself starts texts with, else eos."""
        return self._start

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's folder, by which the harness would name a cache of requests."""
        return str(self.tokenizer.name_or_path)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the tokenizer's chat template writes it; without system message where it knows none."""

        def written(messages: list[dict[str, str]]) -> str:
            options = {
                "add_generation_prompt": add_generation_prompt,
                "continue_final_message": not add_generation_prompt,
            }
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, **options)
            if not all(message["content"].strip() in text for message in messages if message["role"] == "user"):
                raise ValueError("it leaves out what the user says")
            return text

        try:
            with suppress(TemplateError):
                return written(chat_history)
            return written([message for message in chat_history if message["role"] != "system"])
        except Exception as error:  # a template is a program of the model's own
            raise UserError(
                f"The chat template of {self.tokenizer_name} cannot write a question ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}): correct it, or set chat_template to false."
            ) from error

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs) -> list[int]:
        """Token ids, each string encoded once; by default with the special tokens that the tokenizer adds by itself.

        Where the string starts with the start token, as chat templates write it, no second one is added.
        """
        key = (string, add_special_tokens)
        if key not in self._encoded:
            started = string.startswith(self.tokenizer.decode([self._start]))
            special = not started if add_special_tokens is None else add_special_tokens
            self._encoded[key] = self.tokenizer(string, add_special_tokens=special)["input_ids"]
        return self._encoded[key]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation; an empty context is `prior` where that is set."""
        pairs = [(context or self.prior, continuation) for context, continuation in (r.args for r in requests)]
        return super().loglikelihood([SimpleNamespace(args=pair) for pair in pairs], disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of whole texts, each token once, in windows of the model's context length."""
        totals = []
        for (text,) in (request.args for request in requests):
            tokens = self.tok_encode(text, add_special_tokens=False)
            windows = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, 1)
            totals.append([(tuple(c), tuple(t)) for c, t in map(make_disjoint_window, windows)])
        scores = iter(self.score([pair for pairs in totals for pair in pairs]))
        return [sum(next(scores)[0] for _ in pairs) for pairs in totals]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Not needed by any benchmark of the study."""
        raise NotImplementedError("overpaint scores likelihoods; generation tasks of the harness are not supported")

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, **kwargs) -> list[tuple[float, bool]]:
        return self.score([(tuple(context), tuple(target)) for _, context, target in requests])

    @torch.no_grad()
    def score(self, pairs: list[Pair]) -> list[tuple[float, bool]]:
        """Log-likelihood of each target after its context, and whether greedy decoding would write it.

        What is longer than the model's positions loses tokens from the left, as in the harness.
        """
        different = tuple(dict.fromkeys(pairs))

        def run(size: int) -> dict[Pair, tuple[float, bool]]:
            self.pack_tokens, found = size, {}  # what fits is kept for later
            for pack in self._packs_of(different, size):
                found |= self._score_pack(pack)
            return found

        found = by_trying(run, self.pack_tokens)
        return [found[pair] for pair in pairs]

    def _packs_of(self, pairs: tuple[Pair, ...], size: int) -> list["_Pack"]:
        """Packs of at most `size` tokens; made once, since every clearing is asked the same."""
        if (size, pairs) not in self._packed:
            fitting = [(pair, (*pair[0], *pair[1])[-self.max_length - 1 :][:-1]) for pair in pairs]
            cut = sum(len(row) < len(context) + len(target) - 1 for (context, target), row in fitting)
            if cut:
                print(f"{cut} of {len(fitting)} texts are longer than {self.max_length} tokens: cut from the left")
            fitting.sort(key=lambda item: item[1])
            self._packed[size, pairs] = list(_packs(fitting, size, self._longest))
        return self._packed[size, pairs]

    def _score_pack(self, pack: "_Pack") -> dict[Pair, tuple[float, bool]]:
        rows = sorted({node for path in pack.paths.values() for node in path})
        every = self._logits(pack, rows).float().log_softmax(-1)  # as the harness; logsumexp rounds otherwise
        place = {node: index for index, node in enumerate(rows)}
        at = [place[node] for path in pack.paths.values() for node in path]
        ids = torch.tensor([token for _, target in pack.paths for token in target], device=every.device)
        logs, right = every[at, ids].cpu().double(), (every.argmax(-1)[at] == ids).tolist()
        ends = list(accumulate(len(path) for path in pack.paths.values()))
        spans = zip(pack.paths, [0, *ends], ends, strict=False)
        return {pair: (logs[start:end].sum().item(), all(right[start:end])) for pair, start, end in spans}

    def _logits(self, pack: "_Pack", rows: list[int]) -> Tensor:
        """Logits after the tokens `rows` of a pack, [rows, vocabulary]; a pack of one branch needs no mask of ours."""
        device = self.model.device
        tree = {}
        if pack.branches:
            mask = _tree_mask(torch.tensor(pack.end, device=device), self.model.dtype)
            tree = {"attention_mask": mask, "position_ids": torch.tensor([pack.depth], device=device)}
        tokens = torch.tensor([pack.tokens], device=device)
        kept = torch.tensor(rows, device=device)
        return self.model(input_ids=tokens, logits_to_keep=kept, use_cache=False, **tree).logits[0]

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
        ends = [[(pack, [path[-1] for path in pack.paths.values()]) for pack in one] for one in packs]
        logits = [torch.cat([self._logits(pack, rows) for pack, rows in one]) for one in ends]
        together, alone = (one.float().log_softmax(-1) for one in logits)
        if (together - alone).abs().max() > ROUNDING.get(self.model.dtype, 1e-3):
            print(f"{type(self.model).__name__} scores packed texts otherwise: each is run by itself, which is slower")
            return 0
        return getattr(config, "sliding_window", None) or self.max_length


def evaluate_clearings(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    base_tensors: dict[str, Tensor],
    plan: list[tuple[Clearing, list[Benchmark]]],
    split: str,
) -> list[dict]:
    """Rows of every benchmark under every clearing of `plan`, on the rows of one `split`.

    `model` is the unlearned model, `base_tensors` the base's tensors that the method changed, for clearings that go
    on the base. A row: clearing, direction_of, draw, refit, benchmark, topic, id, unit, kind, answer, correct, nll
    (nats, of the right answer or the text), tokens (of the text), scores (log-likelihood of each option).
    """
    check_sites(model)
    lm = IntervenedLM(model, tokenizer)
    asked = {b: _asked(b, split, lm) for b in dict.fromkeys(b for _, benchmarks in plan for b in benchmarks)}
    rows = []
    for clearing, benchmarks in plan:
        with replaced(model, base_tensors if clearing.on_base else {}), clear(model, clearing):
            for benchmark in benchmarks:
                found = _answers(lm, asked[benchmark], benchmark)
                _check_answers(found, f"{model.name_or_path} on {benchmark.name} under clearing {clearing.name}")
                rows += [clearing.label | row for row in found]
        print("evaluated", *(value for value in clearing.label.values() if value not in ("", None)), flush=True)
    return rows


@dataclass(frozen=True)
class _Asked:
    """What is asked: rows of one file, and for questions the harness's task that asks them and its document of each."""

    rows: list[dict]
    task: LocalTask | None = None
    documents: Sequence[dict] = ()


def _asked(benchmark: Benchmark, split: str, lm: IntervenedLM) -> list[_Asked]:
    """The rows of one split of a benchmark, by task."""
    if benchmark.chat_template and not lm.tokenizer.chat_template:
        raise UserError(
            f"benchmarks.{benchmark.name} asks for a chat template, which this model's tokenizer does not have: set "
            "chat_template to false, or use a model that was tuned to chat."
        )
    rows = [row for line in benchmark.path.open(encoding="utf-8") if (row := json.loads(line))["split"] == split]
    if not rows:
        raise UserError(
            f"{benchmark.path} has no rows of split {split!r}: set study.split, or `fit`, to another value."
        )
    if benchmark.metric == "perplexity":
        return [_Asked(rows[: benchmark.limit or None])]
    if not benchmark.task:
        rows = rows[: benchmark.limit or None]
        task = own_task(benchmark.name, benchmark.scoring, benchmark.description, rows, benchmark.metric)
        return [_questions(rows, task, benchmark, lm)]
    by_task: dict[str, list[dict]] = {}
    for row in spread(rows, benchmark.limit or len(rows)):
        by_task.setdefault(row["task"], []).append(row)
    known = definitions(benchmark.task)
    tasks = {
        name: LocalTask(known[name], [row["document"] for row in own], benchmark.metric)
        for name, own in by_task.items()
    }
    return [_questions(own, tasks[name], benchmark, lm) for name, own in by_task.items()]


def _questions(rows: list[dict], task: LocalTask, benchmark: Benchmark, lm: IntervenedLM) -> _Asked:
    """The harness's task on the documents of these rows, with the requests that it makes of them."""
    chat = {"chat_template": lm.apply_chat_template, "tokenizer_name": lm.tokenizer_name, "fewshot_as_multiturn": True}
    task.build_all_requests(apply_chat_template=benchmark.chat_template, **chat if benchmark.chat_template else {})
    _check_letters(task, lm, benchmark)
    return _Asked(rows, task, list(task.eval_docs))


def _answers(lm: IntervenedLM, asked: list[_Asked], benchmark: Benchmark) -> list[dict]:
    """What `lm` as it is now answers, one row per row of the benchmark."""
    lm.prior = benchmark.prior
    label = {"benchmark": benchmark.name, "topic": benchmark.topic}
    return [
        label | {"id": row["id"], "unit": row["unit"]} | answer
        for part in asked
        for row, answer in zip(part.rows, _scored(lm, part, benchmark.metric), strict=True)
    ]


def _check_answers(rows: list[dict], what: str) -> None:
    """Refuse scores that are no numbers, and a benchmark whose options tie in every question: the first would win."""
    check_finite([value for row in rows for value in (row["nll"], *row["scores"])], what)
    asked = [row["scores"] for row in rows if len(row["scores"]) > 1]
    if len(asked) > 1 and all(min(scores) == max(scores) for scores in asked):
        raise UserError(
            f"All options of all {len(asked)} questions tie in the scores of {what}, as where the tokenizer has one "
            "token for all: write options that it tells apart."
        )


def _check_letters(task: LocalTask, lm: IntervenedLM, benchmark: Benchmark) -> None:
    """Refuse options by letter whose letters the tokenizer does not know or tell apart."""
    letters = sorted({request.args[1] for request in task.instances})
    if not all(letter.strip() in LETTERS for letter in letters):
        return
    tokens = [tuple(lm.tok_encode(letter, add_special_tokens=False)) for letter in letters]
    unk = lm.tokenizer.unk_token_id
    unknown = [letter for letter, own in zip(letters, tokens, strict=True) if not own or unk in own]
    if unknown or len(set(tokens)) < len(tokens):
        odd = "does not know" if unknown else "has one token for several of"
        raise UserError(
            f"benchmarks.{benchmark.name} is answered by letter, and this model's tokenizer {odd} the letters "
            f"{', '.join(letter.strip() for letter in unknown or letters)}: set `scoring` to continuation."
        )


def _scored(lm: IntervenedLM, asked: _Asked, metric: str) -> list[dict]:
    if asked.task is None:
        texts = [row["text"] for row in asked.rows]
        scores = lm.loglikelihood_rolling([SimpleNamespace(args=(text,)) for text in texts])
        return [_text(score, lm.tok_encode(text, False)) for text, score in zip(texts, scores, strict=True)]
    by_document: dict[int, list] = {}
    for request, response in zip(asked.task.instances, lm.loglikelihood(asked.task.instances), strict=True):
        by_document.setdefault(request.doc_id, []).append(response)
    documents = zip(asked.documents, by_document.values(), strict=True)
    return [_question(asked.task, document, responses, metric) for document, responses in documents]


def _text(score: float, tokens: list[int]) -> dict:
    return {"kind": "text", "answer": -1, "correct": None, "nll": -score, "tokens": len(tokens), "scores": []}


def _question(task: LocalTask, document: dict, responses: list[tuple[float, bool]], metric: str) -> dict:
    """One row of a document from the responses to its options (and then the unconditional ones of PMI)."""
    answer = task.answer(document)
    scores = [score for score, _ in responses[: len(task.doc_to_choice(document))]]
    correct = bool(task.process_results(document, responses)[metric])
    head = {"kind": "question", "answer": answer, "correct": correct, "nll": -scores[answer]}
    return head | {"tokens": 0, "scores": scores}


@dataclass
class _Pack:
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


def _packs(texts: Iterable[tuple[Pair, tuple[int, ...]]], limit: int, longest: int) -> Iterator[_Pack]:
    """Sorted texts in packs of at most `limit` tokens; a longer one, or one of over `longest`, stands alone."""
    pack, alone = _Pack(), False
    for pair, text in texts:
        shared = pack.shared(text)
        apart = alone or len(text) > longest
        same = shared == len(text) == len(pack.tokens)
        if pack.tokens and not same and (apart or len(pack.tokens) + len(text) - shared > limit):
            yield pack
            pack = _Pack()
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
