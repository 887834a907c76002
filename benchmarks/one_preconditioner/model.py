"""One layer of attention over the items of a sequence, trained on sequences that are new at every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.one_preconditioner.tasks import InContext
from primaldual.nn.multihead import MultiheadAttention
from primaldual.training.randomness import private_torch_randomness

WIDTH, HEADS, BATCH, STEPS, TESTED = 32, 4, 64, 1000, 2000


class Reader(nn.Module):
    """Linear embedding; queries attend to items; a feed-forward network; a linear readout at the queries.

    No normalisation stands in front of attention: it would change the keys that the task is about.

    Args:
        task: sizes.
        attention: spec.
    """

    def __init__(self, task: InContext, attention: str) -> None:
        super().__init__()
        self.items = task.items
        self.embedding = nn.Linear(task.channels, WIDTH)
        self.attention = MultiheadAttention(WIDTH, HEADS, batch_first=True, attention=attention)
        self.norm = nn.LayerNorm(WIDTH)
        self.rise, self.fall = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, task.outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(cases, items + queries, channels) to (cases, queries, outputs)."""
        hidden = self.embedding(tokens)
        items, queries = hidden[:, : self.items], hidden[:, self.items :]
        read = queries + self.attention(queries, items, items, need_weights=False)[0]
        read = read + self.fall(nn.functional.gelu(self.rise(self.norm(read))))
        out: Tensor = self.head(read)
        return out


def loss_of(task: InContext, outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy, or mean squared error."""
    if task.recall:
        return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
    return nn.functional.mse_loss(outputs.squeeze(-1), targets)


def score(task: InContext, model: Reader, seed: int) -> float:
    """Of new sequences: accuracy, or the share of the targets' variance that is explained; both at most 1."""
    batch = task.draw(TESTED, torch.Generator().manual_seed(10_000 + seed))
    with torch.no_grad():
        outputs = torch.cat([model.eval()(part) for part in batch.tokens.split(250)])
    if task.recall:
        return float((outputs.argmax(-1) == batch.targets).float().mean())
    left = (outputs.squeeze(-1) - batch.targets).square().mean()
    return float(1 - left / batch.targets.square().mean())


def trained_score(
    task: InContext, attention: str, seed: int, learning_rate: float, steps: int = STEPS
) -> float:
    """Train from a seed, which fixes sequences and initial weights alike for every attention, and test."""
    generator = torch.Generator().manual_seed(seed)
    with private_torch_randomness(seed):
        model = Reader(task, attention)
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
        for _ in range(steps):
            batch = task.draw(BATCH, generator)
            optimizer.zero_grad()
            loss_of(task, model(batch.tokens), batch.targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return score(task, model, seed)


def _share(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
