"""Scores of a classifier: top-k accuracy, calibration, likelihood."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from primaldual.analysis.uncertainty import uncertainty_scores

BINS = 15


def top_accuracy(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share of cases whose label is among the k largest logits; with fewer classes than k, 1.

    Args:
        logits: (cases, classes).
        labels: (cases,).
        k: how many.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
        >>> [top_accuracy(logits, torch.tensor([1, 1]), k) for k in (1, 2)]
        [0.5, 1.0]
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return float((best == labels[:, None]).any(1).float().mean())


def calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: by how much confidence and accuracy differ.

        ECE = sum over bins b of  n_b / n  | accuracy(b) - confidence(b) |

    Confidence is the largest probability, cut into bins of equal width (Guo et al., ICML 2017).

    Args:
        logits: (cases, classes).
        labels: (cases,).
        bins: how many.

    Raises:
        ShapeError: no cases.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[0.0, 99.0], [0.0, 99.0]])
        >>> calibration_error(sure, torch.tensor([1, 0]))
        0.5
    """
    return uncertainty_scores(logits.double().softmax(1), labels, bins).ece


def scores_of(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy, expected calibration error, mean negative log-likelihood.

    Example:
        >>> import torch
        >>> scores_of(torch.tensor([[0.0, 99.0]]), torch.tensor([1]))
        {'top1': 1.0, 'top5': 1.0, 'calibration_error': 0.0, 'log_loss': 0.0}
    """
    return {
        "top1": top_accuracy(logits, labels),
        "top5": top_accuracy(logits, labels, 5),
        "calibration_error": calibration_error(logits, labels),
        "log_loss": float(cross_entropy(logits.double(), labels)),
    }
