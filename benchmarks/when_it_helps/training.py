"""One training loop for every task and attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.when_it_helps.recipe import Recipe
from benchmarks.when_it_helps.transformer import Transformer
from primaldual.analysis import head_report

PROBE = 32
"""Training sequences on which the entropy of the attention is followed."""


def train_model(
    model: Transformer,
    tokens: Tensor,
    labels: Tensor,
    recipe: Recipe,
    hear: Callable[[Mapping[str, Any]], None],
) -> list[dict[str, Any]]:
    """Train in place; the caller has set torch's seed.

    Returns:
        One record for the start (epoch 0) and each epoch: mean training loss, entropy of the attention.
    """
    steps = recipe.epochs * math.ceil(len(tokens) / recipe.batch)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    history = [{"epoch": 0, "loss": math.nan, "entropy": attention_entropy(model, tokens[:PROBE])}]
    every = max(1, recipe.epochs // 10)
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(tokens)).split(recipe.batch):
            loss = nn.functional.cross_entropy(model(tokens[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        record = {"epoch": epoch, "loss": total / len(tokens)}
        if epoch % every == 0 or epoch == recipe.epochs:
            record["entropy"] = attention_entropy(model, tokens[:PROBE])
        history.append(record)
        hear(record)
    model.eval()
    return history


def attention_entropy(model: Transformer, tokens: Tensor) -> float:
    """Mean over layers and heads; 0 = one key each, 1 = all keys alike."""
    report = head_report(model, tokens, ablate=False)
    return float(torch.stack([layer.entropy for layer in report.layers]).mean())


def _share(step: int, steps: int) -> float:
    """Share of the learning rate: a linear warm-up over a tenth of the steps, then half a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
