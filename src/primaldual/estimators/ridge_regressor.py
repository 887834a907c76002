"""A time series regressor in closed form, for aeon and scikit-learn."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from aeon.regression import BaseRegressor
from torch import Tensor

from primaldual.estimators.networks import Outputs
from primaldual.estimators.preparation import Series
from primaldual.estimators.ridge import ATTENTIONS, RidgeEstimator
from primaldual.estimators.targets import NumberTargets
from primaldual.primal.problem import PrimalProblem


class AttentionRidgeRegressor(RidgeEstimator, NumberTargets, BaseRegressor):  # type: ignore[misc] # no types
    """Predicts a number from a time series by attention over the training series, in closed form.

    The target is standardised by the training cases, and the choices are those with the least squared error on cases
    left out; everything else is as in `AttentionRidgeClassifier`, and so are the arguments.

    Attributes:
        model_: the `primaldual.models.CaseAttention`; its output is the standardised target.
        attention_: spec of the chosen attention.
        with_differences_: whether differences are used.
        penalty_: the chosen strength, in units of the kernel.
        left_out_score_: minus the weighted mean squared error of the standardised targets left out.

    Raises:
        DataError: targets that are not finite, an empty series.
        ArgumentError: a parameter out of range, or a device that is not there.
        SpecError: an attention spec that cannot be read.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(30, 1, 20)) * np.linspace(1, 3, 30)[:, None, None]
        >>> regressor = AttentionRidgeRegressor(num_kernels=50, random_state=0).fit(X, X.std((1, 2)))
        >>> regressor.predict(X).shape
        (30,)
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

    def _fit(self, X: Sequence[Series], y: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> Self:
        self._learn_standards(y)
        targets = torch.from_numpy(self._standardised(y)).unsqueeze(1)
        shares = torch.from_numpy(weights)

        def score(left_out: Tensor, cases: Tensor) -> float:
            errors = (left_out - targets[cases]).square().squeeze(1)
            return -float(shares[cases] @ errors / shares[cases].sum())

        self._fit_cases(X, targets, np.zeros(len(y), dtype=np.int64), weights, score)
        return self

    def _predict(self, X: Sequence[Series]) -> Outputs:
        return self._outputs(X)[:, 0] * self._target_deviation + self._target_mean

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        del parameter_set
        return [{"num_kernels": 20}, {"num_kernels": 10, "attentions": "softmax(scale=1.0)"}]
