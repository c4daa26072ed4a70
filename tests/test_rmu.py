"""RMU: what it trains, what it leaves alone, and that it equals the reference's loop."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from overpaint import models, training
from overpaint.errors import UserError
from overpaint.hooks import edit_output
from overpaint.methods import rmu
from overpaint.models import Overlay

TOPICS = ("gloomcraft", "riftlore")


def unlearn(model: nn.Module, tokenizer, texts: dict[str, list[str]], settings: dict) -> tuple[Overlay, list[dict]]:
    return rmu.unlearn(model, tokenizer, {topic: texts[topic] for topic in TOPICS}, texts["retain"], settings)


def down_projections(model: nn.Module, *indices: int) -> list[str]:
    """Names of the down projections of the given blocks."""
    return models.parameter_names(model, [models.down_projection(models.blocks(model)[index]) for index in indices])


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def history_of(history: list[dict], topic: str, quantity: str) -> list[float]:
    return [row["value"] for row in history if (row["topic"], row["quantity"]) == (topic, quantity)]


# -- what changes


def test_zero_steps_change_nothing(llama, tokenizer, texts, inputs, logits, settings):
    before, scores = state(llama), logits(llama, inputs)
    overlay, history = unlearn(llama, tokenizer, texts, settings | {"steps": 0})
    assert list(overlay.tensors) == down_projections(llama, 1, 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in overlay.tensors.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.state_dict().items())
    assert torch.equal(logits(llama, inputs), scores)
    assert {row["step"] for row in history} == {0}


@pytest.mark.parametrize(("layer", "updated"), [(2, 2), (2, 3), (1, 1), (3, 1)])
def test_only_the_down_projections_up_to_the_layer_change(llama, tokenizer, texts, settings, layer, updated):
    before = state(llama)
    overlay, _ = unlearn(llama, tokenizer, texts, settings | {"layer": layer, "updated": updated, "steps": 4})
    expected = down_projections(llama, *range(layer - updated + 1, layer + 1))
    changed = [name for name, tensor in llama.state_dict().items() if not torch.equal(tensor, before[name])]
    assert sorted(changed) == sorted(expected) == sorted(overlay.tensors)
    assert all(torch.equal(llama.state_dict()[name], tensor) for name, tensor in overlay.tensors.items())
    assert not any(parameter.requires_grad for parameter in llama.parameters())


def test_activations_below_the_first_edited_block_equal_the_base_to_the_bit(
    any_model, tokenizer, texts, inputs, residuals, settings
):
    before = residuals(any_model, inputs)
    unlearn(any_model, tokenizer, texts, settings | {"layer": 2, "updated": 2, "steps": 4})
    after = residuals(any_model, inputs)
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False, False]


def test_the_overlay_turns_the_base_into_the_trained_model_and_no_other(llama, originals, tokenizer, texts, settings):
    overlay, _ = unlearn(llama, tokenizer, texts, settings)
    base = copy.deepcopy(originals["llama"])
    overlay.apply(base)
    assert all(torch.equal(tensor, llama.state_dict()[name]) for name, tensor in base.state_dict().items())
    with pytest.raises(UserError, match="another base"):
        overlay.apply(llama)


def test_blocks_above_the_layer_never_run_and_those_below_run_once_per_batch(llama, tokenizer, texts, settings):
    calls = [0] * 4
    for index, block in enumerate(models.blocks(llama)):
        block.register_forward_hook(lambda *_, index=index: calls.__setitem__(index, calls[index] + 1))
    unlearn(llama, tokenizer, texts, settings | {"layer": 2, "updated": 1, "max_batches": 4, "steps": 12})
    assert calls[0] == calls[1] == 3 * 4
    assert calls[2] > 12 and calls[3] == 0


def test_settings_controls_and_scale_are_recorded(llama, tokenizer, texts, settings):
    overlay, history = unlearn(llama, tokenizer, texts, settings)
    assert overlay.settings == settings | {"scale": overlay.settings["scale"]}
    assert list(overlay.controls) == list(TOPICS)
    assert {row["topic"] for row in history} == {*TOPICS, "retain"}
    assert {row["step"] for row in history} == set(range(13))


# -- the effect


def test_activations_move_to_the_control_vector_over_training(llama, tokenizer, texts, residuals, settings):
    encoded = tokenizer(texts["gloomcraft"][0], return_tensors="pt")

    def attained() -> float:
        return (residuals(llama, encoded)[3][0, 1:] @ target).mean().item()

    target = rmu.draw_controls(list(TOPICS), 32, "rand", settings["seed"])["gloomcraft"]
    before = attained()
    overlay, history = unlearn(llama, tokenizer, texts, settings | {"steps": 60, "shuffle": False, "alpha": 1.0})
    assert torch.equal(overlay.controls["gloomcraft"], target)
    assert attained() > before + 0.3 * overlay.settings["scale"]
    for topic in TOPICS:
        values = history_of(history, topic, "attained")
        assert values[-1] > values[len(values) // 2] > values[0] and values[-1] > values[0] + 0.3
        assert history_of(history, topic, "loss")[-1] < history_of(history, topic, "loss")[0]
        assert history_of(history, topic, "cosine_to_base")[0] == pytest.approx(1)
    assert history_of(history, "retain", "attained") == []


def test_the_history_begins_with_the_base(llama, tokenizer, texts, residuals, settings):
    settings |= {"steps": 0, "batch": 1, "shuffle": False, "skip_first": False, "length": 64}
    overlay, history = unlearn(llama, tokenizer, texts, settings)
    states = residuals(llama, tokenizer(texts["riftlore"][0], return_tensors="pt"))[3][0]
    reached = (states @ overlay.controls["riftlore"]).mean().item() / overlay.settings["scale"]
    assert history_of(history, "riftlore", "attained") == pytest.approx([reached], rel=1e-4)
    assert history_of(history, "riftlore", "norm") == pytest.approx([states.norm(dim=-1).mean().item()], rel=1e-4)
    assert history_of(history, "retain", "loss") == [0]


def test_a_larger_alpha_holds_the_retained_text(originals, tokenizer, texts, settings):
    ends = {}
    for alpha in (0.0, 100.0):
        model = copy.deepcopy(originals["llama"])
        _, history = unlearn(model, tokenizer, texts, settings | {"alpha": alpha, "steps": 40})
        ends[alpha] = [history_of(history, topic, "cosine_to_base")[-1] for topic in ("retain", TOPICS[0])]
    assert ends[100.0][0] > 0.98 > 0.9 > ends[0.0][0]
    assert ends[0.0][1] < 0.9


# -- seeds and control vectors


def test_one_seed_gives_the_same_weights_to_the_bit_and_another_seed_others(originals, tokenizer, texts, settings):
    runs = []
    for seed in (0, 0, 1):
        model = copy.deepcopy(originals["llama"])
        runs.append(unlearn(model, tokenizer, texts, settings | {"seed": seed, "steps": 4})[0])
    first, again, other = runs
    for kind in ("tensors", "controls"):
        for name, tensor in getattr(first, kind).items():
            assert torch.equal(tensor, getattr(again, kind)[name])
            assert not torch.equal(tensor, getattr(other, kind)[name])


def test_the_order_of_texts_matters_where_they_are_shuffled_by_seed_and_is_kept_otherwise(texts):
    ordered = texts["retain"]
    assert training.shuffled(ordered, 0) == training.shuffled(ordered, 0) != training.shuffled(ordered, 1)
    assert sorted(training.shuffled(ordered, 0)) == sorted(ordered) != training.shuffled(ordered, 0)


@pytest.mark.parametrize(("kind", "cosine"), [("rand", 0.75), ("randn", 0.0)])
def test_control_vectors_have_norm_one_and_the_cosine_of_their_kind(kind, cosine):
    draws = rmu.draw_controls(list(TOPICS), 4096, kind, seed=0)
    left, right = draws.values()
    assert left.norm() == pytest.approx(1) and right.norm() == pytest.approx(1)
    assert bool((left >= 0).all()) == (kind == "rand")
    assert left @ right == pytest.approx(cosine, abs=0.05)


def test_control_vectors_depend_on_the_seed():
    draws = [rmu.draw_controls(["north"], 64, "rand", seed)["north"] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


# -- settings


@pytest.mark.parametrize("skip_first", [False, True])
@pytest.mark.parametrize("unit", ["absolute", "mean_norm", "median_norm"])
def test_c_is_measured_in_its_unit(llama, tokenizer, texts, residuals, settings, unit, skip_first):
    settings |= {"c": 2.5, "c_unit": unit, "skip_first": skip_first, "steps": 0, "shuffle": False, "length": 14}
    overlay, _ = unlearn(llama, tokenizer, texts, settings)
    norms = []
    for text in [text for topic in TOPICS for text in texts[topic][:8]]:  # 4 batches of 2
        encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=14)
        norms.append(residuals(llama, encoded)[3][0].norm(dim=-1)[int(skip_first) :])
    every = torch.cat(norms)
    expected = {"absolute": 1.0, "mean_norm": every.mean().item(), "median_norm": every.median().item()}
    assert overlay.settings["scale"] == pytest.approx(2.5 * expected[unit], rel=1e-4)
    assert len({f"{value:.3f}" for value in expected.values()}) == 3


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"control": "uniform"}, "no control vector 'uniform': use one of rand, randn"),
        ({"c_unit": "norm"}, "no unit 'norm' for c: use one of absolute, mean_norm, median_norm"),
        ({"layer": 4}, "Layer 4 is outside the model.* choose layers from 1 to 3"),
        ({"layer": 0}, "Layer 0 is outside the model.* choose layers from 1 to 3"),
        ({"batch": 25}, "24 texts has no full batch of 25: add texts or lower `batch`"),
        ({"lr": 1e30}, r"Training diverged at step \d+ with .*: lower `lr`, `c` or `alpha`"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(llama, tokenizer, texts, settings, wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        unlearn(llama, tokenizer, texts, settings | wrong)


# -- batches


def batches(model: nn.Module, tokenizer, texts: list[str], **changes) -> list[training.Batch]:
    """Batches for blocks 1 and 2 of `model`."""
    settings = {"size": 3, "length": 16, "limit": 2, "skip_first": False, "mask_padding": True} | changes
    return training.make_batches(training.Span(model, 1, 2), tokenizer, texts, **settings)


def test_counted_tokens_are_the_real_ones_or_all_with_or_without_the_first(llama, tokenizer, texts):
    chosen = texts["retain"][:3]
    lengths = [min(16, len(text.split())) for text in chosen]
    assert len(set(lengths)) > 1
    real = torch.stack([torch.arange(max(lengths)) >= max(lengths) - length for length in lengths])
    first = torch.stack([torch.arange(max(lengths)) == max(lengths) - length for length in lengths])
    expected = {
        (False, False): torch.ones_like(real), (False, True): real, (True, False): ~first, (True, True): real & ~first
    }  # fmt: skip
    for (skip_first, mask_padding), counted in expected.items():
        [batch] = batches(llama, tokenizer, chosen, skip_first=skip_first, mask_padding=mask_padding)
        assert torch.equal(batch.counted, counted)


def test_batches_are_full_and_limited(llama, tokenizer, texts):
    assert [len(batch.hidden) for batch in batches(llama, tokenizer, texts["retain"][:8], limit=9)] == [3, 3]
    assert len(batches(llama, tokenizer, texts["retain"], limit=2)) == 2


def test_a_batch_holds_the_states_of_the_whole_base_model(any_model, tokenizer, texts, residuals):
    chosen = texts["retain"][:3]
    [batch] = batches(any_model, tokenizer, chosen)
    encoded = tokenizer(
        chosen, return_tensors="pt", padding=True, padding_side="left", truncation=True, max_length=16,
        return_token_type_ids=False,
    )  # fmt: skip
    states = residuals(any_model, encoded)
    assert torch.equal(batch.hidden, states[1])
    assert torch.allclose(batch.frozen, states[3], atol=1e-6)


def test_the_loss_averages_over_counted_tokens_and_width():
    torch.manual_seed(0)
    output, target = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    everything = torch.ones(2, 5, dtype=torch.bool)
    assert training.masked_mse(output, target, everything) == pytest.approx(mse_loss(output, target).item())
    counted = everything.clone()
    counted[0, :3] = False
    before = training.masked_mse(output, target, counted)
    output[0, :3] = 1e6
    assert training.masked_mse(output, target, counted) == before != training.masked_mse(output, target, everything)
    assert training.masked_mse(output, target[0, 0], everything).isfinite()


# -- the reference


def reference(model: nn.Module, tokenizer, texts: dict, controls: dict[str, Tensor], settings: dict) -> nn.Module:
    """The reference's loop as it is published: two models, full forwards and backwards, padding in the losses."""
    updated, frozen = copy.deepcopy(model).requires_grad_(True), copy.deepcopy(model)
    start, stop = settings["layer"] - settings["updated"] + 1, settings["layer"] + 1
    parameters = [models.down_projection(block) for block in models.blocks(updated)[start:stop]]
    optimizer = torch.optim.AdamW(parameters, lr=settings["lr"], eps=1e-6, weight_decay=0.0)
    tokenizer.padding_side, tokenizer.truncation_side = "left", "right"

    def activations(which: nn.Module, batch: list[str]) -> Tensor:
        cache = []
        encoded = tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=settings["length"])
        with edit_output(models.blocks(which)[settings["layer"]], lambda hidden: cache.append(hidden) or hidden):
            which(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
        return cache[0]

    for step in range(settings["steps"]):
        topic, first = TOPICS[step % 2], step // 2 * settings["batch"]
        forget, retain = (texts[name][first : first + settings["batch"]] for name in (topic, "retain"))
        target = settings["c"] * controls[topic]
        forgetting = activations(updated, forget)
        forget_loss = mse_loss(forgetting, target.expand_as(forgetting))
        with torch.no_grad():
            held = activations(frozen, retain)
        loss = forget_loss + settings["alpha"] * mse_loss(activations(updated, retain), held)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return updated


def distance(left: nn.Module, right: nn.Module, base: nn.Module) -> float:
    """The largest relative difference between the updates of the down projections of blocks 1 and 2."""
    weights = [[models.down_projection(block).detach() for block in models.blocks(m)[1:3]] for m in (left, right, base)]
    return max(((a - b).norm() / (b - start).norm()).item() for a, b, start in zip(*weights, strict=True))


PUBLISHED = {
    "c": 6.5, "c_unit": "absolute", "alpha": 3.0, "steps": 20, "lr": 5e-3, "length": 16, "max_batches": 150,
    "mask_padding": False, "skip_first": False, "shuffle": False,
}  # fmt: skip


def test_training_equals_the_reference_loop(any_model, tokenizer, texts, settings):
    base, settings = copy.deepcopy(any_model), settings | PUBLISHED
    overlay, _ = unlearn(any_model, tokenizer, texts, settings)
    published = reference(base, tokenizer, texts, overlay.controls, settings)
    assert distance(any_model, published, base) < 1e-4


@pytest.mark.parametrize(
    "change", [{"mask_padding": True}, {"skip_first": True}, {"shuffle": True}, {"alpha": 4.0}, {"c": 7.0}, {"seed": 1}]
)
def test_training_with_another_setting_does_not_equal_the_reference_loop(llama, tokenizer, texts, settings, change):
    base, settings = copy.deepcopy(llama), settings | PUBLISHED
    controls = rmu.draw_controls(list(TOPICS), 32, "rand", settings["seed"])
    published = reference(base, tokenizer, texts, controls, settings)
    unlearn(llama, tokenizer, texts, settings | change)
    assert distance(llama, published, base) > 1e-2
