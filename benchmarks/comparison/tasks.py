"""Every task with its settings."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.comparison import images, listops, text
from benchmarks.comparison.task import ATTENTIONS, Task

RATES = (3e-3, 1e-2)
"""Learning rates that were tried for softmax."""

_ON_GRIDS = (*ATTENTIONS, "conv2d(3)")
_WITHOUT_SLOW = tuple(spec for spec in ATTENTIONS if spec != "linear+bn")
"""Causal ``linear+bn`` has keys that differ by query: more than ten times softmax's time."""

TASKS = {
    task.name: task
    for task in (
        Task("CIFAR-10", "accuracy, %", 100, 1, 3e-3, images.cifar, _ON_GRIDS),
        Task("Fashion-MNIST", "accuracy, %", 100, 1, 1e-2, images.fashion, _ON_GRIDS),
        Task("ListOps, short", "accuracy, %", 100, 1, 3e-3, listops.short),
        Task("tiny Shakespeare", "−bits per character", 1, 3, 1e-2, text.shakespeare, _WITHOUT_SLOW),
    )
}

TIMED = {
    **TASKS,
    "tiny Shakespeare": replace(TASKS["tiny Shakespeare"], attentions=ATTENTIONS),
    "ListOps, full size": Task("ListOps, full size", "accuracy, %", 100, 1, 3e-3, listops.full),
}
"""Tasks whose costs are measured; trained to the end, ListOps of full size would take days here."""
