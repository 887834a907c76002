"""Random convolutions as a finite feature map of a time series."""

import torch
from torch import Tensor, nn

TAPS = 9
"""Time points that a kernel sees."""

RAMP = 0.1
"""Width of the rise from 0 to 1 at a threshold, in deviations of the kernel's responses."""

THRESHOLDS = 2
"""Thresholds, so features, of each kernel."""

SAMPLE = 4096
"""Responses of each kernel that its thresholds are drawn from."""

SERIES = 64
"""Training series that these responses come from."""

ELEMENTS = 2**19
"""Responses that are held at a time, sized to fit in cache."""

LEAST_DEVIATION = 1e-6
"""Kernels whose responses deviate by less, as on a constant channel, are set to 0."""


class RandomConvolutions(nn.Module):
    r"""How long random dilated kernels respond above random thresholds.

        r_k(t) = sum_c sum_i w_kci x_c(t + (i - 4) d),   Phi_ks(x) = 1 / L sum_t min(max((r_k(t) - b_ks) / 0.1 s_k, 0), 1)

    over the time points t of the series, with zeros around it, L the longest training series and s_k the deviation of
    r_k over training data. The ramp stands for the step 1[r > b], so that rounding moves a feature by no more than
    itself. Weights are normal with mean zero over the taps and norm 1; a kernel reads a random set of channels, small
    sets as likely as large ones; dilations d are the powers of two that fit the length; thresholds b are responses at
    random places of training series.

    Args:
        channels: channels of a series.
        length: L, the longest series.
        kernels: number of kernels, spread evenly over the dilations, rounded up.

    Reference: Dempster, Petitjean and Webb, "ROCKET", Data Mining and Knowledge Discovery 2020 (random dilated kernels
    on random channels, the proportion of positive values); "MiniRocket", KDD 2021 (thresholds from training responses).

    Example:
        >>> values = torch.randn(5, 40, 3)
        >>> convolutions = RandomConvolutions(channels=3, length=40, kernels=10)
        >>> convolutions.draw(values, None, torch.Generator().manual_seed(0))
        >>> convolutions(values).shape
        torch.Size([5, 24])
    """

    weights: Tensor
    thresholds: Tensor

    def __init__(self, channels: int, length: int, kernels: int) -> None:
        super().__init__()
        self.channels = channels
        self.length = length
        self.dilations = dilations(length)
        self.each = -(-kernels // len(self.dilations))
        self.register_buffer("weights", torch.zeros(len(self.dilations), TAPS * channels, self.each))
        self.register_buffer("thresholds", torch.zeros(len(self.dilations), THRESHOLDS, self.each))

    @property
    def features(self) -> int:
        """Number of features."""
        return self.thresholds.numel()

    @torch.no_grad()
    def draw(self, values: Tensor, padding_mask: Tensor | None, generator: torch.Generator) -> None:
        """Draw weights, and thresholds from responses to training series.

        Args:
            values: (cases, time points, channels), standardised by channel, 0 at padding.
            padding_mask: (cases, time points), True at padding; None when there is none.
            generator: of the CPU, whatever the device of the values.
        """
        chosen = torch.randperm(len(values), generator=generator)[:SERIES].to(values.device)
        picked = values[chosen]
        inside = torch.ones_like(picked[..., 0], dtype=torch.bool)
        if padding_mask is not None:
            inside = ~padding_mask[chosen]
        for place, dilation in enumerate(self.dilations):
            weights = self._random_weights(generator).to(values.device)
            seen = windows(picked, dilation)[inside]
            sampled = torch.randperm(len(seen), generator=generator)[:SAMPLE].to(values.device)
            responses = seen[sampled] @ weights
            # Two plain passes; torch's own deviation along the first dimension is several times slower.
            deviation = (responses - responses.mean(0)).square().mean(0).sqrt()
            scale = torch.where(deviation > LEAST_DEVIATION, 1 / (RAMP * deviation), 0.0)
            draws = torch.randint(len(responses), (THRESHOLDS, self.each), generator=generator)
            self.weights[place] = weights * scale
            self.thresholds[place] = responses.gather(0, draws.to(values.device)) * scale

    def _random_weights(self, generator: torch.Generator) -> Tensor:
        weights = torch.randn(self.channels, TAPS, self.each, generator=generator)
        weights -= weights.mean(1, keepdim=True)
        exponent = torch.rand(self.each, generator=generator)
        read = torch.tensor(self.channels + 1.0).pow(exponent).floor().clamp(1, self.channels)
        rank = torch.rand(self.channels, self.each, generator=generator).argsort(0).argsort(0)
        weights *= (rank < read).unsqueeze(1)
        return weights.flatten(0, 1) / weights.flatten(0, 1).norm(dim=0)

    def forward(self, values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Features of a batch of series.

        Args:
            values: (batch, time points, channels), standardised by channel, 0 at padding.
            padding_mask: (batch, time points), True at padding; None when there is none.

        Returns:
            (batch, features), between 0 and 1.
        """
        inside = None if padding_mask is None else (~padding_mask).unsqueeze(-1).to(values.dtype)
        rows = max(1, ELEMENTS // (values.shape[1] * self.each))
        pieces = zip(
            values.split(rows), [None] * len(values) if inside is None else inside.split(rows), strict=False
        )
        return torch.cat([self._features(piece, mask) for piece, mask in pieces])

    def _features(self, values: Tensor, inside: Tensor | None) -> Tensor:
        found = []
        for dilation, weights, thresholds in zip(self.dilations, self.weights, self.thresholds, strict=True):
            responses = windows(values, dilation) @ weights
            for threshold in thresholds:
                risen = (responses - (threshold - 0.5)).clamp_(0, 1)
                found.append((risen if inside is None else risen * inside).sum(1))
        return torch.cat(found, 1) / self.length


def dilations(length: int) -> tuple[int, ...]:
    """Powers of two with which a kernel spans no more than the length; at least 1.

    Example:
        >>> dilations(40), dilations(3)
        ((1, 2, 4), (1,))
    """
    count = max(1, ((length - 1) // (TAPS - 1)).bit_length())
    return tuple(2**place for place in range(count))


def windows(values: Tensor, dilation: int) -> Tensor:
    """What a kernel sees at every time point, zeros around the series.

    Args:
        values: (batch, time points, channels).
        dilation: time points between taps.

    Returns:
        (batch, time points, channels * taps).

    Example:
        >>> windows(torch.arange(1.0, 4.0).view(1, 3, 1), 1)[0, 0]
        tensor([0., 0., 0., 0., 1., 2., 3., 0., 0.])
    """
    reach = TAPS // 2 * dilation
    padded = nn.functional.pad(values, (0, 0, reach, reach))
    taps = [padded[:, place * dilation : place * dilation + values.shape[1]] for place in range(TAPS)]
    return torch.stack(taps, -1).flatten(2)
