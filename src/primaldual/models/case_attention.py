"""Attention over the training cases."""

import torch
from torch import Tensor, nn

from primaldual.errors import ShapeError
from primaldual.models.series_features import SeriesFeatures
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem

FLOOR = 0.01
"""Deviation of a feature in [0, 1] below which it is not blown up."""


class CaseAttention(nn.Module):
    r"""One attention head whose query is a series and whose keys are the training series.

        f(x) = sum_j kappa(z(x), z(k_j)) / h(x) v_j + b,   z = (Phi - mean) / (unit sqrt(variance + 0.01^2))

    Phi are the features of a series; mean and variance are theirs over the training cases, as in Attention-BN. unit
    makes the mean of |z|^2 over the training cases 1, so that a scale in the attention's spec means the same for every
    number of features. The values are not trained but solved for.

    Args:
        channels: channels of the series.
        length: longest series.
        outputs: number of outputs.
        cases: number of training cases.
        kernels: random kernels on the series; as many on its differences.
        with_differences: whether first differences of the series are convolved too.
        attention: spec, or a `PrimalProblem`, that treats each query alone.

    Example:
        >>> model = CaseAttention(channels=2, length=30, outputs=3, cases=6, kernels=20)
        >>> model(torch.randn(4, 25, 2)).shape
        torch.Size([4, 3])
    """

    mean: Tensor
    deviation: Tensor
    keys: Tensor
    values: Tensor
    intercept: Tensor

    def __init__(
        self,
        channels: int,
        length: int,
        outputs: int,
        *,
        cases: int,
        kernels: int,
        with_differences: bool = True,
        attention: "str | PrimalProblem" = "softmax(scale=2.0)",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.length = length
        self.features = SeriesFeatures(channels, length, kernels, with_differences)
        width = self.features.width
        self.problem = preset(attention).bind(1, width).double()
        shapes = {
            "mean": (width,),
            "deviation": (width,),
            "keys": (cases, width),
            "values": (cases, outputs),
            "intercept": (outputs,),
        }
        for name, shape in shapes.items():
            fill = torch.ones if name == "deviation" else torch.zeros
            self.register_buffer(name, fill(shape, dtype=torch.float64))

    def forward(self, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Outputs for a batch of series.

        Args:
            values: (batch, time points, channels).
            padding_mask: (batch, time points), True at padding; None when there is none.

        Returns:
            (batch, outputs), float64.

        Raises:
            ShapeError: another number of channels, or a mask of another shape.
        """
        if values.ndim != 3 or values.shape[2] != self.channels:
            raise ShapeError(
                f"values must be (batch, time points, {self.channels} channels); got {tuple(values.shape)}"
            )
        if padding_mask is not None and padding_mask.shape != values.shape[:2]:
            raise ShapeError(
                f"padding_mask must be {tuple(values.shape[:2])} like values; got {tuple(padding_mask.shape)}"
            )
        queries = (self.features(values, padding_mask).double() - self.mean) / self.deviation
        mixed: Tensor = self.problem.attend(
            queries[None, None], self.keys[None, None], self.values[None, None]
        )
        return mixed[0, 0] + self.intercept


def standard_units(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and what features are divided by: unit sqrt(variance + 0.01^2).

    Args:
        features: of the training cases, (cases, width), float64.

    Returns:
        Both (width,).

    Example:
        >>> features = torch.rand(20, 5, dtype=torch.float64)
        >>> mean, deviation = standard_units(features)
        >>> float(((features - mean) / deviation).square().sum(1).mean().round(decimals=6))
        1.0
    """
    mean = features.mean(0)
    variance = features.var(0, correction=0)
    size = (variance / (variance + FLOOR**2)).sum()
    unit = torch.where(size > 0, size, 1.0).sqrt()
    return mean, unit * (variance + FLOOR**2).sqrt()
