"""Processor time of a training step and of a forward pass, every attention beside softmax in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from benchmarks.when_it_helps.method import as_tokens
from benchmarks.when_it_helps.tasks.task import Task
from benchmarks.when_it_helps.transformer import Transformer

BATCH = 32
Ratios = tuple[float, float, float]


def paired_ratios(runs: Mapping[str, Callable[[], object]], baseline: str, rounds: int) -> dict[str, Ratios]:
    """Processor time over that of the baseline in the same round: lower quartile, median, upper quartile.

    Args:
        runs: what to time, by name.
        baseline: one of the names.
        rounds: that count; two more come first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 2):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn >= 2:
                seconds[name].append(time.process_time() - start)
    ratios = {name: np.divide(times, seconds[baseline]) for name, times in seconds.items()}
    return {name: _quartiles(values) for name, values in ratios.items()}


def task_costs(task: Task, rounds: int) -> dict[str, dict[str, object]]:
    """Operations of a sequence, and ratios of training step and forward pass, by attention."""
    assert task.recipe is not None
    train, _ = task.load(task.seeds[0])
    tokens = as_tokens(train.X[:BATCH])
    _, places = np.unique(np.asarray(train.y), return_inverse=True)
    labels = torch.from_numpy(places[:BATCH])
    models = {
        attention: Transformer(
            tokens.shape[2], tokens.shape[1], int(places.max()) + 1, task.recipe, attention
        )
        for attention in task.attentions
    }
    steps = {name: _step(model, tokens, labels) for name, model in models.items()}
    passes = {name: _forward(model, tokens) for name, model in models.items()}
    training, inference = (paired_ratios(runs, "softmax", rounds) for runs in (steps, passes))
    return {
        name: {"operations": model.operations(), "training": training[name], "inference": inference[name]}
        for name, model in models.items()
    }


def _step(model: Transformer, tokens: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    def run() -> None:
        model.zero_grad()
        nn.functional.cross_entropy(model(tokens), labels).backward()

    return run


def _forward(model: Transformer, tokens: torch.Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return model(tokens)

    return run


def _quartiles(values: np.ndarray) -> Ratios:
    low, middle, high = (round(float(value), 4) for value in np.percentile(values, [25, 50, 75]))
    return low, middle, high
