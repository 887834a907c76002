"""Features of a series: random convolutions of it and of its first differences."""

import torch
from torch import Tensor, nn

from primaldual.models.random_convolutions import RandomConvolutions


class SeriesFeatures(nn.Module):
    r"""Phi(x) = [C_1(x), C_2(dx / s)]: random convolutions of a series and, if wanted, of its first differences.

    s_c, the root mean square of the differences of channel c in training, brings them to the scale of the series.

    Args:
        channels: channels of a series.
        length: the longest series.
        kernels: kernels on the series; as many on its differences.
        with_differences: whether differences are convolved.

    Example:
        >>> values = torch.randn(5, 40, 3)
        >>> features = SeriesFeatures(channels=3, length=40, kernels=10)
        >>> features.draw(values, None, torch.Generator().manual_seed(0))
        >>> features(values).shape
        torch.Size([5, 48])
    """

    step: Tensor

    def __init__(self, channels: int, length: int, kernels: int, with_differences: bool = True) -> None:
        super().__init__()
        self.of_series = RandomConvolutions(channels, length, kernels)
        self.of_differences = RandomConvolutions(channels, length, kernels) if with_differences else None
        self.register_buffer("step", torch.ones(channels))

    @property
    def width(self) -> int:
        """Number of features."""
        return self.of_series.features * (1 if self.of_differences is None else 2)

    @torch.no_grad()
    def draw(self, values: Tensor, padding_mask: Tensor | None, generator: torch.Generator) -> None:
        """Draw the kernels; see `RandomConvolutions.draw`."""
        self.of_series.draw(values, padding_mask, generator)
        if self.of_differences is not None:
            moves = differences(values, padding_mask)
            count = len(values) * values.shape[1] if padding_mask is None else (~padding_mask).sum()
            root = (moves.square().sum((0, 1)) / count).sqrt()
            self.step.copy_(torch.where(root > 0, root, 1.0))
            self.of_differences.draw(moves / self.step, padding_mask, generator)

    def forward(self, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Features of a batch of series.

        Args:
            values: (batch, time points, channels), standardised by channel; what stands at padding is ignored.
            padding_mask: (batch, time points), True at padding; None when there is none.

        Returns:
            (batch, width): those of the series first.
        """
        if padding_mask is not None:
            values = values.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        found: Tensor = self.of_series(values, padding_mask)
        if self.of_differences is None:
            return found
        moves = differences(values, padding_mask) / self.step
        return torch.cat([found, self.of_differences(moves, padding_mask)], 1)


def differences(values: Tensor, padding_mask: Tensor | None) -> Tensor:
    """x(t + 1) - x(t), and 0 at the last time point of every series and at padding; shapes as given.

    Example:
        >>> padding = torch.tensor([[False, False, True]])
        >>> differences(torch.tensor([[[1.0], [3.0], [0.0]]]), padding).flatten()
        tensor([2., 0., 0.])
    """
    found = nn.functional.pad(values[:, 1:] - values[:, :-1], (0, 0, 0, 1))
    if padding_mask is not None:
        last = nn.functional.pad(padding_mask[:, 1:], (0, 1), value=True)
        found = found.masked_fill(last.unsqueeze(-1), 0.0)
    return found
