"""What unlearning did to the weights: how much, of which rank, along which directions of the residual stream."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from overpaint.junk.diagnosis import NOTHING, NULLS, centre, fresh, with_null
from overpaint.junk.directions import Junk, orthonormal, unit
from overpaint.models.overlay import Overlay
from overpaint.models.parts import attention, blocks, last_matrix, mlp, parameter_names
from overpaint.models.streamed.access import parameters

COLUMNS = ["run", "tensor", "topic", "quantity", "value", "null_low", "null_high"]
TOP = 8  # singular values of which each has its share told


def of_runs(model: nn.Module, runs: list[str], overlays: list[str], junk: list[str]) -> Iterator[dict]:
    """Rows {run} + those of `analyse` of every run.

    model: the base.    overlays, junk: where those of each run are kept.
    """
    axes = stream_axes(model)
    for run, path, fitted in zip(runs, overlays, junk, strict=True):
        overlay = Overlay.load(path)
        directions = {"r": Junk.load(fitted).topics, "u": overlay.controls}
        base = dict(parameters(model, overlay.tensors))
        for row in analyse(base, overlay.tensors, axes, directions):
            yield {"run": run} | row


def analyse(
    base: dict[str, Tensor],
    changed: dict[str, Tensor],
    axes: dict[str, int],
    directions: dict[str, dict[str, Tensor]],
) -> list[dict]:
    """Rows {tensor, topic, quantity, value, null_low, null_high} of every changed tensor; see docs/tables.md.

    base, changed: tensors by name.    axes: the axis that runs along the residual stream, of those that write to it.
    directions: {"r": junk by topic, "u": control vectors by topic}, [width] each.
    """
    rows = []
    for name, after in changed.items():
        change = after.float() - base[name].float()
        quantities = [("all", "relative_change", (relative(change, base[name].float()), *NOTHING))]
        if name in axes and change.any():
            quantities += _spectrum(change.movedim(axes[name], 0).flatten(1), directions)
        rows += [
            {"tensor": name, "topic": topic, "quantity": quantity, "value": value, "null_low": low, "null_high": high}
            for topic, quantity, (value, low, high) in quantities
        ]
    return rows


def stream_axes(model: nn.Module) -> dict[str, int]:
    """The axis that runs along the residual stream, of every matrix by which a block writes to it."""
    matrices = [last_matrix(part)[:2] for block in blocks(model) for part in (attention(block), mlp(block))]
    names = parameter_names(model, [matrix for matrix, _ in matrices])
    return {name: axis for name, (_, axis) in zip(names, matrices, strict=True)}


def relative(change: Tensor, before: Tensor) -> float:
    """Frobenius norm of the change over that of what was there; NaN where that was zero."""
    return float(change.norm() / before.norm()) if before.any() else float("nan")


def effective_rank(squares: Tensor) -> float:
    """exp of the entropy of the shares of squared singular values: k for k equal ones, 1 for a single one."""
    shares = squares[squares > 0] / squares.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def removed_share(gram: Tensor, basis: Tensor) -> float:
    """Share of the squared norm of a matrix [width, n] that projecting out the rows of `basis` [k, width] takes away.

    gram: the matrix times its transpose, [width, width].
    """
    return float(((basis @ gram) * basis).sum() / gram.trace())


def _spectrum(
    matrix: Tensor, directions: dict[str, dict[str, Tensor]]
) -> Iterator[tuple[str, str, tuple[float, float, float]]]:
    """(topic, quantity, value with its null) of a change [width, n]; the width is that of the stream.

    All of it comes from the Gram matrix, which is small where the change is wide.
    """
    gram = matrix @ matrix.T
    energies, vectors = torch.linalg.eigh(gram)
    energies, left = energies.flip(0).clamp(min=0), vectors[:, -1]
    for k, share in enumerate((energies / energies.sum())[:TOP].tolist(), 1):
        yield "all", f"share_{k}", (share, *NOTHING)
    yield "all", "effective_rank", (effective_rank(energies), *NOTHING)
    generator = fresh("weights")
    nulls = unit(torch.rand(NULLS, len(left), generator=generator))
    for kind, by_topic in directions.items():
        for topic, direction in by_topic.items():
            if direction.any():
                yield topic, f"cos_{kind}", _cosine(left, direction.float(), nulls)
                yield topic, f"cos_{kind}_centred", _cosine(centre(left), centre(direction.float()), centre(nulls))
    basis = orthonormal(torch.stack(list(directions["r"].values())))
    draws = [orthonormal(rows) for rows in torch.rand(200, max(1, len(basis)), len(left), generator=generator)]
    null = torch.tensor([removed_share(gram, rows) for rows in draws])
    yield "all", "removed_share", with_null(torch.tensor(removed_share(gram, basis)), null)


def _cosine(left: Tensor, direction: Tensor, nulls: Tensor) -> tuple[float, float, float]:
    """Cosine up to sign, which singular vectors lack, and that of fresh `rand` vectors in the direction's place."""
    return with_null((unit(left) @ unit(direction)).abs(), (unit(nulls) @ unit(left)).abs())
