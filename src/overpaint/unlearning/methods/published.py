"""A released unlearned model, stored as what differs from its base; nothing is trained.

The run's layer, c and seed only label it: take them from the publication.
"""

import torch

from overpaint.errors import UserError
from overpaint.models.load import load_model
from overpaint.models.overlay import Overlay, base_fingerprint
from overpaint.models.streamed.access import parameters
from overpaint.unlearning.methods import Task

NEEDS = ("released",)
GIVES_U = False


def unlearn(model, task: Task) -> tuple[Overlay, list[dict]]:
    """The tensors of the released model that differ from the base's, bit by bit."""
    released = load_model(task.released, str(model.dtype).removeprefix("torch."), "cpu")
    ours, theirs = ({name: tuple(p.shape) for name, p in m.named_parameters()} for m in (model, released))
    unlike = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    if unlike:
        raise UserError(
            f"The released model in {task.released} is no version of the base: {len(unlike)} tensors are missing in "
            f"one of them or have another shape, such as {min(unlike)}. Name the base that it "
            "was made from as study.model."
        )
    pairs = zip(parameters(model, ours), parameters(released, ours), strict=True)
    changed = {name: tensor for (name, own), (_, tensor) in pairs if not torch.equal(tensor, own.cpu())}
    if not changed:
        raise UserError(
            f"0 tensors of the released model in {task.released} differ from the base's: it is the base itself, so "
            "name the unlearned model, or the base that it was made from as study.model."
        )
    print(f"{len(changed)} of {len(ours)} tensors differ from the base's:", *sorted(changed), sep="\n", flush=True)
    settings = task.settings | {"dtype": str(model.dtype).removeprefix("torch.")}
    return Overlay(changed, {}, settings, base_fingerprint(model, list(changed))), []
