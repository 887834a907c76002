"""The hinge loss: support vector classification by the solver of the regression, with a certificate of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.svr.expansion import SupportVectorExpansion, spread
from primaldual.svr.losses import Loss, Regress
from primaldual.svr.reading import TrainingData

FIRST_TUBE = 3.0
"""Half width of the tube that stands for the hinge at first, in margins."""

TUBES = 8
"""Most tubes that are tried, each several times as wide as the one before."""


@dataclass(frozen=True, eq=False, repr=False)
class HingeExpansion(SupportVectorExpansion):
    """f(x) = sum_j kappa(T x, T k_j) / h(x) v_j + b, whose sign is the class: a support vector classifier.

    ``coefficients`` are beta_j = y_j a_j with 0 <= a_j <= C_j, and ``primal_objective`` is
    1/2 ||W||^2 + sum_j C_j max(1 - y_j f(k_j), 0). ``predict`` gives f, the decision function. ``epsilon`` is 0. The
    other attributes are those of the regression.

    Example:
        >>> from primaldual import preset, solve
        >>> keys, classes = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
        >>> found = solve(preset("dot+constant"), keys, classes, loss="hinge")
        >>> torch.equal(found.predict(keys).sign(), classes)
        True
    """

    file_format: ClassVar[str] = "primaldual hinge expansion 1"

    def loss_lines(self) -> dict[str, str]:
        """The loss and its penalty, for printing."""
        return {"loss": "hinge", "C": spread(self.C)}


class Hinge(Loss):
    r"""max(1 - y f, 0), of labels y = -1 and 1.

    It is the epsilon-insensitive loss of targets y (1 + t) and epsilon t, max(|y (1 + t) - f| - t, 0), wherever
    y f <= 1 + 2 t. So each tube t is a regression, and a solution inside it solves the classification; otherwise the
    next tube is wider. The certificate is that of the hinge and knows nothing of tubes: with a_j = y_j beta_j and margins
    m_j = y_j f(k_j), primal minus dual is

        sum_j (C_j - a_j) max(1 - m_j, 0) + a_j max(m_j - 1, 0).

    Raises:
        ArgumentError: an epsilon, labels other than -1 and 1, or pairs of one class.
    """

    pools = False

    def __init__(self, data: TrainingData, epsilon: float | None) -> None:
        if epsilon is not None:
            raise ArgumentError(f"epsilon must be None for loss='hinge', which has no tube; got {epsilon}")
        _check_labels(data)
        self._data = data

    def solve(self, regress: Regress, box: Tensor, start: Tensor, tolerance: float) -> SupportVectorExpansion:
        """Regressions on wider and wider tubes, until the gap of the hinge is within the tolerance."""
        labels = self._data.targets
        tube = torch.full_like(labels[..., 0, :], FIRST_TUBE)
        solutions: list[HingeExpansion] = []
        for _ in range(TUBES):
            wide = replace(self._data, targets=labels * (1 + tube.unsqueeze(-2)))
            regression = regress(wide, tube, start)
            solutions.append(_classifier(self._data, regression, box))
            if solutions[-1].duality_gap <= tolerance:
                break
            margins = labels * regression.fitted.view_as(labels)
            tube = 4 * torch.maximum(tube, margins.amax(-2))
            start = regression.coefficients.view_as(start)
        return min(solutions, key=lambda solution: float(solution.gap.max()))


def _classifier(data: TrainingData, regression: SupportVectorExpansion, box: Tensor) -> HingeExpansion:
    """The same function, with the objectives of the hinge; infinite where a coefficient has the sign of the other class."""
    labels, mask = data.targets, data.mask.unsqueeze(-1)
    fitted, beta = (tensor.view_as(labels) for tensor in (regression.fitted, regression.coefficients))
    margins, dual = labels * fitted, labels * beta
    short, beyond = (1 - margins).clamp(min=0), (margins - 1).clamp(min=0)
    gap = ((box - dual) * short + dual * beyond).masked_fill(~mask, 0).sum(-2)
    gap = gap.masked_fill((dual < 0).any(-2), torch.inf)
    # Coefficients sum to 0 where there is an intercept, so it drops out of the norm.
    loss = (box * short).masked_fill(~mask, 0).sum(-2)
    norm = (beta * (fitted - regression.intercept.view_as(gap).unsqueeze(-2))).sum(-2)
    shape = data.original_shape
    values = {field.name: getattr(regression, field.name) for field in fields(SupportVectorExpansion)}
    values |= {
        "primal_objective": shape(norm / 2 + loss),
        "gap": shape(gap),
        "epsilon": torch.zeros_like(regression.epsilon),
    }
    return HingeExpansion(**values)


def _check_labels(data: TrainingData) -> None:
    mask = data.mask.unsqueeze(-1)
    others = (data.targets.abs() != 1) & mask
    if bool(others.any()):
        place = tuple(others.nonzero()[0].tolist())
        raise ArgumentError(
            f"targets must be the labels -1 and 1 for loss='hinge'; got {float(data.targets[place]):g} in row {place[2]}"
        )
    positive, negative = ((data.targets == label).any(-2) for label in (1, -1))
    alone = (positive != negative).nonzero()
    if len(alone):
        batch, head, output = alone[0].tolist()
        label = 1 if bool(positive[batch, head, output]) else -1
        raise ArgumentError(
            f"targets must hold both labels, -1 and 1, in every output; got {label} alone in output {output} of head {head}"
        )
