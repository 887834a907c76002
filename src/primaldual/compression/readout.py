"""What of a model's outputs a compressed model is to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from primaldual.errors import ShapeError
from primaldual.integrations.attention_hooks import output_tensor

Readout = Callable[[Any, Any], Tensor]
"""From a model's outputs and the batch that they are for: (cases, features), what is to change least."""


def default_readout(outputs: Any, batch: Any) -> Tensor:
    """The first tensor that a model gives, as one unit vector for each case.

    Outputs (cases, N, D) are averaged over N first, as sentence embeddings are: over the tokens of the batch's
    ``attention_mask`` where it has one.

    Raises:
        ShapeError: outputs of other shapes than (cases, D) and (cases, N, D).
    """
    tensor = output_tensor(outputs)
    if tensor.dim() == 3:
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
        if mask is None or mask.shape != tensor.shape[:2]:
            tensor = tensor.mean(1)
        else:
            weights = mask.to(tensor.dtype).unsqueeze(-1)
            tensor = (tensor * weights).sum(1) / weights.sum(1).clamp(min=1)
    if tensor.dim() != 2:
        raise ShapeError(
            f"the model's first output must be (cases, D) or (cases, N, D); got {tuple(tensor.shape)}: give readout="
        )
    return normalize(tensor.float(), dim=-1)


def similarity(original: Sequence[Tensor], changed: Sequence[Tensor]) -> float:
    """Mean cosine between what cases read before and after, batch by batch."""
    pairs = zip(original, changed, strict=True)
    cosines = [cosine_similarity(old.float(), new.float(), dim=-1) for old, new in pairs]
    return float(torch.cat(cosines).detach().mean())
