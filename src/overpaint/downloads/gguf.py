"""Convert a GGUF file of a Llama-like model into an ordinary Hugging Face folder.

Quantised weights are dequantised to float32: a 4-bit file gives the model that the file holds, not the one
that was published in bf16. Needs gguf, numpy, safetensors and tokenizers, neither torch nor transformers.
"""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, TokenType, dequantize  # the package: imports are absolute
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from overpaint.errors import UserError

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
# `tokenizer.ggml.pre` -> are digits split one by one before the byte-level pattern?
PRE_TOKENIZERS = {"smollm": True, "starcoder": True, "gpt-2": False}


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model and tokenizer of the GGUF file `source` as the Hugging Face folder `target`.

    The folder holds config.json, generation_config.json, model.safetensors (float32), tokenizer.json and
    tokenizer_config.json. It is written beside `target` and renamed, so it is there whole or not at all;
    an older folder is replaced. Raises UserError for a file that is malformed, or of another architecture
    than Llama, or whose tokenizer is not byte-level BPE.
    """
    source, target = Path(source), Path(target)
    reader = _open(source)
    fields = _Fields(reader, source)
    config = _model_config(fields, {tensor.name for tensor in reader.tensors})
    tokenizer, tokenizer_config = _byte_level_tokenizer(fields, config)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        _write_json(partial / "config.json", config | {"converted_from": _origin(reader, source)})
        _write_json(partial / "generation_config.json", special)
        _write_json(partial / "tokenizer_config.json", tokenizer_config)
        tokenizer.save(str(partial / "tokenizer.json"))
        weights = _llama_weights(reader, config, fields)
        # One key only: safetensors writes several in a random order, so that equal files would differ.
        save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(partial / "config.json", partial / "model.safetensors")  # safetensors writes 0600
        _replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Fields:
    """The metadata of a GGUF file, each value of the kind that a model needs: the file may be a stranger's."""

    def __init__(self, reader: GGUFReader, source: Path) -> None:
        self.fields, self.source = reader.fields, source

    def get(self, key: str, default: Any = None) -> Any:
        """What the file says under `key`, or the default."""
        try:
            return self.fields[key].contents() if key in self.fields else default
        except (ValueError, LookupError) as error:
            raise self.refuse(f"an unreadable field {key!r}", "text in UTF-8") from error

    def whole(self, key: str, default: int | None = None, most: int = 2**31 - 1, least: int = 1) -> int:
        """The whole number under `key`, within bounds."""
        value = self._present(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self.refuse(f"{key} = {_shown(value)}", f"a whole number from {least} to {most}")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """The decimal that was meant by a number stored as float32 (1e-05, not 9.999999747378752e-06)."""
        value = self._present(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.refuse(f"{key} = {_shown(value)}", "a positive number")
        return float(f"{value:.6g}")

    def texts(self, key: str) -> list[str]:
        """The list of texts under `key`."""
        value = self._present(key, None)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.refuse(f"{key} = {_shown(value)}", "a list of texts")
        return value

    def refuse(self, what: str, valid: str) -> UserError:
        return UserError(f"The GGUF file {self.source} has {what}, which cannot be converted: use one with {valid}.")

    def _present(self, key: str, default: Any) -> Any:
        value = self.get(key, default)
        if value is None:
            raise UserError(f"The GGUF file {self.source} has no field {key!r}: it is incomplete, fetch it again.")
        return value


def _shown(value: Any) -> str:
    """A value of a field as an error quotes it."""
    return f"{value!r:.60}"


def _open(source: Path) -> GGUFReader:
    if not source.is_file():
        raise UserError(f"There is no GGUF file {source}: download it first.")
    try:
        return GGUFReader(source)
    except (ValueError, LookupError, ArithmeticError, MemoryError, TypeError, RecursionError) as error:
        raise UserError(f"{source} is not a whole GGUF file ({error}): fetch it again and compare its hash.") from error


def _model_config(fields: _Fields, tensors: set[str]) -> dict[str, Any]:
    """The contents of config.json: a LlamaConfig with the sizes that the file gives, for tensors of these names."""
    if (architecture := fields.get("general.architecture")) != "llama":
        raise fields.refuse(f"architecture {_shown(architecture)}", "architecture 'llama'")
    if (scaling := fields.get("llama.rope.scaling.type", "none")) != "none":
        raise fields.refuse(f"rotary scaling {_shown(scaling)}", "plain rotary positions")
    width, heads = fields.whole("llama.embedding_length"), fields.whole("llama.attention.head_count")
    head_dim = fields.whole("llama.attention.key_length", width // heads)
    if head_dim % 2 or fields.get("llama.rope.dimension_count", head_dim) != head_dim:
        raise fields.refuse("rotary positions on a part of each head", "rotary positions on whole heads")
    theta, vocabulary = fields.positive("llama.rope.freq_base", 10000.0), len(fields.texts("tokenizer.ggml.tokens"))
    special = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in SPECIAL.items()}
    for name, key in SPECIAL.items():
        if special[name] is not None:
            fields.whole(f"tokenizer.ggml.{key}_token_id", most=vocabulary - 1, least=0)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": fields.whole("llama.feed_forward_length"),
        "num_hidden_layers": fields.whole("llama.block_count", most=len(tensors)),  # a block has several
        "num_attention_heads": heads,
        "num_key_value_heads": fields.whole("llama.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": fields.whole("llama.context_length"),
        "rms_norm_eps": fields.positive("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": theta,  # read by transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},  # read by transformers 5
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in tensors,
        **{f"{name}_id": special[name] for name in ("bos_token", "eos_token", "pad_token")},
        "dtype": "float32",
    }


def _byte_level_tokenizer(fields: _Fields, config: dict[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer and the contents of tokenizer_config.json."""
    kind, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        raise fields.refuse(
            f"tokenizer {_shown(kind)} with pre-tokenizer {_shown(pre)}", f"'gpt2' with {', '.join(PRE_TOKENIZERS)}"
        )
    tokens = fields.texts("tokenizer.ggml.tokens")
    tokenizer = Tokenizer(_merging(fields, tokens))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=bool(fields.get("tokenizer.ggml.add_space_prefix", False)))
    digits = [pre_tokenizers.Digits(individual_digits=True)] if PRE_TOKENIZERS[pre] else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    types = fields.get("tokenizer.ggml.token_type", [0] * len(tokens))
    if not isinstance(types, list) or len(types) != len(tokens):
        raise fields.refuse("token types for another number of tokens", "a type for each token")
    special = [token for token, type_ in zip(tokens, types, strict=True) if type_ == TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer, _tokenizer_config(fields, tokens, config["max_position_embeddings"])


def _merging(fields: _Fields, tokens: list[str]) -> models.BPE:
    """The byte-pair model of the file's tokens and merge rules."""
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens) or "" in vocabulary:
        raise fields.refuse("a token twice, or an empty one", "tokens of their own")
    # A byte's own symbol is never a space, so the first space of a merge rule parts its two halves.
    merges = [rule.partition(" ")[::2] for rule in fields.texts("tokenizer.ggml.merges")]
    if odd := next((pair for pair in merges if not {*pair, "".join(pair)} <= vocabulary.keys()), None):
        raise fields.refuse(f"a merge rule {_shown(' '.join(odd))} of no tokens", "merge rules of its tokens")
    return models.BPE(vocab=vocabulary, merges=merges)


def _tokenizer_config(fields: _Fields, tokens: list[str], length: int) -> dict[str, Any]:
    ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in SPECIAL.items()}
    template = fields.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
        **{name: tokens[index] for name, index in ids.items() if index is not None},
        **({"chat_template": template} if template and isinstance(template, str) else {}),
    }


def _llama_weights(reader: GGUFReader, config: dict[str, Any], fields: _Fields) -> dict[str, np.ndarray]:
    """All tensors by their Hugging Face names, float32; UserError unless they are exactly a Llama's."""
    shapes, weights = dict(_shapes(config)), {}
    for tensor in reader.tensors:
        name, shape = _llama_name(tensor.name), tuple(int(size) for size in tensor.shape[::-1])
        if shapes.get(name) != shape:
            raise fields.refuse(f"a tensor {tensor.name!r} of shape {shape}", "the tensors of a plain Llama")
        try:
            array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        except NotImplementedError as error:
            raise fields.refuse(f"weights of type {tensor.tensor_type.name}", "another quantisation") from error
        weights[name] = np.ascontiguousarray(_in_our_order(name, array, config))
    if missing := sorted(shapes.keys() - weights.keys()):
        raise fields.refuse(f"no tensor for {missing[0]} ({len(missing)} are missing)", "every tensor")
    return weights


def _llama_name(name: str) -> str | None:
    """The Hugging Face name of a GGUF tensor (`blk.3.attn_q.weight`); None where a plain Llama has none."""
    match name.split("."):
        case ["blk", block, part, "weight"] if part in INNER:
            return f"model.layers.{block}.{INNER[part]}.weight"
        case [part, "weight"] if part in OUTER:
            return f"{OUTER[part]}.weight"
    return None


def _shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every tensor that a Llama of this configuration has."""
    vocabulary, width, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    queries, keys = (config["head_dim"] * config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    yield "model.embed_tokens.weight", (vocabulary, width)
    yield "model.norm.weight", (width,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (vocabulary, width)
    special = {
        "attn_norm": (width,), "attn_q": (queries, width), "attn_k": (keys, width), "attn_v": (keys, width),
        "attn_output": (width, queries), "ffn_norm": (width,), "ffn_down": (width, inner),
    }  # fmt: skip
    for block in range(config["num_hidden_layers"]):
        for part, name in INNER.items():
            yield f"model.layers.{block}.{name}.weight", special.get(part, (inner, width))


def _in_our_order(name: str, array: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Undo the interleaving of q and k: GGUF rotates neighbouring rows, Hugging Face the halves of a head."""
    if "q_proj" in name:
        return unpermute(array, config["num_attention_heads"])
    if "k_proj" in name:
        return unpermute(array, config["num_key_value_heads"])
    return array


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows (heads * head_dim, d): rotary pairs side by side -> per head, all first ones, then all second."""
    paired = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)


def _origin(reader: GGUFReader, source: Path) -> dict[str, Any]:
    """What config.json tells about where the weights came from: the file and its tensors by type."""
    kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    return {"file": source.name, "tensors": dict(sorted(kinds.items()))}


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _replace_folder(partial: Path, target: Path) -> None:
    """Rename `partial` to `target`; an older folder of that name is removed first."""
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)
