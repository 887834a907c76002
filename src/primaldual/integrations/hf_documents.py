"""Documents packed into one row: the mask keeps them apart, and each counts its positions for itself."""

from __future__ import annotations

import torch
from torch import Tensor


def packed_documents(pairs: Tensor) -> tuple[Tensor, bool] | None:
    """The document of every token, as a mask keeps them apart.

    Args:
        pairs: bool (batch, 1, N, N), True = attend.

    Returns:
        Long (batch, N), 0 at tokens that nobody attends and from 1 on else, and whether the documents are causal; None
        for a mask that says more than documents and padding do.

    Example:
        >>> two = torch.tensor([1, 1, 2])
        >>> packed_documents((two == two[:, None]).tril()[None, None])
        (tensor([[1, 1, 2]]), True)
    """
    attend, valid = pairs[:, 0], pairs[:, 0].diagonal(dim1=1, dim2=2)
    begins = torch.ones_like(valid)
    begins[:, 1:] = ~attend.diagonal(-1, 1, 2)
    number = begins.cumsum(-1) * valid
    whole = (number[:, :, None] == number[:, None, :]) & valid[:, None, :]
    for expected, is_causal in ((whole.tril(), True), (whole, False)):
        if bool(((attend == expected) | ~valid[:, :, None]).all()):
            return number, is_causal
    return None


def one_document(pairs: Tensor) -> Tensor:
    """Bool scalar: all queries that attend themselves attend the first key that any query attends.

    It is what can be asked in a compiled graph, where nothing may depend on numbers.
    """
    attend, valid = pairs[:, 0], pairs[:, 0].diagonal(dim1=1, dim2=2)
    first = attend.any(1).to(torch.uint8).argmax(-1)
    sees_first = attend.gather(2, first[:, None, None].expand(-1, attend.shape[1], 1))[..., 0]
    return (sees_first | ~valid).all()
