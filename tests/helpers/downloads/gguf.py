"""Small models as GGUF files."""

from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["1 2", "12 3", "H e", "l l", "He ll", "Hell o", "Ġ w"]
HEADS, KEY_VALUE_HEADS = 4, 2
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]


def make_llama(tied: bool, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of 2 blocks with fewer key and value heads than query heads."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=HEADS, num_key_value_heads=KEY_VALUE_HEADS, max_position_embeddings=128,
        tie_word_embeddings=tied, rms_norm_eps=1e-5, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).float().eval()


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py, which every Llama in GGUF went through."""
    split = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return split.swapaxes(1, 2).reshape(weights.shape)


def gguf_tensors(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    """The tensors by their GGUF names, q and k rows interleaved."""
    outer = {"token_embd": model.model.embed_tokens, "output_norm": model.model.norm}
    if not model.config.tie_word_embeddings:
        outer["output"] = model.lm_head
    parts = {f"{name}.weight": module.weight.detach().numpy() for name, module in outer.items()}
    for index, block in enumerate(model.model.layers):
        attention, mlp = block.self_attn, block.mlp
        inner = {
            "attn_norm": block.input_layernorm, "ffn_norm": block.post_attention_layernorm,
            "attn_q": attention.q_proj, "attn_k": attention.k_proj, "attn_v": attention.v_proj,
            "attn_output": attention.o_proj, "ffn_gate": mlp.gate_proj, "ffn_up": mlp.up_proj,
            "ffn_down": mlp.down_proj,
        }  # fmt: skip
        for name, module in inner.items():
            weights = module.weight.detach().numpy()
            heads = {"attn_q": HEADS, "attn_k": KEY_VALUE_HEADS}.get(name)
            parts[f"blk.{index}.{name}.weight"] = permute(weights, heads) if heads else weights
    return parts


def write_gguf(
    path: Path,
    tensors: dict[str, np.ndarray],
    *,
    architecture="llama",
    pre="smollm",
    tokenizer="gpt2",
    q8=False,
    changes=None,
) -> Path:
    """A GGUF file with these tensors, quantised to Q8_0 where asked for, and `changes` to the fields of its header."""
    writer = GGUFWriter(path, architecture)
    for add, value in {
        writer.add_block_count: 2, writer.add_context_length: 128, writer.add_embedding_length: 64,
        writer.add_feed_forward_length: 96, writer.add_head_count: HEADS,
        writer.add_head_count_kv: KEY_VALUE_HEADS, writer.add_rope_freq_base: 10000.0,
        writer.add_layer_norm_rms_eps: 1e-5,
        writer.add_tokenizer_model: tokenizer, writer.add_tokenizer_pre: pre,
        writer.add_token_list: TOKENS, writer.add_token_merges: MERGES, writer.add_bos_token_id: 1,
        writer.add_token_types: [TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(TOKENS) - 3),
        writer.add_eos_token_id: 2, writer.add_unk_token_id: 0, writer.add_pad_token_id: 2,
    }.items():  # fmt: skip
        add(value)
    for key, value in (changes or {}).items():
        writer.kv_data[0].pop(key, None)
        if value is not None:
            writer.add_key_value(key, *value)
    for name, array in tensors.items():
        if q8 and array.ndim == 2:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
