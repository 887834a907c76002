"""The numbers of a run, as JSON takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from primaldual.images.runs import ImageRun


def numbers_of(run: ImageRun) -> dict[str, Any]:
    """All numbers of a run, as JSON takes them."""
    state = run.state
    training, loading = (
        sum(float(record[name] or 0) for record in state.history)
        for name in ("training_seconds", "loading_seconds")
    )
    steps = min(state.last_step, len(state.history) * state.steps)
    images = steps * len(run.parts.training) / state.steps
    return {
        "config": run.config,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "images": {
            "training": len(run.parts.training),
            "validation": 0 if run.parts.validation is None else len(run.parts.validation),
            "test": len(run.parts.test),
        },
        "left_out": list(run.left_out),
        "notes": list(run.parts.notes),
        "best_epoch": state.best_epoch,
        "history": state.history,
        "training": {
            "seconds": training,
            "images_per_second": images / max(training, 1e-9),
            "loading_share": loading / max(training, 1e-9),
        },
        "test": asdict(run.evaluation),
    }
