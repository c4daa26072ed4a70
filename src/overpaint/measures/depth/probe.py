"""Linear probes: the best linear map from the residual stream to the answer, its penalty chosen on the facts to fit.

Ridge regressions from states to the output embedding of the answer's first token. A classifier of answers could not
meet an answer that no question to fit had; a regression can, and scores each option by its cosine with what it
predicts. One map serves all topics.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from overpaint.errors import UserError

# Weights of the ridge penalty to choose from, as shares of the summed squared lengths of the centred states: of a
# state that junk floods these grow a hundredfold, and what suits it is a hundredth of what suits the base's.
PENALTIES = tuple(10 ** (-k / 2) for k in range(13))
FOLDS = 5  # of the cross-validation: all questions on one entity are in the same
SHUFFLES = 10  # of the answers, over which the control is averaged


class Ridge(NamedTuple):
    """All ridge regressions on states [n, width]: `into` [width, r], `energies` [r], `out` [r, n]."""

    into: Tensor
    energies: Tensor
    out: Tensor

    @classmethod
    def of(cls, states: Tensor) -> "Ridge":
        """By the eigenvectors of the smaller Gram matrix."""
        wide = states.shape[0] <= states.shape[1]
        energies, vectors = torch.linalg.eigh(states @ states.T if wide else states.T @ states)
        into, out = (states.T @ vectors, vectors.T) if wide else (vectors, vectors.T @ states.T)
        return cls(into, energies.clamp(min=0), out)

    def weights(self, states: Tensor, penalty: float) -> Tensor:
        """By how much each fitted target counts in the prediction at other states [m, width], [m, n]."""
        total = self.energies.sum()
        if not total:  # all states alike: nothing to read
            return torch.zeros(len(states), self.out.shape[1], dtype=states.dtype)
        return (states @ self.into) / (self.energies + penalty * total) @ self.out


class Asked(NamedTuple):
    """States of n questions and what is asked of them.

    states: [n, width]; targets: embedding of the answer's first token, [n, e]; candidates: those of the options,
    [n, k, e]; there: False where a question has fewer options, [n, k]; answer: number of the right one, [n].
    """

    states: Tensor
    targets: Tensor
    candidates: Tensor
    there: Tensor
    answer: Tensor

    def where(self, chosen: Tensor) -> "Asked":
        """Those of some questions."""
        return Asked(*(column[chosen] for column in self))


def found(weights: Tensor, targets: Tensor, asked: Asked) -> Tensor:
    """1 where the right option is the closest to what is predicted, its share where several are, else 0; [m]."""
    middle = targets.mean(0)
    directions = torch.nn.functional.normalize(asked.candidates - middle, dim=-1)
    scores = torch.einsum("me,mke->mk", weights @ (targets - middle), directions)
    return correct(scores.masked_fill(~asked.there, -torch.inf), asked.answer)


def correct(scores: Tensor, answer: Tensor) -> Tensor:
    """1 where the answer has the largest of the scores [m, k], its share where several have it, else 0; [m]."""
    best = scores == scores.max(-1, keepdim=True).values
    return best.gather(1, answer[:, None])[:, 0] / best.sum(-1).double()


def best_penalty(fit: Asked, folds: Tensor) -> float:
    """The penalty by which most questions of each fold [n] are answered from the others; of equals the largest."""
    right = dict.fromkeys(PENALTIES, 0.0)
    for fold in folds.unique():
        kept, out = fit.where(folds != fold), fit.where(folds == fold)
        ridge = Ridge.of(kept.states)
        for penalty in PENALTIES:
            right[penalty] += float(found(ridge.weights(out.states, penalty), kept.targets, out).sum())
    return max(right, key=right.get)


def accuracies(fit: Asked, shown: Asked, folds: Tensor, *orders: Tensor) -> tuple[Tensor, list[Tensor]]:
    """How often the probe of `fit` finds each answer of `shown`, [m]; and for each order one whose answers are in it.

    The penalty is chosen with the answers as they are.
    """
    weights = Ridge.of(fit.states).weights(shown.states, best_penalty(fit, folds))
    return found(weights, fit.targets, shown), [found(weights, fit.targets[order], shown) for order in orders]


def centred(stream: Tensor, groups: list[str], fitted: Tensor) -> Tensor:
    """States [n, depths, width] without the mean of the fitted ones of their group, float64."""
    stream = stream.double()
    for group in dict.fromkeys(groups):
        members = torch.tensor([other == group for other in groups])
        if not (members & fitted).any():
            raise UserError(
                f"All questions on {group!r} are of the split that is shown, and probes are fitted on the other: add "
                "questions of that split, or leave `study.measures.depth.runs` empty."
            )
        stream[members] = stream[members] - stream[members & fitted].mean(0)
    return stream


def folds_of(units: list[str]) -> Tensor:
    """The fold of each question, [n]: entities in turn, a fact's being what its unit has before the last `/`."""
    entities = [unit.rpartition("/")[0] or unit for unit in units]
    places = {entity: place for place, entity in enumerate(dict.fromkeys(entities))}
    return torch.tensor([places[entity] % FOLDS for entity in entities])


def shuffles(topics: list[str]) -> list[Tensor]:
    """`SHUFFLES` fixed permutations, each of which moves every item within its topic."""
    generator, orders = torch.Generator().manual_seed(0), []
    for _ in range(SHUFFLES):
        order = torch.arange(len(topics))
        for topic in dict.fromkeys(topics):
            places = torch.tensor([index for index, other in enumerate(topics) if other == topic])
            order[places] = places[torch.randperm(len(places), generator=generator)]
        orders.append(order)
    return orders
