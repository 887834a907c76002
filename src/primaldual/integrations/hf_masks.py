"""Masks of transformers, sorted into conditions on keys, causality, and what remains query by query."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from primaldual.integrations.hf_documents import one_document, packed_documents
from primaldual.kernels.masks import causal_mask, from_torch_mask
from primaldual.kernels.modes import in_graph

PACKED_IN_GRAPH = (
    "documents packed into one row cannot be told apart in a compiled graph, and the attention counts positions: run "
    "the model without compilation, or pad the documents"
)


@dataclass(frozen=True)
class SortedMask:
    """What a mask says: ``keys`` and ``is_causal`` hold together, or a mask by query says it all.

    Attributes:
        length: number of leading keys that matter; no query attends the others.
        keys: bool (batch, heads or 1, 1, length), the same for all queries; None = all.
        is_causal: query i stands at position ``i + length - Nq`` and attends no later key.
        pairs: bool (batch, heads or 1, Nq, Nk), None where the other two say it.
        orders: what :meth:`order` has found.
        shorter: what :meth:`without_padding_behind` has found.
        packed: what :meth:`documents` has found.
    """

    length: int
    keys: Tensor | None = None
    is_causal: bool = False
    pairs: Tensor | None = None
    orders: dict[bool, Tensor | None] = field(default_factory=dict, compare=False, repr=False)
    shorter: list[SortedMask] = field(default_factory=list, compare=False, repr=False)
    packed: list[tuple[Tensor, bool] | None] = field(default_factory=list, compare=False, repr=False)

    def valid(self) -> Tensor | None:
        """Bool (batch, length): keys that some query of the row attends; None = all, or heads differ."""
        seen = self.keys
        if self.pairs is not None:
            seen = self.pairs[..., : self.length].any(2, keepdim=True)
        return None if seen is None or seen.shape[1] > 1 else seen[:, 0, 0]

    def is_whole(self, query_length: int, key_length: int) -> bool:
        """Whether there are as many queries as keys, and no padding."""
        return query_length == self.length == key_length and self.keys is None and self.pairs is None

    def without_padding_behind(self) -> SortedMask:
        """The same without the keys behind the last that any row attends, for attentions that do not depend on positions."""
        if self.keys is None or self.pairs is not None or self.is_causal or in_graph():
            return self
        if not self.shorter:
            seen = self.keys.flatten(0, 2).any(0).nonzero()
            length = int(seen[-1]) + 1 if len(seen) else 1
            keys = _unless_all(self.keys[..., :length].clone())
            self.shorter.append(self if length == self.length else SortedMask(length, keys))
        return self.shorter[0]

    def documents(self) -> tuple[Tensor, bool] | None:
        """As :func:`packed_documents`, for masks of as many queries as keys that are the same for all heads."""
        pairs = self.pairs
        if pairs is None or pairs.shape[1] > 1 or not pairs.shape[2] == pairs.shape[3] == self.length:
            return None
        if in_graph():
            if not torch.compiler.is_exporting():
                torch._assert_async(one_document(pairs), PACKED_IN_GRAPH)
            return None
        if not self.packed:
            self.packed.append(packed_documents(pairs))
        return self.packed[0]

    def order(self, last: bool = False) -> Tensor | None:
        """Long (batch, length): an order with the valid keys in front, or ``last``; None if they stand there."""
        if in_graph():
            return _order(self.valid(), last)
        if last not in self.orders:
            self.orders[last] = _order(self.valid(), last)
        return self.orders[last]


def sort_mask(
    mask: Tensor | None, is_causal: bool, query_length: int, key_length: int, name: str = "attention_mask"
) -> SortedMask:
    """Sort what transformers gives to an attention function.

    A mask, where there is one, says everything; without one ``is_causal`` does, aligned as in scaled_dot_product
    attention of transformers: queries of a longer cache are its first positions, one query is the last.

    Args:
        mask: bool (True = attend) or additive float of 0 and the dtype's minimum or -inf, (batch or 1, heads or 1,
            Nq or 1, Nk).
        is_causal: of the layer.
        query_length: Nq.
        key_length: Nk.
        name: for the error.

    Raises:
        ArgumentError: a float mask with other numbers, which is a bias on the scores.

    Example:
        >>> found = sort_mask(torch.ones(1, 1, 3, 3).tril().bool(), True, 3, 3)
        >>> found.is_causal, found.keys, found.pairs
        (True, None, None)
    """
    if mask is None:
        return _without_mask(is_causal, query_length, key_length)
    whole = mask
    if mask.dim() == 4 and mask.shape[2] > 1 and mask.stride(2) == 0:
        mask = mask[:, :, :1]
    if in_graph():
        attend = from_torch_mask(mask, name) if mask.dtype != torch.bool else mask
        if attend.shape[-2] == 1:
            return SortedMask(key_length, keys=attend)
        return SortedMask(key_length, pairs=attend)
    sizes = query_length, key_length
    remembered = getattr(whole, "_primaldual", None)
    # Versions of tensors miss what inference mode, .data and shared memory change, so contents are compared.
    if remembered is None or remembered[0] != sizes or not torch.equal(remembered[1], mask):
        # One mask goes to every layer; what is remembered lives as long as it, and holds no view of it.
        own = from_torch_mask(mask, name) if mask.dtype != torch.bool else None
        found = _sorted(mask if own is None else own, query_length, key_length)
        kept = found if own is not None else replace(found, pairs=None)
        remembered = sizes, mask.clone(), kept, found.pairs is not None
        whole._primaldual = remembered  # type: ignore[attr-defined] # a tensor takes any attribute
    found = remembered[2]
    if remembered[3] and found.pairs is None:
        return replace(found, pairs=mask)
    return found


def _without_mask(is_causal: bool, query_length: int, key_length: int) -> SortedMask:
    if not is_causal or query_length == 1:
        return SortedMask(key_length)
    if key_length < query_length:
        corner = torch.ones(1, 1, query_length, key_length, dtype=torch.bool).tril()
        return SortedMask(key_length, pairs=corner)
    return SortedMask(query_length, is_causal=True)


def _sorted(mask: Tensor, query_length: int, key_length: int) -> SortedMask:
    full = mask if mask.dim() == 4 else mask[(None,) * (4 - mask.dim())]
    keys = full.any(2, keepdim=True)
    if query_length > 1 and full.shape[2] > 1:
        if _is_causal(full, keys):
            return SortedMask(key_length, _unless_all(keys), is_causal=True)
        shared = bool((full == keys).all())
    else:
        shared = True
    length = key_length
    if query_length < key_length:
        seen = keys.flatten(0, 2).any(0).nonzero()
        length = max(int(seen[-1]) + 1 if len(seen) else 1, query_length)
        full, keys = full[..., :length], keys[..., :length].clone()
    if shared:
        return SortedMask(length, _unless_all(keys))
    if length < key_length and _is_causal(full, keys):
        return SortedMask(length, _unless_all(keys), is_causal=True)
    return SortedMask(length, pairs=mask)


def _is_causal(full: Tensor, keys: Tensor) -> bool:
    causal = causal_mask(full.shape[2], full.shape[3], full.device)
    return bool((full == (keys & causal)).all())


def _unless_all(keys: Tensor) -> Tensor | None:
    return None if bool(keys.all()) else keys


def _order(valid: Tensor | None, last: bool) -> Tensor | None:
    if valid is None:
        return None
    behind = valid if last else ~valid
    if not in_graph() and bool((behind[:, 1:] >= behind[:, :-1]).all()):
        return None
    front = (~behind).cumsum(-1)
    place = torch.where(behind, front[..., -1:] + behind.cumsum(-1), front) - 1
    return torch.zeros_like(place).scatter(
        -1, place, torch.arange(place.shape[-1], device=place.device).expand_as(place)
    )
