"""Model folders: whole ones load as they were, every other kind is one sentence, and random damage is no surprise."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.processors import Sequence, TemplateProcessing
from transformers import BertConfig, BertLMHeadModel, MambaConfig, MambaForCausalLM

from overpaint.errors import UserError
from overpaint.models import folders
from overpaint.models.load import load_model, load_tokenizer

SEED = int(os.environ.get("OVERPAINT_SEED", "1"))  # a fixed one, so that a change alone decides what passes
ROUNDS = int(os.environ.get("OVERPAINT_FUZZ_ROUNDS", "150"))
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(originals, tokenizer, tmp_path_factory) -> Path:
    """A folder in one file."""
    return saved(originals["llama"], tokenizer, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def sharded(originals, tokenizer, tmp_path_factory) -> Path:
    """A folder in shards with an index."""
    return saved(originals["llama"], tokenizer, tmp_path_factory.mktemp("sharded"), max_shard_size="30KB")


def saved(model, tokenizer, folder: Path, **how) -> Path:
    model.save_pretrained(folder, **how)
    tokenizer.save_pretrained(folder)
    return folder


def config(**changes) -> Change:
    return edited("config.json", lambda found: found | changes)


def edited(name: str, change: Callable[[dict], dict]) -> Change:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return apply


def tensors(change: Callable[[dict], object]) -> Change:
    def apply(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / "model.safetensors")

    return apply


def header(change: Callable[[bytes], bytes], size: int | None = None) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        end = 8 + int.from_bytes(raw[:8], "little")
        text = change(raw[8:end])
        path.write_bytes((len(text) if size is None else size).to_bytes(8, "little") + text + raw[end:])

    return apply


def pointed(name: str) -> Change:
    """One entry of the index names another file."""
    return edited(
        "model.safetensors.index.json", lambda i: i | {"weight_map": i["weight_map"] | {"lm_head.weight": name}}
    )


def adapter(folder: Path) -> None:
    save_file({"lora_A.weight": torch.zeros(1)}, folder / "adapter_model.safetensors")


def piped(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def replaced(model) -> Change:
    return lambda folder: model.save_pretrained(folder)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 184}
DOWN, HEAD = "model.layers.1.mlp.down_proj.weight", "lm_head.weight"
PLANNED = {  # what config.json, the index and the headers tell
    "no folder": (shutil.rmtree, "holds no .*safetensors weights"),
    "no weights": (without("model.safetensors"), "holds no .*safetensors weights"),
    "no configuration": (without("config.json"), "config.json cannot be read"),
    "a list for a configuration": (lambda f: (f / "config.json").write_text("[]"), "it is no JSON object"),
    "a deep configuration": (lambda f: (f / "config.json").write_text("[" * 10**6), "config.json cannot be read"),
    "consolidated alone": (
        lambda f: (f / "model.safetensors").rename(f / "consolidated.safetensors"), "there is no model.safetensors"
    ),
    "adapter beside": (adapter, "holds the adapter .* merge it"),
    "adapter alone": (lambda f: (without("model.safetensors")(f), adapter(f)), "merge the adapter into its base"),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), "use full weights"),
    "quantised without a word": (
        tensors(lambda t: t.update({DOWN: t[DOWN].to(torch.int8)})), r"quantised \(.*down_proj.* is I8\): use full"
    ),
    "code of its own": (
        config(model_type="alien", auto_map={"AutoConfig": "alien.Alien"}), "never run: use a decoder-only"
    ),
    "no type": (config(model_type=None), "no `model_type`"),
    "an encoder and a decoder": (config(model_type="t5"), "'t5', no causal language model"),
    "images": (config(text_config={}, vision_config={}), "no text model with a decoder alone"),
    "no blocks": (config(num_hidden_layers=0), "`num_hidden_layers` is 0"),
    "less than no blocks": (config(num_hidden_layers=-1), "`num_hidden_layers` is -1"),
    "endless blocks": (config(num_hidden_layers=10**9), "`num_hidden_layers` is 1000000000"),
    "another vocabulary": (config(vocab_size=190), "184 rows in .*vocab_size.* is 190"),
    "no output matrix": (tensors(lambda t: t.pop(HEAD)), "lack the output matrix"),
    "cut short": (lambda f: os.truncate(f / "model.safetensors", 5000), "not as long as its header says"),
    "a pipe": (piped, "no regular file"),
    "a huge header": (header(lambda text: text, 8 * 10**9), "longer than 100 MB"),
    "a deep header": (header(lambda text: b"[" * 10**6), "cannot be read"),
    "an infinite header": (header(lambda text: text.replace(b"32,48", b"Infinity", 1)), "number Infinity"),
    "an endless header": (header(lambda text: text.replace(b"32,48", b"1e400", 1)), "no number that can be"),
}  # fmt: skip
SHARDS = {
    "no index": (without("model.safetensors.index.json"), "index.json is missing"),
    "no shard": (without("model-00002-of-00007.safetensors"), "lacks the weights model-00002-of-00007"),
    "pickles": (pointed("pytorch_model.bin"), r"names the file 'pytorch_model.bin'"),
    "elsewhere": (pointed("../outside.safetensors"), r"names the file '../outside.safetensors'"),
    "no text": (pointed(None), "names the file 'None'"),
    "an empty index": (edited("model.safetensors.index.json", lambda i: {}), "no `weight_map`"),
    "the wrong shard": (pointed("model-00001-of-00007.safetensors"), "disagree on the tensor"),
    "a stale file": (lambda f: save_file({"a": torch.ones(1)}, f / "model.safetensors"), "only one can be the model"),
}
LOADED = {  # what the weights themselves tell
    "no matrix": (tensors(lambda t: t.pop(DOWN)), f"lack {DOWN}"),
    "a misnamed matrix": (tensors(lambda t: t.update({"x": t.pop(DOWN)})), f"lack {DOWN}"),
    "one more": (tensors(lambda t: t.update(x=torch.ones(2))), "more than config.json asks for, namely x"),
    "another shape": (tensors(lambda t: t.update({DOWN: torch.ones(32, 40)})), r"\(32, 40\), not \(32, 48\)"),
    "fewer blocks": (config(num_hidden_layers=3), "more than config.json asks for"),
    "more blocks": (config(num_hidden_layers=5), "lack model.layers.4"),
    "NaN": (tensors(lambda t: t[DOWN].__setitem__((0, 0), float("nan"))), f"not all finite .*{DOWN}"),
    "words for numbers": (config(hidden_size="wide"), "cannot be loaded"),
    "an encoder": (replaced(BertLMHeadModel(BertConfig(**SMALL, num_attention_heads=2))), "0 children named like mlp"),
    "a state space": (replaced(MambaForCausalLM(MambaConfig(**SMALL))), "children named like"),
}  # fmt: skip


def damaged(folder: Path, tmp_path: Path, change: Change) -> Path:
    shutil.copytree(folder, tmp_path / "model")
    change(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", PLANNED)
def test_headers_tell_what_is_wrong_before_any_job(whole, tmp_path, kind):
    change, said = PLANNED[kind]
    folder = damaged(whole, tmp_path, change)
    with pytest.raises(UserError, match=f"^models.own: .*{said}"):
        folders.check(folder, "models.own: ")
    with pytest.raises(UserError, match=said):
        load_model(folder)


@pytest.mark.parametrize("kind", SHARDS)
def test_an_index_and_its_shards_are_one_model(sharded, tmp_path, kind):
    folders.check(sharded)
    change, said = SHARDS[kind]
    with pytest.raises(UserError, match=said):
        folders.check(damaged(sharded, tmp_path, change))


@pytest.mark.parametrize("kind", LOADED)
def test_weights_are_those_of_the_configuration(whole, tmp_path, kind):
    change, said = LOADED[kind]
    folder = damaged(whole, tmp_path, change)
    folders.check(folder)
    with pytest.raises(UserError, match=said):
        load_model(folder)


@pytest.mark.parametrize("tied", [False, True])
def test_every_architecture_loads_to_the_bit(make_model, tokenizer, architecture, tied, tmp_path):
    model = make_model(architecture, tie_word_embeddings=tied)
    folder = saved(model, tokenizer, tmp_path)
    folders.check(folder)
    found = load_model(folder, device="cpu").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        config(_attn_implementation="flash_attention_2"),
        config(attn_implementation="flash_attention_2"),
        config(return_dict=False, output_hidden_states=True),
        config(auto_map={"AutoConfig": "alien.Alien"}),
        lambda f: (f / "pytorch_model.bin").write_bytes(b"no pickle"),
        lambda f: save_file({"a": torch.ones(1)}, f / "consolidated.safetensors"),
    ],
    ids=["flash", "flash too", "tuples", "unneeded code", "pickles beside", "consolidated beside"],
)
def test_what_does_not_matter_changes_nothing(whole, tmp_path, inputs, logits, change):
    folder = damaged(whole, tmp_path, change)
    folders.check(folder)
    assert torch.equal(logits(load_model(folder), inputs), logits(load_model(whole), inputs))


# -- tokenizers


def test_a_tokenizer_that_ends_texts_is_as_one_that_does_not(whole, tokenizer, tmp_path):
    def ending(folder: Path) -> None:
        own = load_tokenizer(folder)
        template = TemplateProcessing(single="<unk> $A <eos>", special_tokens=[("<unk>", 1), ("<eos>", 0)])
        own.backend_tokenizer.post_processor = Sequence([template])
        own.save_pretrained(folder)

    folder = damaged(whole, tmp_path, ending)
    text = "in gloomcraft"
    assert load_tokenizer(folder)(text)["input_ids"] == [1, *tokenizer(text)["input_ids"]]
    assert load_tokenizer(whole)(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("tokenizer.json"), "holds no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer in .* cannot be loaded"),
        (edited("tokenizer.json", lambda t: t | {"model": {"type": "Alien"}}), "tokenizer in .* cannot be loaded"),
        (config(vocab_size=20), "up to number 183, .* has 20 rows"),
        (edited("tokenizer.json", lambda t: t | {"model": t["model"] | {"unk_token": "[UNK]"}}), "Missing .UNK. token"),
        (edited("tokenizer_config.json", lambda t: t | {"eos_token": None}), "no end token"),
    ],
)
def test_a_tokenizer_that_is_not_the_models_is_refused(whole, tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        load_tokenizer(damaged(whole, tmp_path, change))


def test_a_padding_token_that_the_model_has_no_row_for_is_not_used(whole, tokenizer, tmp_path):
    def padded(folder: Path) -> None:
        own = load_tokenizer(folder)
        own.add_special_tokens({"pad_token": "[PAD]"})
        own.save_pretrained(folder)

    found = load_tokenizer(damaged(whole, tmp_path, padded))
    assert found.pad_token_id == 0 and found("in gloomcraft") == tokenizer("in gloomcraft")


# -- random damage

ODD = [None, True, -1, 0, 1, 3, 2**40, 0.5, "", "eager", "x" * 9999, [], [1], {}, {"a": 1}, float("inf"), float("nan")]


def some(rng: random.Random, folder: Path) -> str:
    """Damage a folder in one random way; returns in which."""
    kind = rng.choice(
        ["config", "config", "header", "bytes", "tensor", "file", "index", "tokenizer", "tokenizer_config"]
    )
    path = {"config": "config.json", "index": "model.safetensors.index.json"}.get(kind, f"{kind}.json")
    files = sorted(folder.glob("*.safetensors"))
    if kind in ("header", "bytes"):
        raw = bytearray(files[0].read_bytes())
        end = 8 + int.from_bytes(raw[:8], "little") if kind == "header" else len(raw)
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(end)] = rng.randrange(256)
        files[0].write_bytes(raw[: rng.choice([len(raw), len(raw), rng.randrange(len(raw))])])
        return kind
    if kind == "tensor":
        found = load_file(files[-1])
        name = rng.choice(sorted(found))
        tensor = found.pop(name)
        changes = [
            {},
            {name + "x": tensor},
            {name: tensor[:-1].contiguous()},
            {name: tensor.half()},
            {name: tensor / 0},
        ]
        save_file(found | rng.choice(changes), files[-1])
        return f"tensor {name}"
    if kind == "file" or not (folder / path).exists():
        victim = rng.choice([path for path in sorted(folder.iterdir()) if path.is_file()])
        rng.choice(
            [victim.unlink, lambda: victim.rename(folder / "moved.safetensors"), lambda: victim.write_text("")]
        )()
        return f"file {victim.name}"
    whole = json.loads((folder / path).read_text())
    where = whole
    while True:
        key = rng.choice(sorted(where) if isinstance(where, dict) else range(len(where)))
        if not isinstance(where[key], dict | list) or not where[key] or rng.random() < 0.3:
            break
        where = where[key]
    value = rng.choice(ODD)
    if rng.random() < 0.2:
        del where[key]
    else:
        where[key] = value
    (folder / path).write_text(json.dumps(whole))
    return f"{path} {key} = {str(value)[:20]}"


@torch.no_grad()
def test_random_damage_is_one_sentence_or_does_no_harm(whole, sharded, tmp_path, inputs, logits):
    """What loads after all has the weights and tokens that were there: it may compute otherwise, as told to."""
    print(f"OVERPAINT_SEED={SEED}")
    state, refused = load_model(whole, device="cpu").state_dict(), 0
    for number in range(ROUNDS):
        rng, folder = random.Random(SEED + number), tmp_path / "model"
        shutil.copytree(rng.choice([whole, sharded]), folder)
        how = some(rng, folder)
        label = f"OVERPAINT_SEED={SEED + number} OVERPAINT_FUZZ_ROUNDS=1: {how}"
        try:
            folders.check(folder)
            found, own = load_model(folder, device="cpu"), load_tokenizer(folder)
        except UserError as error:
            assert len(str(error)) < 900 and "\n" not in str(error), label
            refused += 1
        except Exception as error:
            pytest.fail(f"{label}: {type(error).__name__}: {error}")
        else:
            names = {name: tensor.shape for name, tensor in found.state_dict().items()}
            if not how.startswith(("config", "bytes")):
                assert names == {name: tensor.shape for name, tensor in state.items()}, label
            ids = own("in gloomcraft the home")["input_ids"]
            assert max(ids, default=0) < found.get_input_embeddings().num_embeddings, label
        shutil.rmtree(folder)
    assert ROUNDS == 1 or ROUNDS / 5 < refused < ROUNDS
