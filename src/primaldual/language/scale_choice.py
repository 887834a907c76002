"""Scales for every head of a trained language model, so that its cache takes a share of the bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from primaldual.compression.compress import compress
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_hooks import output_tensor
from primaldual.language.conversion import converted
from primaldual.language.language_model import LanguageModel

WINDOWS = 8
"""Windows of text, evenly spaced, on which the heads are tried."""
SCALES = (1, 2, 4, 8)


def with_cache_share(model: LanguageModel, tokens: Tensor, share: float) -> LanguageModel:
    """A copy of a softmax model with scaled heads whose cache takes at most a share of the bytes at a whole context.

    Every head is tried with every scale of 1, 2, 4 and 8 by itself; the scales are those with the least sum of changes of
    the predicted distributions (squared Hellinger distance) within the budget, see :func:`primaldual.compress`. Weights
    stay, and are best trained further.

    Args:
        model: left as it is.
        tokens: int (tokens,), at least context + 1 of the training text.
        share: of the bytes of the cache, above 0 and at most 1.

    Raises:
        ArgumentError: a share out of range or below that of the largest scale, or a model whose attention is not softmax.

    Example:
        >>> from primaldual.language.alphabets import Bytes
        >>> model = LanguageModel.of(Bytes(), {"context": 32, "embed_dim": 8, "num_heads": 4, "num_layers": 2})
        >>> half = with_cache_share(model, torch.randint(256, (300,)), 0.5)
        >>> half.cache_bytes() <= 0.5 * model.cache_bytes()
        True
    """
    if model.attention != "softmax":
        raise ArgumentError(
            f"cache must be left out where the attention is not softmax; got {model.attention}"
        )
    if not 0 < share <= 1:
        raise ArgumentError(f"cache must lie in (0, 1]; got {share!r}")
    new, context = converted(model), model.decoder.context
    last = len(tokens) - context
    starts = torch.tensor([last * number // (WINDOWS - 1) for number in range(WINDOWS)])
    windows = tokens[starts[:, None] + torch.arange(context)].long()
    compress(
        new.decoder,
        windows.to(new.decoder.positions.device),
        budget=share,
        measure="cache",
        scales=SCALES,
        attention="sh(...)",
        readout=_distributions,
        budgets=(),
    )
    new.config["attention"] = new.attention
    return new


def _distributions(outputs: Any, batch: Any) -> Tensor:
    """Roots of the predicted probabilities, (tokens, vocabulary), of which distances are Hellinger's."""
    del batch
    return output_tensor(outputs).float().softmax(-1).sqrt().flatten(0, 1)
