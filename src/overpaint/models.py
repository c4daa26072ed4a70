"""Load a model, find its parts by structure, store and apply what unlearning changed."""

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from overpaint import folders
from overpaint.errors import UserError
from overpaint.tensors import read_tensors, strip, write_tensors

LOCAL = {"local_files_only": True, "trust_remote_code": False}
# Masks and frequencies that older versions of transformers stored and newer ones compute.
COMPUTED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|(attn|attention)\.(bias|masked_bias))$")


def load_model(folder: Path, dtype: str = "float32", device: str | None = None) -> PreTrainedModel:
    """The causal language model of a local Hugging Face folder, in evaluation mode; never runs remote code.

    device: by default `default_device()`; the whole model must fit there, and is read straight into a GPU's memory.
    Raises UserError unless the files hold exactly the tensors that the configuration asks for, all of them finite.
    """
    folders.check(folder)
    device = device or default_device()
    place = {} if device == "cpu" else {"device_map": {"": device}}
    with _told(f"The model in {folder}"):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            config=_config(folder),
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name
            use_safetensors=True,
            **LOCAL,
            **place,
        )
    model.eval().requires_grad_(False)
    _check_loaded(model, found, folder)
    with _told(f"The model in {folder}"):
        _check_logits(model, folder)
    return model


def load_overlaid(folder: Path, overlay: "Overlay", dtype: str) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """The unlearned model, base + overlay, and the base's tensors that the overlay replaced."""
    model = load_model(folder, dtype)
    return model, overlay.apply(model)


def load_control(folder: Path, tokenizer: PreTrainedTokenizerBase, dtype: str) -> PreTrainedModel:
    """A model that never knew the hazardous facts; it must have the vocabulary of `tokenizer`, the study's."""
    if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
        raise UserError(f"The model in {folder} has another vocabulary: name one of the study's as study.control.")
    return load_model(folder, dtype)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a local Hugging Face folder, padding with eos where it has no pad token; ends no text itself.

    Raises UserError for one that cannot be read, has no eos token, or has tokens that the model has no row for.
    """
    folders.check_tokenizer(Path(folder))
    with _told(f"The tokenizer in {folder}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        rows = _rows(Path(folder))
        largest = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
        largest.pop(tokenizer.pad_token, None)  # stands where nothing is read
        if largest:
            raise UserError(
                f"The tokenizer in {folder} has tokens up to number {max(largest.values())}, such as "
                f"{min(largest)!r}, and the model's embedding has {rows} rows: use the tokenizer that it was made with."
            )
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"The tokenizer in {folder} has no end token: name it as `eos_token` in its tokenizer_config.json."
            )
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
            tokenizer.pad_token = tokenizer.eos_token
        _end_no_text(tokenizer, folder)
        tokenizer("\u2603")  # what it has no word for must not stop it
    return tokenizer


def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks: the one ModuleList as long as the configuration's `num_hidden_layers`."""
    count = model.config.get_text_config().num_hidden_layers
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(found) != 1:
        raise UserError(
            f"{type(model).__name__} has {len(found)} module lists of {count} blocks, not one: its layers cannot be "
            "found by structure, so use a decoder-only language model."
        )
    return found[0]


def attention(block: nn.Module) -> nn.Module:
    """The attention module of a block."""
    return _child(block, ("attn", "attention"))


def mlp(block: nn.Module) -> nn.Module:
    """The MLP of a block."""
    return _child(block, ("mlp",))


