"""Convert a GGUF file of a Llama-like model into an ordinary Hugging Face folder.

Quantised weights are dequantised to float32: a 4-bit file gives the model that the file holds, not the one
that was published in bf16. Needs gguf, numpy, safetensors and tokenizers, neither torch nor transformers.
"""

import json
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
    config = _model_config(fields, tied="output.weight" not in {tensor.name for tensor in reader.tensors})
    tokenizer, tokenizer_config = _byte_level_tokenizer(fields)
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
    """The metadata of a GGUF file; a missing key is the user's error, since the file is the user's."""

    def __init__(self, reader: GGUFReader, source: Path) -> None:
        self.fields, self.source = reader.fields, source

    def get(self, key: str, default: Any = None) -> Any:
        return self.fields[key].contents() if key in self.fields else default

    def __getitem__(self, key: str) -> Any:
        if key not in self.fields:
            raise UserError(f"The GGUF file {self.source} has no field {key!r}: it is incomplete, fetch it again.")
        return self.fields[key].contents()

    def refuse(self, what: str, valid: str) -> UserError:
        return UserError(f"The GGUF file {self.source} has {what}, which cannot be converted: use one with {valid}.")


def _open(source: Path) -> GGUFReader:
    if not source.is_file():
        raise UserError(f"There is no GGUF file {source}: download it first.")
    try:
        return GGUFReader(source)
    except (ValueError, KeyError, IndexError, OverflowError, MemoryError, TypeError) as error:
        raise UserError(f"{source} is not a whole GGUF file ({error}): fetch it again and compare its hash.") from error


def _model_config(fields: _Fields, tied: bool) -> dict[str, Any]:
    """The contents of config.json: a LlamaConfig with the sizes that the file gives."""
    if (architecture := fields.get("general.architecture")) != "llama":
        raise fields.refuse(f"architecture {architecture!r}", "architecture 'llama'")
    if (scaling := fields.get("llama.rope.scaling.type", "none")) != "none":
        raise fields.refuse(f"rotary scaling {scaling!r}", "plain rotary positions")
    if not isinstance(heads := fields["llama.attention.head_count"], int):
        raise fields.refuse("blocks with different numbers of heads", "one number of heads for all blocks")
    head_dim = fields.get("llama.attention.key_length", fields["llama.embedding_length"] // heads)
    if fields.get("llama.rope.dimension_count", head_dim) != head_dim:
        raise fields.refuse("rotary positions on a part of each head", "rotary positions on whole heads")
    theta = _short(fields.get("llama.rope.freq_base", 10000.0))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get("llama.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": _short(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": theta,  # read by transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},  # read by transformers 5
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
        "dtype": "float32",
    }


def _short(value: float) -> float:
    """The decimal that was meant by a number stored as float32 (1e-05, not 9.999999747378752e-06)."""
    return float(f"{value:.6g}")


def _byte_level_tokenizer(fields: _Fields) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer and the contents of tokenizer_config.json."""
    kind, pre = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        raise fields.refuse(
            f"tokenizer {kind!r} with pre-tokenizer {pre!r}", f"'gpt2' with {', '.join(PRE_TOKENIZERS)}"
        )
    tokens, merges = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.merges"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # A byte's own symbol is never a space, so the first space of a merge rule parts its two halves.
    bpe = models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ", 1)) for merge in merges])
    tokenizer = Tokenizer(bpe)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=bool(fields.get("tokenizer.ggml.add_space_prefix", False)))
    digits = [pre_tokenizers.Digits(individual_digits=True)] if PRE_TOKENIZERS[pre] else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    types = fields.get("tokenizer.ggml.token_type", [])
    special = [token for token, type_ in zip(tokens, types, strict=False) if type_ == TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer, _tokenizer_config(fields, tokens)


def _tokenizer_config(fields: _Fields, tokens: list[str]) -> dict[str, Any]:
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **{name: tokens[index] for name, index in ids.items() if index is not None},
        **({"chat_template": template} if (template := fields.get("tokenizer.chat_template")) else {}),
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
