"""Results as a table for the terminal and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from primaldual.experiments import Comparison, Settings
from primaldual.experiments.summary import Summary
from primaldual.experiments.wording import amount, seconds_text


def comparison_table(settings: Settings, summaries: Sequence[Summary]) -> Table:
    """One row per attention."""
    table = Table(title=f"{Path(settings.source).stem}, {len(settings.seeds)} seeds", title_justify="left")
    table.add_column("attention", style="bold", no_wrap=True)
    for heading in (
        "accuracy %",
        f"minus {settings.baseline}",
        "95 % interval",
        "training",
        "inference",
        "work",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for summary in summaries:
        difference, profile = summary.difference, summary.profile
        mean = "" if difference is None else f"{difference.mean * 100:+.1f}"
        interval = ""
        if difference is not None and difference.low is not None and difference.high is not None:
            interval = f"{difference.low * 100:+.1f} to {difference.high * 100:+.1f}"
        table.add_row(
            summary.attention,
            summary.accuracy.text(1, 100),
            mean,
            interval,
            seconds_text(summary.seconds.mean),
            "" if profile is None else seconds_text(profile.latency[0]),
            "" if profile is None else amount(profile.total_flops),
        )
    return table


def comparison_json(comparison: Comparison, summaries: Sequence[Summary], report: Path) -> str:
    """Everything but the learning curves and maps, which the results file and the report hold."""
    settings = comparison.settings
    rows = []
    for summary in summaries:
        profile = {} if summary.profile is None else asdict(summary.profile)
        rows.append(
            {
                "attention": summary.attention,
                "accuracy": asdict(summary.accuracy),
                "balanced_accuracy": asdict(summary.balanced_accuracy),
                "difference": None if summary.difference is None else asdict(summary.difference),
                "training_seconds": asdict(summary.seconds),
                "head_distance": [layer.mean for layer in summary.redundancy],
                "runs": [
                    {"seed": one.run.seed, "accuracy": one.accuracy, "best_epoch": one.best_epoch}
                    for one in summary.results
                ],
                **{
                    key: profile[key] for key in profile if key not in {"maps", "redundancy", "text", "latex"}
                },
            }
        )
    return json.dumps(
        {
            "data": comparison.train.name,
            "train_cases": len(comparison.train.X),
            "test_cases": len(comparison.test.X),
            "baseline": settings.baseline,
            "seeds": list(settings.seeds),
            "options": dict(settings.options),
            "attentions": rows,
            "results": str(comparison.store.path),
            "report": str(report),
        },
        indent=2,
    )
