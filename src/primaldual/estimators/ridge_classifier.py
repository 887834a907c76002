"""A time series classifier in closed form, for aeon and scikit-learn."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from aeon.classification import BaseClassifier
from torch import Tensor

from primaldual.estimators.networks import Outputs
from primaldual.estimators.preparation import Series
from primaldual.estimators.ridge import ATTENTIONS, RidgeEstimator
from primaldual.estimators.targets import LabelTargets
from primaldual.primal.problem import PrimalProblem

SHARPNESS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Factors that turn outputs fitted to -1 and 1 into logits."""


class AttentionRidgeClassifier(RidgeEstimator, LabelTargets, BaseClassifier):  # type: ignore[misc] # no types
    r"""Classifies time series by attention over the training series; nothing is trained by gradients.

    Random convolutions turn a series into features, and the class scores of a series x are one attention head,

        f(x) = sum_j kappa(z(x), z(k_j)) / h(x) v_j + b,

    whose query is x, whose keys are the training series k_j, and whose values solve the primal with squared errors in
    closed form. Leaving one case out, in closed form too, chooses the strength of the penalty, the attention among
    ``attentions``, and whether the features are those of the series or also of its first differences: what gives the
    left-out cases the best likelihood. ``taylor(1)+constant`` is ridge regression on the features, the last layer of the
    ROCKET family; ``softmax(scale=2.0)`` weighs training series by their likeness.

    Series may have several channels, different lengths and missing values (NaN), prepared as by `AttentionClassifier`.
    Time and memory grow with the number of features times the number of time points, and with the square of the number
    of training series (8 bytes each); with more than 1500 of them the choices are made on 1500. The same
    ``random_state`` gives the same model on the same machine. ``fit`` takes ``sample_weight``: factors of the squared
    errors, and of the likelihood of cases left out.

    Args:
        attentions: specs or `PrimalProblem` objects to choose from; each must treat a query alone.
        num_kernels: random kernels on the series, and as many on its differences; twice as many features each.
        device: where to compute, such as "cpu" or "cuda".
        verbose: 0 for silence, 1 for a progress bar on whatever takes longer than two seconds.
        random_state: None, an integer or a RandomState.

    Attributes:
        model_: the `primaldual.models.CaseAttention`.
        attention_: spec of the chosen attention.
        with_differences_: whether differences are used.
        penalty_: the chosen strength, in units of the kernel.
        left_out_score_: weighted mean log-likelihood of the cases left out, of the chosen.
        classes_: the labels, sorted.

    Raises:
        DataError: missing labels, a single class, an empty series.
        ArgumentError: a parameter out of range, or a device that is not there.
        SpecError: an attention spec that cannot be read.

    Reference: Dempster et al., "ROCKET", 2020, for random convolutions under a ridge; Nguyen et al., "A Primal-Dual
    Framework for Transformers and Neural Networks", ICLR 2023, for attention as the dual of a regression.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(20, 2, 30))
        >>> X[::2] += np.sin(np.arange(30))
        >>> y = np.array(["wave", "noise"] * 10)
        >>> classifier = AttentionRidgeClassifier(num_kernels=100, random_state=0).fit(X, y)
        >>> classifier.score(X, y), classifier.predict_proba(X).shape
        (1.0, (20, 2))
    """

    def __init__(
        self,
        attentions: "Sequence[str | PrimalProblem] | str | PrimalProblem" = ATTENTIONS,
        *,
        num_kernels: int = 2000,
        device: str = "cpu",
        verbose: int = 0,
        random_state: "int | np.random.RandomState | None" = None,
    ) -> None:
        self.attentions = attentions
        self.num_kernels = num_kernels
        self.device = device
        self.verbose = verbose
        self.random_state = random_state
        super().__init__()

    def _fit(self, X: Sequence[Series], y: npt.NDArray[np.generic], weights: npt.NDArray[np.float64]) -> Self:
        labels = self._label_numbers(y)
        numbers, shares = torch.from_numpy(labels), torch.from_numpy(weights)
        targets = 2.0 * torch.nn.functional.one_hot(numbers, len(self.classes_)).double() - 1.0
        left_out, cases = self._fit_cases(
            X,
            targets,
            labels,
            weights,
            lambda left_out, cases: _likelihood(left_out, numbers[cases], shares[cases])[0],
        )
        sharpness = _likelihood(left_out, numbers[cases], shares[cases])[1]
        # Values scaled by the sharpness make the outputs logits.
        for tensor in (self.model_.values, self.model_.intercept):
            tensor.mul_(sharpness)
        return self

    def _predict(self, X: Sequence[Series]) -> npt.NDArray[np.generic]:
        predicted: npt.NDArray[np.generic] = self.classes_[self._outputs(X).argmax(1)]
        return predicted

    def _predict_proba(self, X: Sequence[Series]) -> Outputs:
        return torch.from_numpy(self._outputs(X)).softmax(1).numpy()

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        del parameter_set
        return [{"num_kernels": 20}, {"num_kernels": 10, "attentions": "softmax(scale=1.0)"}]


def _likelihood(outputs: Tensor, labels: Tensor, weights: Tensor) -> tuple[float, float]:
    """Weighted mean log-likelihood of the labels at the best sharpness, and that."""
    shares = weights / weights.sum()
    losses = (
        torch.nn.functional.cross_entropy(factor * outputs, labels, reduction="none") for factor in SHARPNESS
    )
    return max(
        (-float(shares @ loss.to(shares)), factor) for loss, factor in zip(losses, SHARPNESS, strict=True)
    )
