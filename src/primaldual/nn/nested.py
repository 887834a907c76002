"""The sequences that torch.nn.TransformerEncoder packs without their padding, as nested tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError


@dataclass(frozen=True)
class InProjection:
    """Stands for the packed projection of nn.MultiheadAttention, of which nn.TransformerEncoder asks only this.

    Attributes:
        requires_grad: whether any of the projections is trained; sequences are then not packed.
    """

    requires_grad: bool


class UnknownInProjection(InProjection):
    """The same for projections of another kind, which may not take nested tensors: nothing is packed."""

    @classmethod
    def __torch_function__(cls, *arguments: Any) -> NoReturn:
        del arguments
        raise UnsupportedError(
            "there are no numbers in the packed projection of a layer that has separate ones"
        )


def in_projection(*projections: nn.Module) -> InProjection:
    """What nn.TransformerEncoder needs to know of the projections of its first layer."""
    trained = any(parameter.requires_grad for part in projections for parameter in part.parameters())
    known = all(type(part) is nn.Linear for part in projections)
    return InProjection(trained) if known else UnknownInProjection(trained)


def from_nested(query: Tensor, key: Tensor, value: Tensor, is_batch_first: bool) -> tuple[Tensor, Tensor]:
    """Sequences with zeros as padding, (batch, longest, features), and the padding mask, True = blocked.

    Raises:
        UnsupportedError: anything but self-attention, batch first, of a strided nested tensor.
    """
    if query.layout != torch.strided or key is not query or value is not query or not is_batch_first:
        raise UnsupportedError(
            "of nested tensors accepted is a strided one, as nn.TransformerEncoder makes it, that is query, key and "
            "value with batch_first=True; pad others, and give key_padding_mask"
        )
    padded = torch.nested.to_padded_tensor(query, 0.0)
    lengths = torch.tensor([len(row) for row in query.unbind()], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) >= lengths[:, None]


def to_nested(outputs: Tensor, padding: Tensor) -> Tensor:
    """The sequences without their padding again."""
    kept = (~padding).sum(1).tolist()
    rows = [row[:length] for row, length in zip(outputs, kept, strict=True)]
    return torch.nested.as_nested_tensor(rows)
