"""Describe the junk directions of a run: how stable, how aligned with u, how much of the shift, how selective."""

import math
import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

from overpaint.junk.activations import Activations
from overpaint.junk.directions import unit
from overpaint.junk.estimators import ESTIMATORS, Sample

NULLS = 1000  # fresh `rand` vectors of which the 2.5 and 97.5 percentiles are the range of a null
NOTHING = (math.nan, math.nan)
Value = tuple[float, float, float]


def diagnose(
    sample: Sample, held_out: Sample, elsewhere: Sample, scales: dict[str, float], seed: int = 0
) -> list[dict]:
    """Rows {topic, direction, quantity, value, null_low, null_high}; docs/tables.md says what each quantity is.

    sample: the prompts that directions are fitted on.    held_out: others, for statistics biased on the fitting ones.
    elsewhere: the first prompts again, at the other position.    scales: length of each topic's control vector.
    A direction that all topics share is described once for each of them.
    """
    nulls = unit(torch.rand(NULLS, _width(sample), generator=fresh("junk")))
    estimates, other, *halves = map(_estimate, (sample, elsewhere, *_halves(sample, seed)))
    rows = []
    for topic, shift in sample.shifts().items():
        described = {"topic": dict(_of_shift(topic, shift)) | dict(_of_size(topic, sample, held_out, scales))}
        for name, directions in estimates.items():
            direction = _row(directions, topic)
            if direction is None:
                continue
            values = described.setdefault(name, {})
            values |= _alignment(direction, sample.controls.get(topic) if name != "u" else None, nulls)
            values |= _selectivity(direction, topic, held_out, nulls) | _agreement(name, topic, estimates)
            if name != "u":  # which is not fitted
                values["split_half"] = (_cosine(*(_row(half[name], topic) for half in halves)), *NOTHING)
                values["cos_tokens"] = (_cosine(direction, _row(other[name], topic)), *NOTHING)
        rows += [
            {"topic": topic, "direction": name, "quantity": q, "value": value, "null_low": low, "null_high": high}
            for name, values in described.items()
            for q, (value, low, high) in values.items()
        ]
    return rows


def depths(
    base: dict[str, Activations], run: dict[str, Activations], topics: dict[str, str], controls: dict[str, Tensor]
) -> list[dict]:
    """Rows {topic, depth, other_depth, quantity, value} of the mean shift at the start of every block.

    The mean is over prompts and all tokens but the first. norm: its length; cos_u: its cosine with u; cosine: of the
    shifts at two depths, `other_depth` the larger. A depth without a shift, below what is trained, has its norm alone.
    """
    rows = []
    for topic, name in topics.items():
        inputs = [site for site in base[name].sites if site.endswith("/input")]
        shifts = {int(s.split("/")[0]): (run[name].sites[s] - base[name].sites[s]).float() for s in inputs}
        moved = {depth: shift for depth, shift in shifts.items() if shift.any()}
        rows += [(topic, depth, None, "norm", float(shift.norm())) for depth, shift in shifts.items()]
        if topic in controls:
            u = controls[topic].float()
            rows += [(topic, depth, None, "cos_u", _cosine(shift, u)) for depth, shift in moved.items()]
        rows += [
            (topic, depth, further, "cosine", _cosine(shift, moved[further]))
            for depth, shift in moved.items()
            for further in moved
            if further >= depth
        ]
    return [dict(zip(("topic", "depth", "other_depth", "quantity", "value"), row, strict=True)) for row in rows]


def fresh(name: str) -> torch.Generator:
    """What null vectors are drawn from: seeded by a name, as by a small number they would be the u of a run."""
    return torch.Generator().manual_seed(zlib.crc32(f"nulls of {name}".encode()))


def rank1_share(shift: Tensor) -> float:
    """Share of the paired differences' uncentred variance [prompts, width] that their mean explains."""
    variance = shift.pow(2).sum(1).mean()
    return float(shift.mean(0).pow(2).sum() / variance) if variance > 0 else math.nan


def explained(shift: Tensor, k: int) -> float:
    """Share of the paired differences' uncentred variance [prompts, width] that their first k components explain."""
    values = torch.linalg.svdvals(shift).pow(2)
    return float(values[:k].sum() / values.sum()) if values.any() else math.nan


def auc(positive: Tensor, negative: Tensor) -> Tensor:
    """Chance that a row of `positive` [n, k] lies above one of `negative` [m, k] in each column, ties one half, [k]."""
    ordered, values = negative.T.contiguous().sort().values, positive.T.contiguous()
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto).double().mean(1) / (2 * len(negative))


def centre(vectors: Tensor) -> Tensor:
    """Vectors without their all-ones component."""
    return vectors - vectors.mean(-1, keepdim=True)


