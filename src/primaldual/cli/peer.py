"""Scikit-learn's support vector regression on the kernel of an attention, beside our solution."""

from __future__ import annotations

import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.support_vectors.objective import Regression, certify, feasible
from primaldual.svr import SupportVectorExpansion
from primaldual.svr.training_kernel import TrainingKernel

PEER_TOLERANCE = 1e-9
"""Tolerance of libsvm on the violation of its conditions; smaller ones change nothing that rounding leaves."""

PEER_STEPS = 5_000_000
"""Most steps of libsvm for one output."""

PEER_CASES = 4000
"""Most training pairs that libsvm is asked to take."""


@dataclass(frozen=True)
class Peer:
    """Scikit-learn's solution of one output against ours.

    Attributes:
        coefficient_difference: the largest, as a share of C.
        prediction_difference: the largest at the training pairs, in deviations of the target.
        relative_gap: of its coefficients, by our formula.
        seconds: its fit, with the kernel matrix given.
        stopped: whether it reached its limit of steps.
    """

    coefficient_difference: float
    prediction_difference: float
    relative_gap: float
    seconds: float
    stopped: bool


class Pairs:
    """A solution as seen from the training pairs, which attentions that pool have fewer of than cases."""

    def __init__(self, part: TrainingKernel, found: SupportVectorExpansion, targets: Tensor) -> None:
        self._part = part
        self.targets = self.mean(targets)
        self.coefficients = self.mean(found.coefficients)
        self.fitted = self.mean(found.fitted)

    def mean(self, positions: Tensor) -> Tensor:
        """Means over the members of every pair, (pairs, columns)."""
        return self._part.to_pairs(positions[None, None])[0, 0]

    def kernel(self) -> Tensor:
        """K, (pairs, pairs)."""
        return self._part.kernel.dense().matrix[0, 0]


def why_not(intercept: bool, pairs: int) -> str | None:
    """Why scikit-learn is not asked, None if it is."""
    if not intercept:
        return "its SVR always fits an intercept"
    if pairs > PEER_CASES:
        return f"more than {PEER_CASES} training pairs take libsvm too long; try --cases"
    return None


def peer_of(pairs: Pairs, kernel: Tensor, place: int, box: float, epsilon: float) -> Peer:
    """Scikit-learn's solution of one output, on the same kernel with the same C."""
    targets = pairs.targets[:, place]
    model, seconds, stopped = _fit_peer(kernel, targets, box, epsilon)
    beta = torch.zeros_like(targets)
    beta[torch.from_numpy(model.support_).long()] = torch.from_numpy(model.dual_coef_[0])
    one = torch.ones(1, 1, dtype=torch.float64)
    regression = Regression(targets[None], one * box, one * epsilon, True)
    allowed = feasible(regression, beta[None])
    fitted = kernel @ beta + float(model.intercept_[0])
    return Peer(
        float((beta - pairs.coefficients[:, place]).abs().max()) / box,
        float((fitted - pairs.fitted[:, place]).abs().max()),
        float(certify(regression, allowed, allowed @ kernel).relative_gap),
        seconds,
        stopped,
    )


def _fit_peer(kernel: Tensor, targets: Tensor, box: float, epsilon: float) -> tuple[Any, float, bool]:
    """In a thread of its own: libsvm does not look up when Ctrl-C is pressed."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVR

    model = SVR(
        kernel="precomputed", C=box, epsilon=epsilon, tol=PEER_TOLERANCE, max_iter=PEER_STEPS, cache_size=500
    )
    found: dict[str, Any] = {}

    def fit() -> None:
        start = time.perf_counter()
        try:
            model.fit(kernel.numpy(), targets.numpy())
        except BaseException as error:
            found["error"] = error
        found["seconds"] = time.perf_counter() - start

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
    if "error" in found:
        raise found["error"]
    stopped = any(issubclass(one.category, ConvergenceWarning) for one in said)
    return model, found["seconds"], stopped
