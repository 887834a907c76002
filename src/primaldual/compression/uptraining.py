"""Teach a compressed model the outputs of the original: a few minutes of distillation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from primaldual.analysis.head_report import batches
from primaldual.compression.readout import Readout, default_readout
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_hooks import call, evaluating, output_tensor

WARMUP = 10
"""Steps over which the learning rate rises."""


def uptrain(
    model: nn.Module,
    original: nn.Module,
    data: Any,
    *,
    steps: int = 100,
    seconds: float | None = None,
    learning_rate: float = 3e-5,
    readout: Readout = default_readout,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a compressed model towards the outputs of the original one.

        loss = 10 (1 - cos(readout, readout of the original)) + || outputs - original || ^2 / || original ||^2

    AdamW without weight decay, gradients clipped at norm 1, the learning rate rises over the first steps and then falls
    linearly to 0. Embeddings stay. Dropout is off. After Ctrl-C the model has the weights of the last whole step.

    Args:
        model: compressed, changed in place; trained are its parameters that require gradients.
        original: a copy of the model made before :func:`primaldual.compress`.
        data: batches of real inputs, labels not needed; gone through in random order, again and again.
        steps: optimizer steps, one batch each.
        seconds: stop after this time in place of ``steps``; the learning rate follows the clock.
        learning_rate: highest.
        readout: as in :func:`primaldual.compress`.
        seed: of the order of batches.
        progress: called with the step and its loss.

    Returns:
        The loss of every step.

    Raises:
        ArgumentError: no batch, no parameter to train, steps, seconds or a learning rate that are not positive.

    Example:
        >>> from copy import deepcopy
        >>> from primaldual.compression.compress import compress
        >>> original = nn.TransformerEncoderLayer(16, 4, batch_first=True).eval()
        >>> model, data = deepcopy(original), [torch.randn(4, 12, 16) for _ in range(4)]
        >>> _ = compress(model, data, budget=0.4, budgets=())
        >>> len(uptrain(model, original, data, steps=3))
        3
    """
    limits = {"steps": steps, "learning_rate": learning_rate, "seconds": 1 if seconds is None else seconds}
    for name, value in limits.items():
        if not value > 0:
            raise ArgumentError(f"{name} must be above 0; got {value}")
    data = list(batches(data))
    fixed = {
        id(weight)
        for part in model.modules()
        if isinstance(part, nn.Embedding)
        for weight in part.parameters()
    }
    trained = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in fixed]
    if not trained:
        raise ArgumentError("model must have parameters that require gradients; got none beside embeddings")
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
    losses: list[float] = []
    with evaluating(original), evaluating(model), torch.enable_grad():
        start = time.monotonic()
        for batch in _shuffled(data, seed):
            done = len(losses) / steps if seconds is None else (time.monotonic() - start) / seconds
            if done >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(1.0, (len(losses) + 1) / WARMUP) * (1 - done)
            with torch.no_grad():
                wanted = call(original, batch)
            loss = distillation_loss(call(model, batch), wanted, batch, readout)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            if progress is not None:
                progress(len(losses), losses[-1])
        optimizer.zero_grad()
    return losses


def distillation_loss(outputs: Any, wanted: Any, batch: Any, readout: Readout) -> Tensor:
    """What :func:`uptrain` makes small; tokens outside the batch's ``attention_mask`` do not count."""
    angle = 1 - cosine_similarity(readout(outputs, batch), readout(wanted, batch), dim=-1)
    found, target = output_tensor(outputs), output_tensor(wanted)
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if mask is not None and mask.shape == target.shape[:2]:
        rows = mask.bool()
        found, target = found[rows], target[rows]
    return 10 * angle.mean() + (found - target).square().mean() / target.square().mean().clamp_min(1e-12)


def _shuffled(data: Sequence[Any], seed: int) -> Iterator[Any]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for place in torch.randperm(len(data), generator=generator).tolist():
            yield data[place]
