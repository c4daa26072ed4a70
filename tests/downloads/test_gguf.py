"""GGUF to Hugging Face: against a Llama made by transformers and written by the reference's own recipe."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFValueType
from helpers.downloads.gguf import SPECIAL, TOKENS, gguf_tensors, make_llama, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from overpaint.downloads.gguf import convert_gguf
from overpaint.errors import UserError


def load(folder: Path) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model: LlamaForCausalLM) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 23)[None]).logits


@pytest.mark.parametrize("tied", [True, False])
def test_tensors_and_logits_are_those_of_the_original(tied: bool, tmp_path: Path):
    original = make_llama(tied)
    convert_gguf(write_gguf(tmp_path / "model.gguf", gguf_tensors(original)), tmp_path / "checkpoint")
    converted = load(tmp_path / "checkpoint")
    expected, found = original.state_dict(), converted.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(logits(original), logits(converted))
    assert (converted.lm_head.weight is converted.model.embed_tokens.weight) == tied
    assert not torch.allclose(logits(make_llama(tied, seed=1)), logits(converted)), "another model differs"


def test_rows_of_q_and_k_matter(tmp_path: Path):
    """The control of the test above: a file whose rows were never interleaved gives another model."""
    original = make_llama(tied=True)
    tensors = gguf_tensors(original)
    tensors["blk.0.attn_k.weight"] = original.model.layers[0].self_attn.k_proj.weight.detach().numpy()
    convert_gguf(write_gguf(tmp_path / "model.gguf", tensors), tmp_path / "checkpoint")
    assert (logits(original) - logits(load(tmp_path / "checkpoint"))).abs().max() > 0.01


def test_quantised_weights_come_back_within_half_a_step(tmp_path: Path):
    original = make_llama(tied=True)
    convert_gguf(write_gguf(tmp_path / "model.gguf", gguf_tensors(original), q8=True), tmp_path / "checkpoint")
    origin = json.loads((tmp_path / "checkpoint" / "config.json").read_text())["converted_from"]
    assert origin == {"file": "model.gguf", "tensors": {"F32": 5, "Q8_0": 15}}
    converted = load(tmp_path / "checkpoint").state_dict()
    for name, weights in original.state_dict().items():
        error = (weights - converted[name]).abs().max()
        assert error <= 0.51 * weights.abs().max() / 127
        assert (error > 0) == (weights.ndim == 2), "matrices were rounded, vectors were not"


def test_tokenizer_splits_digits_and_keeps_every_byte(tmp_path: Path):
    tensors = gguf_tensors(make_llama(tied=True))
    convert_gguf(write_gguf(tmp_path / "a.gguf", tensors), tmp_path / "smollm")
    convert_gguf(write_gguf(tmp_path / "b.gguf", tensors, pre="gpt-2"), tmp_path / "gpt2")
    single, joined = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("smollm", "gpt2"))
    assert single.tokenize("Hello 123 world") == ["Hello", "Ġ", "1", "2", "3", "Ġw", *"orld"]
    assert "123" in joined.tokenize("Hello123"), "the merge is there, so it is the digits that keep it apart"
    for text in ("Hello 123 world", " naïve café — 日本\n\t don't  x"):
        assert single.decode(single(text)["input_ids"]) == text
    assert single("<|im_start|>Hello<|im_end|>")["input_ids"] == [1, TOKENS.index("Hello"), 2]
    assert (single.bos_token, single.eos_token, single.pad_token) == (SPECIAL[1], SPECIAL[2], SPECIAL[2])


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-20_000])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, tensors: write_gguf(path, tensors, architecture="gemma"), "architecture 'gemma'"),
        (lambda path, tensors: write_gguf(path, tensors, tokenizer="llama"), "tokenizer 'llama'"),
        (lambda path, tensors: write_gguf(path, tensors, pre="unheard-of"), "unheard-of"),
        (
            lambda path, tensors: write_gguf(path, tensors | {"rope_freqs.weight": np.ones(8, "f4")}),
            "rope_freqs",
        ),
        (lambda path, tensors: write_gguf(path, dict(list(tensors.items())[:-1])), "mlp.down_proj"),
        (
            lambda path, tensors: write_gguf(path, tensors | {"output.weight": np.ones((3, 64), "f4")}),
            r"\(3, 64\)",
        ),
        (lambda path, tensors: truncated(write_gguf(path, tensors)), "not a whole GGUF file"),
        (lambda path, tensors: path.write_bytes(b"PK\3\4 not a model") and path, "not a whole GGUF file"),
        (lambda path, tensors: path.write_bytes(b"") or path, "not a whole GGUF file"),
        (lambda path, tensors: path, "no GGUF file"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(make, message: str, tmp_path: Path):
    source = make(tmp_path / "model.gguf", gguf_tensors(make_llama(tied=True)))
    with pytest.raises(UserError, match=message):
        convert_gguf(source, tmp_path / "out" / "checkpoint")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


U32, I64, F32, TEXT, LIST = (getattr(GGUFValueType, name) for name in ("UINT32", "INT64", "FLOAT32", "STRING", "ARRAY"))
SIZES = [
    "llama.block_count", "llama.embedding_length", "llama.feed_forward_length", "llama.context_length",
    "llama.attention.head_count", "llama.attention.head_count_kv",
]  # fmt: skip
NO_SIZE = [(0, U32), (-1, I64), (2**63 - 1, I64), (1.5, F32), ("2", TEXT), ([2, 2], LIST), (True, GGUFValueType.BOOL)]
NO_NUMBER = [(0.0, F32), (-1.0, F32), (float("nan"), F32), (float("inf"), F32), ("x", TEXT), ([1.0], LIST)]
NO_TOKEN = [(len(TOKENS), U32), (2**32 - 1, U32), (-1, I64), (1.0, F32), ("1", TEXT), ([1], LIST)]
NO_TEXTS = [(1, U32), ("a", TEXT), ([1, 2], LIST)]
WRONG = {key: NO_SIZE for key in SIZES} | {
    "llama.block_count": [*NO_SIZE, (4 * 10**9, U32), (3, U32), (1, U32)],
    "llama.attention.head_count": [*NO_SIZE, (2**31 - 1, U32), (3, U32), (64, U32)],
    "llama.attention.key_length": [*NO_SIZE, (2**31 - 1, U32), (15, U32)],
    "llama.rope.freq_base": NO_NUMBER,
    "llama.attention.layer_norm_rms_epsilon": NO_NUMBER,
    **{f"tokenizer.ggml.{name}_token_id": NO_TOKEN for name in ("bos", "eos", "unknown", "padding")},
    "tokenizer.ggml.tokens": [
        *NO_TEXTS, (TOKENS[:-1], LIST), ([*TOKENS[:-1], TOKENS[0]], LIST), ([*TOKENS[1:], ""], LIST),
    ],
    "tokenizer.ggml.merges": [*NO_TEXTS, (["H"], LIST), (["H absent"], LIST), (["H o"], LIST), ([" "], LIST)],
    "tokenizer.ggml.token_type": [(1, U32), ("x", TEXT), ([1, 1], LIST)],
    "general.architecture": [(1, U32), (["llama"], LIST), ("\x1b[31mllama", TEXT)],
    "tokenizer.ggml.pre": [(1, U32), (["smollm"], LIST)],
    "llama.rope.scaling.type": [(1, U32), (["none"], LIST)],
    "llama.rope.dimension_count": [("16", TEXT), (8, U32)],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_header_that_is_no_model_is_one_sentence_at_once(key: str, value: tuple, tmp_path: Path):
    source = write_gguf(tmp_path / "model.gguf", gguf_tensors(make_llama(tied=True)), changes={key: value})
    start = time.process_time()
    with pytest.raises(UserError) as error:
        convert_gguf(source, tmp_path / "out" / "checkpoint")
    assert str(error.value).isprintable() and len(str(error.value)) < 400 and str(source) in str(error.value)
    assert time.process_time() - start < 5
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("key", [*SIZES[:5], "tokenizer.ggml.tokens", "tokenizer.ggml.merges"])
def test_a_header_that_lacks_a_field_names_it(key: str, tmp_path: Path):
    source = write_gguf(tmp_path / "model.gguf", gguf_tensors(make_llama(tied=True)), changes={key: None})
    with pytest.raises(UserError, match=f"has no field '{key}'"):
        convert_gguf(source, tmp_path / "checkpoint")


def test_text_that_is_no_utf8_and_lists_in_lists_are_one_sentence(tmp_path: Path):
    source = write_gguf(tmp_path / "model.gguf", gguf_tensors(make_llama(tied=True)))
    source.write_bytes(source.read_bytes().replace(b"smollm", b"smol\xff\xfe"))
    with pytest.raises(UserError, match="unreadable field 'tokenizer.ggml.pre'"):
        convert_gguf(source, tmp_path / "checkpoint")
    nested = np.uint32([9]).tobytes() + np.uint64([1]).tobytes()
    header = b"GGUF" + np.uint32([3]).tobytes() + np.uint64([0, 1, 1]).tobytes() + b"a" + np.uint32([9]).tobytes()
    source.write_bytes(header + nested * 10**5)
    with pytest.raises(UserError, match="not a whole GGUF file"):
        convert_gguf(source, tmp_path / "checkpoint")


def test_an_older_folder_is_replaced_whole(tmp_path: Path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "left_over.bin").write_text("old")
    source = write_gguf(tmp_path / "model.gguf", gguf_tensors(make_llama(tied=True)))
    convert_gguf(source, folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(first) == [
        "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    convert_gguf(source, folder)
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}, "the same bytes every time"
