"""Support vector regression with an attention's kernel, for scikit-learn."""

from __future__ import annotations

import copy
import math
import warnings
from numbers import Integral, Real
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from primaldual.errors import ArgumentError, ConvergenceError
from primaldual.estimators.inputs import as_array, read_weights
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.svr import SupportVectorExpansion, kernel_scale, solve

Numbers = npt.NDArray[np.float64]


class AttentionSVR(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc] # no types
    r"""Regression whose prediction is an attention over the training cases, solved with a duality gap.

        f(x) = sum_j kappa(T x, T k_j) / h(x) v_j + b,   kappa(x, y) = exp(gamma x . y / sqrt(D)) for softmax

    The keys k_j are the training cases; the values v_j = beta_j / h(k_j) come from the convex problem

        min over W, b of  1/2 ||W||_F^2 + C / s sum_j |y_j - f(k_j)|_epsilon,   f(k) = W Phi(T k) / h(k) + b,

    for every output, with h frozen at the keys. s is the mean over the cases of |Phi(T k_j) / h(k_j) - mean|^2, the
    variance of the data as the kernel sees it, so that C means the same for every number of cases and every
    attention: what ``gamma="scale"`` is to the features in scikit-learn's SVR.

    Args:
        attention: a spec such as "softmax" or "linear", or a PrimalProblem, for one head.
        C: weight of the errors in units of the kernel, above 0.
        epsilon: half width of the tube in which errors cost nothing, 0 or more; in deviations of the target
            with ``standardize``, else in the unit of the target.
        gamma: the keys are multiplied by its root, above 0. Attentions that normalise their keys, as "bn"
            does, undo that.
        intercept: whether b is fitted; attention layers have none.
        standardize: centre features and targets and divide them by their deviations over the training cases.
            Predictions are in the unit of the targets either way. "bn" does that to features anyway.
        tolerance: largest relative duality gap of any output.

    Attributes:
        expansion_: the solution, a `SupportVectorExpansion` in standardised units.
        duality_gap_: largest relative gap of any output; proves how far the objective can be from the best.
        support_: indices of the training cases whose coefficient is not 0 for some output.
        X_mean_, X_scale_: what features are centred by and divided by, (n_features,).
        y_mean_, y_scale_: the same of the targets, (n_outputs,).
        n_features_in_, feature_names_in_: as in scikit-learn.

    Raises:
        ArgumentError: an argument out of range, or an attention whose queries depend on one another.
        SpecError: an attention spec that cannot be read.
        UnsupportedError: a subset that differs by query, as a window, or too many cases for the memory.

    Stopping before the tolerance is reached is a ``ConvergenceWarning`` that states the gap.

    Reference: Nguyen et al., "A Primal-Dual Framework for Transformers and Neural Networks", ICLR 2023.

    Example:
        >>> X = np.linspace(-2, 2, 60)[:, None]
        >>> regressor = AttentionSVR(C=100, gamma=4).fit(X, np.sin(3 * X[:, 0]))
        >>> regressor.score(X, np.sin(3 * X[:, 0])) > 0.98, regressor.duality_gap_ <= 1e-6
        (True, True)
    """

    def __init__(
        self,
        attention: str | PrimalProblem = "softmax",
        *,
        C: float = 1.0,
        epsilon: float = 0.1,
        gamma: float = 1.0,
        intercept: bool = True,
        standardize: bool = True,
        tolerance: float = 1e-6,
    ) -> None:
        self.attention = attention
        self.C = C
        self.epsilon = epsilon
        self.gamma = gamma
        self.intercept = intercept
        self.standardize = standardize
        self.tolerance = tolerance

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Solve the regression.

        Args:
            X: (n_cases, n_features), finite numbers: an array, a torch tensor, or a data frame of pandas or polars.
            y: (n_cases,) or (n_cases, n_outputs).
            sample_weight: (n_cases,), 0 or more: factors of the cases' errors, so that C of a case is C times its weight.
                Cases of weight 0 are left out. h counts every other case once, whatever its weight.
        """
        self.check_parameters()
        X, y = validate_data(
            self, as_array(X), as_array(y), dtype=np.float64, multi_output=True, y_numeric=True
        )
        weights = read_weights(sample_weight, len(X))
        counting = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
        X, y = X[counting], y[counting]
        targets = y.astype(np.float64).reshape(len(X), -1)
        self.X_mean_, self.X_scale_ = standard_units(X, self.standardize)
        self.y_mean_, self.y_scale_ = standard_units(targets, self.standardize)
        self._one_dimensional = y.ndim == 1
        keys = self._keys(X)
        problem = bound_problem(self.attention, X.shape[1])
        try:
            self.expansion_ = solve(
                problem,
                keys,
                torch.from_numpy((targets - self.y_mean_) / self.y_scale_),
                self.C / kernel_scale(problem, keys),
                float(self.epsilon),
                intercept=bool(self.intercept),
                weights=None if weights is None else torch.from_numpy(weights[counting]),
                tolerance=float(self.tolerance),
            )
        except ConvergenceError as error:
            self.expansion_ = cast("SupportVectorExpansion", error.solution)
            warnings.warn(str(error), ConvergenceWarning, stacklevel=2)
        self.duality_gap_ = self.expansion_.duality_gap
        self.support_ = counting[self.expansion_.support.any(-1).numpy()]
        return self

    def predict(self, X: Any) -> Numbers:
        """The attention at X: (n_cases,) if ``fit`` had a 1-D target, else (n_cases, n_outputs).

        Args:
            X: (n_cases, n_features).

        Raises:
            NotFittedError: before ``fit``.
        """
        check_is_fitted(self)
        X = validate_data(self, as_array(X), dtype=np.float64, reset=False)
        found: Numbers = self.expansion_.predict(self._keys(X)).numpy() * self.y_scale_ + self.y_mean_
        return found[:, 0] if self._one_dimensional else found

    def _keys(self, X: Numbers) -> Tensor:
        return torch.from_numpy((X - self.X_mean_) / self.X_scale_ * math.sqrt(self.gamma))

    def check_parameters(self) -> None:
        """Refuse arguments out of range; ``fit`` calls it.

        Raises:
            ArgumentError: the first argument that is.
        """
        for name in ("C", "gamma", "epsilon", "tolerance"):
            value = getattr(self, name)
            refused = isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value)
            if refused or value < 0 or (value == 0 and name != "epsilon"):
                bound = "0 or more" if name == "epsilon" else "above 0"
                raise ArgumentError(f"{name} must be a number {bound} and finite; got {value!r}")
        if self.tolerance >= 1:
            raise ArgumentError(f"tolerance must be below 1; got {self.tolerance!r}")
        for name in ("intercept", "standardize"):
            value = getattr(self, name)
            if not isinstance(value, np.bool_ | Integral) or value not in (0, 1):
                raise ArgumentError(f"{name} must be True or False; got {value!r}")


def bound_problem(attention: str | PrimalProblem, features: int) -> PrimalProblem:
    """A copy of the attention as one head in float64; what was learnt stays.

    Raises:
        ArgumentError: queries that depend on one another, or a problem bound to other sizes.
        SpecError: a spec that cannot be read.
    """
    problem = copy.deepcopy(preset(attention))
    if problem.transform.mixes_queries:
        raise ArgumentError(
            f"attention {problem.spec()!r} mixes its queries, so a prediction would depend on the other cases; "
            "accepted are attentions that treat each query alone"
        )
    learnt = problem.state_dict()
    problem = problem.bind(1, features).double()
    if learnt:
        try:
            problem.load_state_dict(learnt)
        except RuntimeError:
            raise ArgumentError(
                f"attention {problem.spec()!r} was bound to other sizes; needed are one head and {features} features"
            ) from None
    return problem


def standard_units(columns: Numbers, standardize: bool) -> tuple[Numbers, Numbers]:
    """Mean and deviation of every column, the deviation 1 where it is 0 to rounding; 0 and 1 if not wanted."""
    if not standardize:
        return np.zeros(columns.shape[1]), np.ones(columns.shape[1])
    mean, deviation = columns.mean(0), columns.std(0)
    constant = deviation <= len(columns) * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(constant, 1.0, deviation)
