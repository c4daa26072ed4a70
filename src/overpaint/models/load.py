"""Load a model and its tokenizer from a local Hugging Face folder, and refuse what is not whole."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from overpaint.errors import UserError
from overpaint.jobs.provenance import GIVEN, NOTED
from overpaint.models import folders
from overpaint.models.overlay import Overlay
from overpaint.models.parts import blocks, down_projection, output_projection
from overpaint.models.streamed import store

LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_model(folder: Path, dtype: str = "float32", device: str | None = None) -> PreTrainedModel:
    """The causal language model of a local Hugging Face folder, in evaluation mode; never runs remote code.

    device: by default `default_device()`. A model that fits there is read whole, straight into a GPU's memory; of
    another, or where the job is told so, parts are read as they run (`streamed`).
    Raises UserError unless the files hold exactly the tensors that the configuration asks for, all of them finite.
    """
    folders.check(folder)
    device = device or default_device()
    NOTED["residency"] = residency = _residency(folder, dtype, device)
    if residency == "streamed":
        with _told(f"The model in {folder}"):
            model = store.load(Path(folder), _config(folder), getattr(torch, dtype), device)
        _check_parts(model)
        return model
    place = {} if device == "cpu" else {"device_map": {"": device}}
    with _told(f"The model in {folder}"):
        model, info = AutoModelForCausalLM.from_pretrained(
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
    store.check_keys(folder, info["missing_keys"], info["mismatched_keys"], info["unexpected_keys"], info["error_msgs"])
    for name, parameter in model.named_parameters():
        store.check_finite(name, parameter, folder)
    _check_parts(model)
    with _told(f"The model in {folder}"):
        _check_logits(model, folder)
    return model


def _residency(folder: Path, dtype: str, device: str) -> str:
    """`whole` or `streamed`: as the job is told, else whether the weights leave a third of the device's memory free."""
    told = GIVEN.get("residency", "auto")
    if told != "auto":
        return told
    size = sum(map(folders.weights, Path(folder).glob("*.safetensors"))) * getattr(torch, dtype).itemsize
    return "whole" if 1.5 * size <= memory(device) else "streamed"


def memory(device: str) -> int:
    """Bytes of memory of a GPU, or of this machine."""
    if torch.device(device).type != "cpu":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load_overlaid(folder: Path, overlay: Overlay, dtype: str) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """The unlearned model, base + overlay, and the base's tensors that the overlay replaced."""
    model = load_model(folder, dtype)
    return model, overlay.apply(model)


def load_naive(folder: Path, tokenizer: PreTrainedTokenizerBase, dtype: str) -> PreTrainedModel:
    """A model that never knew the hazardous facts; it must have the vocabulary of `tokenizer`, the study's."""
    if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
        raise UserError(f"The model in {folder} has another vocabulary: name one of the study's as study.naive_model.")
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


def _check_parts(model: PreTrainedModel) -> None:
    """Refuse a model whose blocks have no matrices that write to the residual stream where they are looked for."""
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
    inner, whole = (tokenizer(text, add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next((i for i in range(len(whole) - len(inner) + 1) if whole[i : i + len(inner)] == inner), None)
    if start is None:
        raise UserError(f"The tokenizer in {folder} writes other tokens into a text than before it: use another model.")
    if whole[start + len(inner) :]:
        before = [(tokenizer.convert_ids_to_tokens(number), number) for number in whole[:start]]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=[*(token for token, _ in before), "$A"], special_tokens=before
        )
        print(f"The tokenizer in {folder} ends every text with a token of its own: left out, as texts go on here")
        if tokenizer(text)["input_ids"] != whole[: start + len(inner)]:
            raise UserError(f"The tokenizer in {folder} ends every text with a token: use one that does not.")
