"""What the estimators in closed form share: random features, then attention over the training cases."""

from collections.abc import Callable, Sequence
from itertools import product
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.estimators.attention_svr import bound_problem
from primaldual.estimators.preparation import Series, SeriesPreparation
from primaldual.estimators.seeds import seed_from
from primaldual.estimators.series_estimator import SeriesEstimator
from primaldual.models.case_attention import CaseAttention, standard_units
from primaldual.models.series_features import SeriesFeatures
from primaldual.primal.presets import faithful_spec, preset
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.ridge import choose_ridge, solve_ridge
from primaldual.training.accelerators import usable_device
from primaldual.training.progress import with_progress
from primaldual.training.randomness import derive_seed
from primaldual.training.splitting import split_off_validation

CASES_TO_CHOOSE_BY = 1500
"""More training cases than these are all keys, but the attention and its penalty are chosen on so many of them."""

BATCH = 64
"""Series that are convolved at a time."""

ATTENTIONS = ("taylor(1)+constant", "softmax(scale=2.0)")
"""Ridge regression, and softmax attention of one scale."""


class RidgeEstimator(SeriesEstimator):
    """Mixin of `AttentionRidgeClassifier` and `AttentionRidgeRegressor`."""

    _tags = {"algorithm_type": "convolution"}  # noqa: RUF012 - aeon reads a plain dict
    _kind = CaseAttention
    _reports: ClassVar[tuple[str, ...]] = ("attention_", "with_differences_", "penalty_", "left_out_score_")

    model_: CaseAttention
    attention_: str
    with_differences_: bool
    penalty_: float
    left_out_score_: float

    def _fit_cases(
        self,
        series: Sequence[Series],
        targets: Tensor,
        groups: npt.NDArray[np.int64],
        weights: npt.NDArray[np.float64],
        score: Callable[[Tensor, Tensor], float],
    ) -> tuple[Tensor, Tensor]:
        """Fit ``model_``.

        Args:
            series: training series.
            targets: (cases, outputs).
            groups: number of each case's class, or zeros.
            weights: of the squared errors, above 0.
            score: rates left-out predictions of the cases with the given numbers; the larger the better.

        Returns:
            The left-out predictions of what was chosen, and the numbers of their cases.
        """
        kernels, device = self._checked_kernels(), usable_device(self.device)
        attentions = self._checked_attentions()
        seed = seed_from(self.random_state)
        self._preparation = SeriesPreparation.learn(series)
        values, padding = (tensor.to(device) for tensor in self._preparation.apply(series))
        sizes = (int(values.shape[2]), self._preparation.length)
        features = SeriesFeatures(*sizes, kernels).to(device)
        generator = torch.Generator().manual_seed(derive_seed(seed, 0))
        features.draw(values, padding if padding.any() else None, generator)
        found = self._convolved(features, values, padding)
        errors = torch.from_numpy(weights).to(device)
        chosen_by = torch.from_numpy(_spread(groups, derive_seed(seed, 1)))
        candidates = list(product((False, True), attentions))
        choices = []
        for with_differences, attention in with_progress(candidates, "choosing", shown=bool(self.verbose)):
            used = found if with_differences else found[:, : features.of_series.features]
            mean, deviation = standard_units(used)
            choice = choose_ridge(
                attention,
                (used[chosen_by] - mean) / deviation,
                targets[chosen_by].to(device),
                lambda left_out: score(left_out.cpu(), chosen_by),
                weights=errors[chosen_by],
            )
            choices.append((choice, with_differences, attention))
        best, self.with_differences_, attention = max(choices, key=lambda rated: rated[0].score)
        self.left_out_score_, self.penalty_ = best.score, best.penalty
        self.attention_ = preset(attention).spec()
        self._model_settings = {
            "channels": sizes[0],
            "length": sizes[1],
            "outputs": int(targets.shape[1]),
            "cases": len(series),
            "kernels": kernels,
            "with_differences": self.with_differences_,
            "attention": attention,
        }
        self.model_ = self._solved(features, found, targets.to(device), errors)
        return best.left_out.cpu(), chosen_by

    def _convolved(self, features: SeriesFeatures, values: Tensor, padding: Tensor) -> Tensor:
        batches = list(torch.arange(len(values), device=values.device).split(BATCH))
        with torch.no_grad():
            pieces = []
            for batch in with_progress(batches, "convolving", shown=bool(self.verbose)):
                blocked = padding[batch]
                pieces.append(features(values[batch], blocked if blocked.any() else None).double())
        return torch.cat(pieces)

    def _solved(
        self, features: SeriesFeatures, found: Tensor, targets: Tensor, weights: Tensor
    ) -> CaseAttention:
        model = CaseAttention(**self._model_settings).to(found.device)
        drawn = features.state_dict()
        model.features.load_state_dict({name: drawn[name] for name in model.features.state_dict()})
        used = found[:, : model.features.width]
        mean, deviation = standard_units(used)
        keys = (used - mean) / deviation
        solution = solve_ridge(self._model_settings["attention"], keys, targets, self.penalty_, weights)
        fitted = {
            "mean": mean,
            "deviation": deviation,
            "keys": keys,
            "values": solution.values,
            "intercept": solution.intercept,
        }
        for name, tensor in fitted.items():
            getattr(model, name).copy_(tensor)
        return model.eval()

    def _checked_kernels(self) -> int:
        given = self.num_kernels
        if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
            raise ArgumentError(f"num_kernels must be an integer of at least 1; got {given!r}")
        return int(given)

    def _checked_attentions(self) -> "list[str | PrimalProblem]":
        given = self.attentions
        if isinstance(given, str | PrimalProblem):
            given = (given,)
        if not isinstance(given, Sequence) or not given:
            raise ArgumentError(f"attentions must hold one attention or more; got {self.attentions!r}")
        for attention in given:
            bound_problem(attention, 1)
        return list(given)

    def _specs(self) -> dict[str, Any]:
        return {"attentions": [faithful_spec(attention) for attention in self._checked_attentions()]}


def _spread(groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """At most `CASES_TO_CHOOSE_BY` cases, every group in proportion."""
    if len(groups) <= CASES_TO_CHOOSE_BY:
        return np.arange(len(groups))
    return split_off_validation(groups, CASES_TO_CHOOSE_BY / len(groups), seed)[1]
