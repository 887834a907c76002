"""The committed results, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.comparison.task import BASELINE, Task
from primaldual.experiments.statistics import Difference, paired_difference

RESULTS = Path(__file__).parents[1] / "results" / "comparison.json"
EXPLORATION = 100
"""The seed on which learning rates were chosen; those of the final runs are below it."""

REFERENCE = "reference"
"""The key of what short ListOps gives without attention."""

Results = Mapping[str, Any]


def cell(task: str, attention: str, rate: float, seed: int) -> str:
    """The key of one trained model.

    Example:
        >>> cell("CIFAR-10", "bn", 5e-3, 0)
        'CIFAR-10|bn|0.005|0'
    """
    return f"{task}|{attention}|{rate:g}|{seed}"


def cost_key(task: str) -> str:
    """The key of the costs of a task."""
    return f"cost|{task}"


def explored(results: Results, task: Task) -> dict[float, float]:
    """Validation scores of softmax by learning rate, in the unit of the task."""
    keys = (key.split("|") for key in results if key.startswith(f"{task.name}|{BASELINE}|"))
    rates = sorted(float(rate) for _, _, rate, seed in keys if int(seed) >= EXPLORATION)
    return {
        rate: task.factor * results[cell(task.name, BASELINE, rate, EXPLORATION)]["score"] for rate in rates
    }


def by_seed(results: Results, task: Task, attention: str, measure: str = "score") -> dict[int, float]:
    """One measure of the final runs; scores in the unit of the task."""
    found = {
        seed: results.get(cell(task.name, attention, task.learning_rate, seed)) for seed in range(EXPLORATION)
    }
    factor = task.factor if measure == "score" else 1
    return {seed: factor * one[measure] for seed, one in found.items() if one is not None}


def difference(results: Results, task: Task, attention: str) -> Difference | None:
    """To softmax, paired by seed; None without two seeds that both have."""
    ours, theirs = (by_seed(results, task, one) for one in (attention, BASELINE))
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    return paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
