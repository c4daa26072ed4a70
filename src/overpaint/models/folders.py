"""What the files of a model folder say of themselves, checked before any is loaded (standard library only).

Nothing of a folder is believed: files are read up to a limit, JSON is that of the standard, and shards are siblings.
"""

import json
import math
import re
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from overpaint.errors import UserError

HEADER = 100_000_000  # bytes: what safetensors itself takes for the longest header
JSON = 50_000_000  # bytes of another JSON file; the largest index of a released model has some 10 MB
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")  # as configurations call their number
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6,
    "F4": 4,
}  # fmt: skip
EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings)\.weight$")
OUTPUT = re.compile(r"(^|\.)(lm_head|embed_out|output|output_layer)\.")
FULL = ("F16", "BF16", "F32", "F64")
Header = dict[str, dict[str, Any]]


def check(folder: Path, name: str = "") -> None:
    """Refuse a folder that cannot be a whole decoder-only language model with full weights, in one sentence.

    name: what stands before the sentence, such as the entry of the configuration that names the folder.
    """
    try:
        _check(Path(folder))
    except UserError as error:
        raise UserError(f"{name}{error}") from error


def blocks(model: dict[str, Any]) -> int | None:
    """Number of a model's blocks, as its entry says or, of a folder, config.json; None where neither does."""
    if model["source"] != "folder":
        return model.get("layers")
    text = text_config(config(Path(model["path"])))
    return next((text[key] for key in BLOCKS if key in text), None)


def has_template(folder: Path) -> bool:
    """Whether the tokenizer of a folder has a chat template."""
    if any((folder / name).exists() for name in TEMPLATES):
        return True
    file = folder / "tokenizer_config.json"
    return file.is_file() and bool(_json(file).get("chat_template"))


def check_tokenizer(folder: Path) -> None:
    """Refuse a folder without the files of a tokenizer."""
    if not any((folder / file).is_file() for file in TOKENIZER):
        raise UserError(f"The folder {folder} holds no tokenizer: put its tokenizer.json beside the weights.")


def weights(path: Path) -> int:
    """Number of weights in a safetensors file, from its header."""
    return sum(math.prod(tensor["shape"]) for tensor in header(path).values())


def header(path: Path) -> Header:
    """{tensor: its dtype, shape and data_offsets} of a safetensors file that is as long as it says."""
    try:
        with _open(path) as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= min(HEADER, path.stat().st_size - 8):
                raise ValueError("its header is missing, cut short or longer than 100 MB")
            entries = _parse(file.read(size))
        tensors = {key: tensor for key, tensor in entries.items() if key != "__metadata__"}
        end = max(map(_end, tensors.values()), default=0)
        if end + size + 8 != path.stat().st_size:
            raise ValueError("it is not as long as its header says")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(f"The weights in {path} cannot be read ({error}): fetch the model again.") from error
    return tensors


def stored(folder: Path) -> dict[str, Path]:
    """{tensor: its file} of a model folder that was checked."""
    if (folder / INDEX).exists():
        return {tensor: folder / file for tensor, file in _index(folder / INDEX).items()}
    return dict.fromkeys(header(folder / SINGLE), folder / SINGLE)


def config(folder: Path) -> dict[str, Any]:
    """The folder's config.json."""
    return _json(Path(folder) / "config.json")