def residual_writers(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The modules whose outputs a block adds to the residual stream: its attention and MLP, or the norms after them.

    A block with a `post_feedforward_layernorm` (Gemma 2, OLMo 2) normalises what it adds.
    """
    if hasattr(block, "post_feedforward_layernorm"):
        return block.post_attention_layernorm, block.post_feedforward_layernorm
    return attention(block), mlp(block)


def last_matrix(module: nn.Module) -> tuple[nn.Parameter, int, nn.Parameter | None]:
    """The last matrix that a module multiplies by, its axis that runs along the residual stream, and its bias."""
    experts = [p for p in module.parameters() if p.dim() == 3]
    if experts:
        return experts[-1], 1, None
    named = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    last = [m for name, m in named if "qkv" not in name][-1]  # Phi-3 lists what its attention reads with at the end
    return last.weight, int(isinstance(last, Conv1D)), last.bias


def down_projection(block: nn.Module) -> nn.Parameter:
    """The matrix by which the MLP of a block writes to the residual stream; of experts, theirs in one tensor."""
    return last_matrix(mlp(block))[0]


def output_projection(block: nn.Module) -> nn.Parameter:
    """The matrix by which the attention of a block writes to the residual stream."""
    return last_matrix(attention(block))[0]


PROJECTIONS = {"mlp": down_projection, "attention": output_projection}


def trained_parameters(model: nn.Module, layer: int, updated: list[int], projections: list[str]) -> list[nn.Parameter]:
    """The matrices that a method trains: `projections` of the blocks `updated`, counted from `layer` (0, -1, ...)."""
    unknown = [name for name in projections if name not in PROJECTIONS]
    if unknown:
        raise UserError(f"There is no projection {unknown[0]!r}: use any of {', '.join(PROJECTIONS)} in `projections`.")
    chain = blocks(model)
    return [PROJECTIONS[name](chain[layer + offset]) for offset in sorted(updated) for name in projections]


def check_layer(model: nn.Module, layer: int, updated: list[int]) -> None:
    """Refuse a layer whose `updated` blocks, counted from it, do not all exist."""
    count = len(blocks(model))
    if not -min(updated) <= layer < count:
        raise UserError(
            f"Layer {layer} is outside the model: with updated blocks {updated} and {count} blocks in the model choose "
            f"layers from {-min(updated)} to {count - 1} in `study.runs`."
        )


def parameter_names(model: nn.Module, parameters: list[nn.Parameter]) -> list[str]:
    """Names of `parameters` in `model`, in their order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]


@dataclass(frozen=True)
class Overlay:
    """What a method changed in a base model.

    tensors: changed parameters by name, in the model's dtype.
    controls: control vectors u by topic, each [width], unit norm; empty where a method has none.
    settings: the method's settings and measured scale; among them `layer` and `c`.
    base: fingerprint of the base model's configuration and of the matrices replaced.
    snapshots: the changed parameters after some of a training's steps, by step; kept in a file of their own.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    controls: dict[str, Tensor] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    base: str = ""
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write as safetensors with metadata."""
        tensors = {f"weight/{k}": v for k, v in self.tensors.items()}
        tensors |= {f"control/{k}": v for k, v in self.controls.items()}
        write_tensors(tensors, path, settings=self.settings, base=self.base)

    def save_snapshots(self, path: Path) -> None:
        """Write the snapshots as safetensors, none in most runs."""
        write_tensors({f"{step}/{k}": v for step, found in self.snapshots.items() for k, v in found.items()}, path)

    @classmethod
    def load(cls, path: Path) -> "Overlay":
        """Read what `save` wrote."""
        tensors, metadata = read_tensors(path, "settings", "base")
        return cls(strip(tensors, "weight/"), strip(tensors, "control/"), metadata["settings"], metadata["base"])

    def apply(self, model: nn.Module) -> dict[str, Tensor]:
        """Put the changed tensors into `model`; returns the tensors that were there, for `restore`."""
        parameters = dict(model.named_parameters())
        if self.tensors and self.base != base_fingerprint(model, list(self.tensors)):
            raise UserError(
                "This overlay was made from another base model: run the method again on this one, or load the base "
                "that the overlay's settings name."
            )
        before = {name: parameters[name].detach().clone() for name in self.tensors}
        restore(model, self.tensors)
        return before


def load_snapshots(path: Path) -> dict[int, dict[str, Tensor]]:
    """{step: changed parameters}, in the order of steps, as `Overlay.save_snapshots` wrote them."""
    found: dict[int, dict[str, Tensor]] = {}
    for key, tensor in read_tensors(path)[0].items():
        step, _, name = key.partition("/")
        found.setdefault(int(step), {})[name] = tensor
    return dict(sorted(found.items()))


