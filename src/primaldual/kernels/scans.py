"""Running sums along the rows of matrices, in place, row by row over blocks instead of column by column."""

from itertools import pairwise

from torch import Tensor

from primaldual.kernels.layout import ceil_div


def block_length(length: int) -> int:
    """Rows in a block: about the root of all rows, as a power of two."""
    return 1 << max(0, (max(1, length) - 1).bit_length() // 2)


def whole_blocks(length: int) -> int:
    """The next length that is whole blocks."""
    block = block_length(length)
    return ceil_div(length, block) * block


def prefix_sums_(rows: Tensor, length: int) -> Tensor:
    """Row i becomes the sum of the rows 0..i.

    Args:
        rows: (..., whole_blocks(length), D), changed; 0 after the first ``length`` rows.
        length: rows that count.

    Example:
        >>> import torch
        >>> prefix_sums_(torch.tensor([[1.0], [2.0], [3.0], [0.0]]), 3).squeeze(-1).tolist()
        [1.0, 3.0, 6.0, 6.0]
    """
    blocks = rows.unflatten(-2, (-1, block_length(length)))
    members = blocks.unbind(-2)
    for former, member in pairwise(members):
        member.add_(former)
    blocks[..., 1:, :, :] += members[-1][..., :-1, :].cumsum(-2).unsqueeze(-2)
    return rows


def suffix_sums_(rows: Tensor, length: int) -> Tensor:
    """Row i becomes the sum of the rows from i on, otherwise as :func:`prefix_sums_`.

    Example:
        >>> import torch
        >>> suffix_sums_(torch.tensor([[1.0], [2.0], [3.0], [0.0]]), 3).squeeze(-1).tolist()
        [6.0, 5.0, 3.0, 0.0]
    """
    blocks = rows.unflatten(-2, (-1, block_length(length)))
    members = blocks.unbind(-2)
    for latter, member in pairwise(reversed(members)):
        member.add_(latter)
    later = members[0][..., 1:, :].flip(-2).cumsum(-2).flip(-2)
    blocks[..., :-1, :, :] += later.unsqueeze(-2)
    return rows
