"""The numbers of a run, as JSON takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from primaldual.sequences.runs import SequenceRun


def numbers_of(run: SequenceRun) -> dict[str, Any]:
    """All numbers of a run, as JSON takes them."""
    state, parts = run.state, run.parts
    training, loading = (
        sum(float(record[name] or 0) for record in state.history)
        for name in ("training_seconds", "loading_seconds")
    )
    steps = min(state.last_step, len(state.history) * state.steps)
    lengths = parts.training.lengths
    return {
        "config": run.config,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "cases": {
            "training": len(parts.training),
            "validation": 0 if parts.validation is None else len(parts.validation),
            "test": len(parts.test),
        },
        "tokens": {"mean": float(lengths.mean()), "longest": int(lengths.max())},
        "most_frequent_class": float(np.bincount(parts.test.labels).max() / len(parts.test)),
        "left_out": list(parts.left_out),
        "notes": list(parts.notes),
        "best_epoch": state.best_epoch,
        "history": state.history,
        "training": {
            "seconds": training,
            "cases_per_second": steps * len(parts.training) / state.steps / max(training, 1e-9),
            "loading_share": loading / max(training, 1e-9),
        },
        "test": asdict(run.evaluation),
    }