def with_null(value: Tensor, null: Tensor) -> Value:
    """A value and the 95 % range of its null [draws]."""
    low, high = torch.quantile(null.double(), torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return float(value), low, high


def _estimate(sample: Sample) -> dict[str, dict[str, Tensor]]:
    """What every estimator makes of a sample."""
    return {name: function(sample) for name, function in ESTIMATORS.items()}


def _of_shift(topic: str, shift: Tensor) -> Iterator[tuple[str, Value]]:
    """How few directions the shift on the fitting prompts has, whatever the estimator."""
    for k in (1, 2, 4, 8):
        yield f"explained_top{k}", (explained(shift, k), *NOTHING)


def _of_size(topic: str, sample: Sample, held_out: Sample, scales: dict[str, float]) -> Iterator[tuple[str, Value]]:
    """How much of the shift is one vector, and how far it went, on the fitting and on held-out prompts (`_held`)."""
    for end, prompts in (("", sample), ("_held", held_out)):
        yield f"rank1_share{end}", (rank1_share(prompts.shifts()[topic]), *NOTHING)
        if topic in sample.controls:
            for quantity, rows in (("attained", prompts.run[topic]), ("attained_base", prompts.base[topic])):
                along = float((rows @ sample.controls[topic]).mean())
                yield f"{quantity}{end}", (along / scales[topic], *NOTHING)
    if topic in sample.controls:
        yield "c_in_norms", (scales[topic] / float(sample.base[topic].norm(dim=1).mean()), *NOTHING)


def _alignment(direction: Tensor, u: Tensor | None, nulls: Tensor) -> dict[str, Value]:
    """Cosines of a direction [width] with the all-ones vector and with u; nulls: fresh `rand` vectors in its place."""
    ones = unit(torch.ones_like(direction))
    values = {"cos_ones": with_null(direction @ ones, nulls @ ones)}
    if u is not None:
        values["cos_u"] = with_null(direction @ unit(u), nulls @ direction)
        middle = unit(centre(direction))
        values["cos_u_centred"] = with_null(middle @ unit(centre(u)), unit(centre(nulls)) @ middle)
    return values


def _selectivity(direction: Tensor, topic: str, held_out: Sample, nulls: Tensor) -> dict[str, Value]:
    """How well the projection on a direction tells held-out hazardous prompts from benign ones, in run and base."""
    if not held_out.benign_run:
        return {}
    directions = torch.cat([direction[None], nulls[:200]])
    values = {}
    for quantity, rows, hazardous, benign in (
        ("auc", directions, held_out.run, held_out.benign_run),
        ("auc_centred", centre(directions), held_out.run, held_out.benign_run),
        ("auc_base", directions, held_out.base, held_out.benign_base),
    ):
        areas = auc(hazardous[topic] @ rows.T, torch.cat(list(benign.values())) @ rows.T)
        values[quantity] = with_null(areas[0], areas[1:])
    return values


def _agreement(name: str, topic: str, estimates: dict[str, dict[str, Tensor]]) -> dict[str, Value]:
    """Cosines with the same topic's direction by estimators that come later, and with another topic's (the largest).

    That with u is told with its nulls, in `_alignment`.
    """
    direction, names = _row(estimates[name], topic), list(estimates)
    values = {f"cos_{other}": _row(estimates[other], topic) for other in names[names.index(name) + 1 :] if other != "u"}
    values = {
        quantity: (_cosine(direction, vector), *NOTHING) for quantity, vector in values.items() if vector is not None
    }
    others = [_cosine(direction, rows[0]) for t, rows in estimates[name].items() if t not in ("", topic)]
    return values | ({"cos_other_topic": (max(others), *NOTHING)} if others else {})


def _halves(sample: Sample, seed: int) -> list[Sample]:
    """Two random halves of the prompts of every set."""
    halves = []
    for start in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        halves.append(sample.pick(lambda n, g=generator, start=start: torch.randperm(n, generator=g)[start::2]))
    return halves


def _row(by_topic: dict[str, Tensor], topic: str) -> Tensor | None:
    """The first row of a topic, or of all topics together; None where there is none."""
    rows = by_topic.get(topic, by_topic.get(""))
    return None if rows is None or not len(rows) else rows[0]


def _cosine(left: Tensor | None, right: Tensor | None) -> float:
    """Cosine of two vectors; NaN where one is missing or zero."""
    if left is None or right is None or not left.any() or not right.any():
        return math.nan
    return float(torch.cosine_similarity(left, right, dim=0))


def _width(sample: Sample) -> int:
    return next(iter(sample.run.values())).shape[1]
