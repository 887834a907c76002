"""How far probabilities can be trusted: calibration, selective prediction, and detection of other data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError


@dataclass(frozen=True)
class UncertaintyScores:
    """Scores of predicted probabilities; the confidence of a prediction is its largest probability.

    Attributes:
        accuracy: share of cases whose most probable class is right.
        nll: mean of -log of the probability of the right class.
        ece: expected calibration error, the mean over bins of equal width, weighted by their cases, of
            |accuracy - mean confidence|.
        brier: mean over cases of the sum over classes of (probability - indicator)^2, from 0 to 2.
        aurc: area under the risk-coverage curve, the mean over n of the error among the n most confident cases.
    """

    accuracy: float
    nll: float
    ece: float
    brier: float
    aurc: float


def uncertainty_scores(probabilities: Tensor, labels: Tensor, bins: int = 15) -> UncertaintyScores:
    """Score probabilities of classes against the right ones.

    Args:
        probabilities: (cases, classes), rows that sum to 1.
        labels: integers (cases,).
        bins: of the expected calibration error.

    Raises:
        ShapeError: no case, or labels that do not fit.
        ArgumentError: rows that are not probabilities, labels that are not classes, or no bin.

    Reference: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017; Geifman, El-Yaniv,
        "Selective Classification for Deep Neural Networks", NeurIPS 2017.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
        >>> scores = uncertainty_scores(probabilities, torch.tensor([0, 1, 1]))
        >>> round(scores.accuracy, 3), round(scores.aurc, 3)
        (0.667, 0.278)
    """
    probabilities = probabilities.detach().double()
    _check(probabilities, labels, bins)
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    place = (confidence * bins).ceil().long().clamp(min=1, max=bins) - 1
    apart = confidence.new_zeros(bins).index_add(0, place, right - confidence)
    risk = (1 - right[confidence.argsort(descending=True, stable=True)]).cumsum(0)
    risk = risk / torch.arange(1, len(labels) + 1, device=risk.device)
    chosen = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    tiny = torch.finfo(torch.float64).tiny
    brier = probabilities.square().sum(1) - 2 * chosen + 1
    return UncertaintyScores(
        accuracy=float(right.mean()),
        nll=float(-chosen.clamp(min=tiny).log().mean()),
        ece=float(apart.abs().sum() / len(labels)),
        brier=float(brier.mean()),
        aurc=float(risk.mean()),
    )


def auroc(lower: Tensor, higher: Tensor) -> float:
    """Chance that a number of ``higher`` is above one of ``lower``, ties counting half: the area under the ROC curve.

    Args:
        lower: numbers, (n,), such as the entropies of predictions on data as in training.
        higher: numbers, (m,), such as those on other data.

    Raises:
        ShapeError: an empty side.
        ArgumentError: NaN.

    Example:
        >>> auroc(torch.tensor([0.1, 0.4]), torch.tensor([0.4, 0.8]))
        0.875
    """
    if not (lower.numel() and higher.numel()):
        raise ShapeError(
            f"lower and higher must hold a number each; got {lower.numel()} and {higher.numel()}"
        )
    if bool(lower.isnan().any() or higher.isnan().any()):
        raise ArgumentError("lower and higher must be numbers; got NaN")
    ordered, higher = lower.detach().flatten().sort().values, higher.detach().flatten().contiguous()
    below = torch.searchsorted(ordered, higher).sum() + torch.searchsorted(ordered, higher, right=True).sum()
    return float(below) / (2 * len(ordered) * len(higher))


def entropy(probabilities: Tensor) -> Tensor:
    """-sum of p log p over classes: (cases, classes) -> (cases,).

    Example:
        >>> entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [0.0, 0.6931471824645996]
    """
    return torch.special.entr(probabilities).sum(-1)


def _check(probabilities: Tensor, labels: Tensor, bins: int) -> None:
    if probabilities.dim() != 2 or not probabilities.numel() or labels.shape != probabilities.shape[:1]:
        raise ShapeError(
            "probabilities must be (cases, classes) and labels (cases,), one case or more; "
            f"got {tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    if bins < 1:
        raise ArgumentError(f"bins must be 1 or more; got {bins}")
    if not bool((probabilities >= 0).all() and ((probabilities.sum(1) - 1).abs() < 1e-3).all()):
        raise ArgumentError("probabilities must be 0 or more and sum to 1 in every row; got other numbers")
    if labels.is_floating_point() or bool(((labels < 0) | (labels >= probabilities.shape[1])).any()):
        raise ArgumentError(f"labels must be integers from 0 to {probabilities.shape[1] - 1}; got others")