def restore(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors` into the parameters of the same names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


@contextmanager
def replaced(model: nn.Module, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Within the context `model` has `tensors` in place of its parameters of the same names."""
    parameters = dict(model.named_parameters())
    own = {name: parameters[name].detach().clone() for name in tensors}
    restore(model, tensors)
    try:
        yield
    finally:
        restore(model, own)


def base_fingerprint(model: nn.Module, names: list[str]) -> str:
    """SHA-256 over the named parameters of a base model."""
    parameters = dict(model.named_parameters())
    digest = hashlib.sha256()
    for name in sorted(names):
        if name not in parameters:
            return f"no parameter {name}"
        digest.update(name.encode() + parameters[name].detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever a library says of a folder's content is said in one sentence: its errors are of all types."""
    try:
        yield
    except UserError:
        raise
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{what} does not fit into the memory of this GPU: take a larger one, or set `dtype` of the model to "
            "bfloat16."
        ) from error
    except SafetensorError as error:
        raise UserError(f"{what} has weights that cannot be read ({error}): fetch the model again.") from error
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(
            f"{what} cannot be loaded ({said}): use the whole folder of a decoder-only language model that "
            "transformers can load without code of the folder's own."
        ) from error


def _config(folder: Path) -> PreTrainedConfig:
    """The folder's configuration, without its wishes on how attention is computed and what is returned."""
    config = AutoConfig.from_pretrained(folder, **LOCAL)
    config._attn_implementation = None  # flash attention is not installed everywhere
    config.return_dict, config.output_hidden_states = True, False
    return config


def _check_loaded(model: PreTrainedModel, found: dict, folder: Path) -> None:
    """Refuse tensors that the files lack, that the model has no place for, or of another shape; and wrong parts."""
    unexpected = [key for key in found["unexpected_keys"] if not COMPUTED.search(key)]
    mismatched = [f"{key} {tuple(stored)}, not {tuple(wanted)}" for key, stored, wanted in found["mismatched_keys"]]
    for keys, wrong in (
        (found["missing_keys"], "lack"),
        (mismatched, "have another shape than config.json says for"),
        (unexpected, "have more than config.json asks for, namely"),
        (found["error_msgs"], "cannot be loaded:"),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise UserError(
                f"The weights in {folder} {wrong} {min(keys)}{more}: fetch the whole model again, or mend its "
                "config.json."
            )
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise UserError(
                f"The weights in {folder} are not all finite numbers as {model.dtype}, such as "
                f"{name}: fetch the model again, or set its `dtype` to that in which it was saved."
            )
    for block in blocks(model):
        down_projection(block), output_projection(block)


@torch.no_grad()
def _check_logits(model: PreTrainedModel, folder: Path) -> None:
    """Refuse a model that cannot go over two tokens, or whose numbers are too large for its dtype."""
    if not model(torch.tensor([[0, 1]], device=model.device), use_cache=False).logits.isfinite().all():
        raise UserError(
            f"The model in {folder} gives logits that are not finite as {model.dtype}: set another `dtype`."
        )


def _rows(folder: Path) -> int:
    """How many tokens the model of a folder knows; no bound where the folder has a tokenizer alone."""
    if not (folder / "config.json").exists():
        return sys.maxsize
    rows = folders.text_config(folders.config(folder)).get("vocab_size")
    return rows if isinstance(rows, int) else AutoConfig.from_pretrained(folder, **LOCAL).get_text_config().vocab_size


def _end_no_text(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Have the tokenizer put its start tokens before a text and nothing behind it: what follows is yet to be scored."""
    text = tokenizer.convert_tokens_to_string([tokenizer.convert_ids_to_tokens(0)]) or "a"
    own, whole = (tokenizer(text, add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next((i for i in range(len(whole) - len(own) + 1) if whole[i : i + len(own)] == own), None)
    if start is None:
        raise UserError(f"The tokenizer in {folder} writes other tokens into a text than before it: use another model.")
    if whole[start + len(own) :]:
        before = [(tokenizer.convert_ids_to_tokens(number), number) for number in whole[:start]]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[*(token for token, _ in before), "$A"], special_tokens=before
        )
        print(f"The tokenizer in {folder} ends every text with a token of its own: left out, as texts go on here")
        if tokenizer(text)["input_ids"] != whole[: start + len(own)]:
            raise UserError(f"The tokenizer in {folder} ends every text with a token: use one that does not.")


def _child(block: nn.Module, words: tuple[str, ...]) -> nn.Module:
    """The child that multiplies by matrices and whose own name holds one of `words` (not a norm, not a dropout)."""
    found = [
        child
        for name, child in block.named_children()
        if any(word in name.lower() for word in words) and any(p.dim() > 1 for p in child.parameters())
    ]
    if len(found) != 1:
        raise UserError(
            f"{type(block).__name__} has {len(found)} children named like {' or '.join(words)}, not one: its residual "
            "writes cannot be found by structure, so use another architecture."
        )
    return found[0]
