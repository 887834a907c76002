"""Processor time and memory of a training step, every attention beside softmax."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cliffs import peak_bytes
from benchmarks.comparison.task import BASELINE, Task
from benchmarks.when_it_helps.cost import paired_ratios

Costs = dict[str, dict[str, float | tuple[float, ...]]]


def costs_of(task: Task, folder: Path, rounds: int) -> Costs:
    """Forward and backward passes over the first batch, by attention.

    Args:
        task: what is learned.
        folder: of the data.
        rounds: interleaved ones in one process.

    Returns:
        ``time``: quartiles of processor time over that of softmax in the same round; ``bytes``: the most that the
        allocator held beyond what was there before, as torch's profiler counts it.
    """
    trials = {spec: task.prepare(spec, 0, task.learning_rate, folder) for spec in task.attentions}
    steps = {spec: trial.step for spec, trial in trials.items()}
    times = paired_ratios(steps, BASELINE, rounds)
    return {spec: {"time": times[spec], "bytes": peak_bytes(step)} for spec, step in steps.items()}