def text_config(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that says what the language model is."""
    return settings["text_config"] if isinstance(settings.get("text_config"), dict) else settings


def _check(folder: Path) -> None:
    names = {path.name for path in folder.glob("*.safetensors")} if folder.is_dir() else set()
    adapter = {path.name for path in folder.glob("adapter_*")}
    if adapter and not names - adapter:
        raise UserError(f"The folder {folder} holds an adapter alone: merge the adapter into its base model first.")
    if not names:
        raise UserError(
            f"The model folder {folder} holds no *.safetensors weights: point `path` at a Hugging Face folder that has "
            "them."
        )
    if adapter:
        raise UserError(
            f"The folder {folder} holds the adapter {min(adapter)} beside full weights, which is not loaded: merge it "
            "into them, or take it out of the folder."
        )
    settings = config(folder)
    _check_config(settings, folder)
    tensors = _tensors(folder, names)
    _check_tensors(tensors, settings, folder)


def _check_config(settings: dict[str, Any], folder: Path) -> None:
    text, path = text_config(settings), folder / "config.json"
    if settings.get("quantization_config") or text.get("quantization_config"):
        raise UserError(
            f"{path} has a `quantization_config`: use full weights, since the matrices that unlearning trains must be "
            "floating-point numbers."
        )
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{path} has no `model_type`: use the folder of a decoder-only language model.")
    causal = _causal()
    if causal and kind not in causal:
        code = " and brings code of its own (`auto_map`), which is never run" if "auto_map" in settings else ""
        raise UserError(
            f"{path} is of the type {kind!r}, no causal language model that transformers knows{code}: use a "
            "decoder-only language model."
        )
    if settings.get("is_encoder_decoder") is True or (settings is not text and "vision_config" in settings):
        raise UserError(f"{path} is no text model with a decoder alone: use a decoder-only language model.")


def _check_tensors(tensors: Header, settings: dict[str, Any], folder: Path) -> None:
    """No integers in place of weights, and no more blocks than tensors."""
    matrices = {key: tensor["dtype"] for key, tensor in tensors.items() if re.search(r"weight$|weight_packed$", key)}
    packed = [key for key, kind in matrices.items() if kind not in FULL]
    if packed:
        raise UserError(
            f"The weights in {folder} are quantised ({min(packed)} is {matrices[min(packed)]}): use full weights."
        )
    for key in (*BLOCKS, "vocab_size"):
        value = text_config(settings).get(key, 1)
        most = max(1, len(tensors)) if key != "vocab_size" else 2**31
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise UserError(
                f"{folder / 'config.json'}: `{key}` is {str(value)[:40]}, which its weights are not of: write what the "
                "model has, an integer from 1."
            )
    text = text_config(settings)
    rows = {key: tensor["shape"][:1] for key, tensor in tensors.items() if EMBEDDING.search(key)}
    for key, shape in rows.items():
        if shape != [text.get("vocab_size", *shape)]:
            raise UserError(
                f"The weights in {folder} have {shape[0]} rows in {key}, and `vocab_size` in config.json is "
                f"{text['vocab_size']}: write the number of rows."
            )
    if settings.get("tie_word_embeddings") is False and rows and not any(OUTPUT.search(key) for key in tensors):
        raise UserError(
            f"The weights in {folder} lack the output matrix (lm_head.weight), which `tie_word_embeddings: false` in "
            "config.json asks for: save the whole causal language model."
        )


def _tensors(folder: Path, names: set[str]) -> Header:
    """The headers of all weight files that belong to the model."""
    indexed = (folder / INDEX).exists()
    if SINGLE in names and not indexed:
        return header(folder / SINGLE)
    if not indexed:
        wanted = f"{INDEX} is missing" if any("-of-" in name for name in names) else f"there is no {SINGLE}"
        raise UserError(
            f"The folder {folder} holds {min(names)}, but {wanted}: fetch the model again, or save it with "
            "transformers' save_pretrained."
        )
    listed = _index(folder / INDEX)
    files = set(listed.values())
    if SINGLE in names and files != {SINGLE}:
        raise UserError(
            f"The folder {folder} holds both {SINGLE} and shards with {INDEX}, and only one can be the model: take the "
            "other out of the folder."
        )
    missing = sorted(files - names)
    if missing:
        raise UserError(f"The folder {folder} lacks the weights {missing[0]}, which {INDEX} names: fetch it again.")
    tensors: Header = {}
    for file in sorted(files):
        part = header(folder / file)
        wanted = {tensor for tensor, place in listed.items() if place == file}
        if set(part) != wanted or tensors.keys() & part.keys():
            odd = min(set(part) ^ wanted or tensors.keys() & part.keys())
            raise UserError(f"{folder / INDEX} and {file} disagree on the tensor {odd!r}: fetch the model again.")
        tensors |= part
    return tensors


def _index(path: Path) -> dict[str, str]:
    """{tensor: file} of an index whose files are siblings of it."""
    listed = _json(path).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise UserError(f"{path} has no `weight_map`: fetch the model again.")
    for file in listed.values():
        if not isinstance(file, str) or not re.fullmatch(r"[\w.-]+\.safetensors", file):
            raise UserError(
                f"{path} names the file {str(file)[:80]!r}: only *.safetensors beside it are read, so fetch the model "
                "again from a place that you trust."
            )
    return listed


def _end(tensor: dict[str, Any]) -> int:
    """The end of a tensor's bytes, which must be as many as its shape and type need."""
    shape, (start, end) = tensor["shape"], tensor["data_offsets"]
    if not all(type(number) is int and 0 <= number < 2**63 for number in [*shape, start, end]):
        raise ValueError("a shape or place in its header is no number that can be")
    if math.prod(shape) * BITS[tensor["dtype"]] != 8 * (end - start):
        raise ValueError("a tensor in its header has another size than its shape says")
    return end


def _json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the user's."""
    try:
        with _open(path) as file:
            text = file.read(JSON + 1)
        if len(text) > JSON:
            raise ValueError("it is longer than 50 MB")
        return _parse(text)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch the model again.") from error


def _parse(text: bytes) -> dict[str, Any]:
    """A JSON object; infinities, which are no JSON, are refused."""

    def constant(name: str) -> None:
        raise ValueError(f"it has the number {name}")

    value = json.loads(text, parse_constant=constant)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _open(path: Path):
    """A regular file, open to read: a pipe would keep us waiting."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")
    return path.open("rb")


def _causal() -> set[str]:
    """The `model_type`s of causal language models in the transformers that is installed here; none without it.

    Read from its source: an import of transformers takes longer than all the rest of a dry run.
    """
    spec = find_spec("transformers")
    if spec is None or not spec.origin:
        return set()
    source = (Path(spec.origin).parent / "models/auto/modeling_auto.py").read_text(encoding="utf-8")
    listed = re.search(r"^MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict\((.*?)^\)", source, re.DOTALL | re.MULTILINE)
    return set(re.findall(r'\("([\w.-]+)", ', listed.group(1))) if listed else set()
