"""What a measurement runs on: sizes, and the tensors that a projection really gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
"""Names of number formats on the command line; fp64 is for checking only."""


@dataclass(frozen=True)
class Setting:
    """Sizes of one measurement.

    Attributes:
        length: queries and keys, N.
        batch: sequences.
        heads: H.
        head_dim: D.
        is_causal: query i attends the keys up to i.
        padding: keys behind a length of its own are masked in every sequence.
        dtype: a key of `DTYPES`.

    Example:
        >>> str(Setting(1024, is_causal=True))
        'B 1, H 8, N 1024, D 64, fp32, causal'
    """

    length: int
    batch: int = 1
    heads: int = 8
    head_dim: int = 64
    is_causal: bool = False
    padding: bool = False
    dtype: str = "fp32"

    def __str__(self) -> str:
        sizes = f"B {self.batch}, H {self.heads}, N {self.length}, D {self.head_dim}, {self.dtype}"
        return sizes + ", causal" * self.is_causal + ", padded" * self.padding

    @property
    def numbers(self) -> int:
        """Numbers in one tensor (batch, heads, N, D)."""
        return self.batch * self.heads * self.length * self.head_dim

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return DTYPES[self.dtype].itemsize

    def shortened(self, length: int) -> Setting:
        """The same for one sequence, at most ``length`` long."""
        return replace(self, length=min(self.length, length), batch=1)


def strided(setting: Setting, seed: int) -> Tensor:
    """Random (batch, heads, N, D) as a projection leaves it: a transposed (batch, N, heads, D).

    Every number is one that bfloat16 holds, so all formats get exactly the same values.

    Example:
        >>> strided(Setting(10, heads=2, head_dim=4), 0).stride()
        (80, 4, 8, 1)
    """
    shape = setting.batch, setting.length, setting.heads, setting.head_dim
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=generator).to(torch.bfloat16)
    return drawn.to(DTYPES[setting.dtype]).transpose(1, 2)


def leaves(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value that require gradients."""
    query, key, value = (strided(setting, seed).requires_grad_() for seed in range(3))
    return query, key, value


def key_mask(setting: Setting) -> Tensor | None:
    """Which keys may be attended, bool (batch, 1, 1, N), None for all; sequences are between N / 2 and N long."""
    if not setting.padding:
        return None
    shares = (torch.arange(setting.batch) + 0.5) / setting.batch
    lengths = (setting.length * (1 - shares / 2)).ceil().long()
    return (torch.arange(setting.length) < lengths.unsqueeze(-1))[:, None, None, :]
