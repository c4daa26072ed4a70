"""A model under intervention behind the interface of lm-evaluation-harness."""

from contextlib import suppress
from types import SimpleNamespace

from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import resolve_max_length
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import nn
from transformers import PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.scoring.likelihood import start_token
from overpaint.scoring.packing import Pair, Scorer, Scores


class IntervenedLM(Scorer, TemplateLM):
    """A Hugging Face model as it is at the moment of the call, hooks included, behind the harness's interface."""

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, pack_tokens: int | None = None) -> None:
        TemplateLM.__init__(self)
        Scorer.__init__(self, model, resolve_max_length(model.config, tokenizer), pack_tokens)
        self.tokenizer, self.prior = tokenizer, ""
        self.known: Scores | None = None  # what is scored already, of a model that is asked in many states at once
        self._encoded: dict[tuple[str, bool | None], list[int]] = {}
        self._start = start_token(tokenizer)

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
        scores = iter(self._score([pair for pairs in totals for pair in pairs]))
        return [sum(next(scores)[0] for _ in pairs) for pairs in totals]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Not needed by any benchmark of the study."""
        raise NotImplementedError("overpaint scores likelihoods; generation tasks of the harness are not supported")

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, **kwargs) -> list[tuple[float, bool]]:
        return self._score([(tuple(context), tuple(target)) for _, context, target in requests])

    def _score(self, pairs: list[Pair]) -> list[tuple[float, bool]]:
        return self.score(pairs) if self.known is None else [self.known[pair] for pair in pairs]
