"""A run as jobs read it: the model that a method left, its junk, and the clearings that it is put under."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.junk.clearing import Clearing, clear, edits_of, for_run, of_topic
from overpaint.junk.directions import Junk
from overpaint.models.load import load_naive, load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay, replaced
from overpaint.models.streamed.passes import State


@dataclass(frozen=True)
class Run:
    """A model that a method left, or the base.

    model, tokenizer: base + overlay in evaluation mode, and its tokenizer.
    overlay: what the method changed, with the run's settings.
    base_tensors: the base's tensors in place of which the model has others, by name.
    junk: the run's directions; None of the base, and where no clearing needs them.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    overlay: Overlay = field(default_factory=Overlay)
    base_tensors: dict[str, Tensor] = field(default_factory=dict)
    junk: Junk | None = None

    @classmethod
    def load(cls, given: Any, dtype: str) -> "Run":
        """The run of a job's inputs `model`, `overlay` and `junk`, a path or nothing."""
        overlay = Overlay.load(given.overlay)
        model, base_tensors = load_overlaid(given.model, overlay, dtype)
        return cls(model, load_tokenizer(given.model), overlay, base_tensors, Junk.load(given.junk))

    @property
    def fitted_depths(self) -> tuple[int, ...] | None:
        """The depth at which the run's directions are fitted; None of the base, which all depths are compared with."""
        layer = self.overlay.settings.get("layer")
        return None if layer is None else (layer + 1,)

    def clearings(self, name: str, settings: dict) -> list[Clearing]:
        """The concrete clearings of an entry of the catalogue."""
        return for_run(name, settings, self.overlay.settings, self.junk)

    def by_topic(self, name: str, settings: dict, topics: Iterable[str]) -> dict[str, Clearing]:
        """The clearing of an entry that each topic's texts are put under."""
        variants = self.clearings(name, settings)
        return {topic: of_topic(variants, topic) for topic in topics}

    @contextmanager
    def cleared(self, clearing: Clearing) -> Iterator[None]:
        """Within the context the model is cleared, or the base in its place where the clearing is for the base."""
        with replaced(self.model, self.base_tensors if clearing.on_base else {}), clear(self.model, clearing):
            yield

    def state(self, clearing: Clearing) -> State:
        """What differs from `model` under a clearing, as `cleared` has it."""
        return State(self.base_tensors if clearing.on_base else {}, edits_of(self.model, clearing))

    def starts(
        self, clearings: dict[str, dict], topics: Iterable[str], naive: Path | None
    ) -> Iterator[tuple[str, "Run", dict[str, Clearing]]]:
        """(state, model, clearing by topic) of all that a measure of depth starts from.

        The model as it is (`unlearned`, or `base`), under the second of `clearings`, of which the first clears
        nothing (`cleared`), and the model in the folder `naive`, which never knew the hazardous facts (`naive`).
        """
        none, *primary = clearings
        states = [("unlearned" if self.junk else "base", self, none)] + [("cleared", self, name) for name in primary]
        if naive:
            dtype = str(self.model.dtype).removeprefix("torch.")
            states.append(("naive", replace(self, model=load_naive(naive, self.tokenizer, dtype)), none))
        for state, run, name in states:
            yield state, run, self.by_topic(name, clearings[name], topics)
