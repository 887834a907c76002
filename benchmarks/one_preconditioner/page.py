"""Write docs/one_preconditioner.md from the committed results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.one_preconditioner.predictions import PREDICTIONS
from benchmarks.one_preconditioner.records import by_seed
from benchmarks.one_preconditioner.series import SET
from benchmarks.one_preconditioner.tasks import ATTENTIONS, LEARNING_RATE, TASKS
from primaldual.experiments.statistics import Difference, paired_difference, spread
from primaldual.reporting.numbers import interval_text, signed

PAGE = Path(__file__).parents[2] / "docs" / "one_preconditioner.md"
TEXT = Path(__file__).with_name("page.in")


def page(results: Mapping[str, float]) -> str:
    """The text of ``page.in`` with the tables filled in."""
    text = TEXT.read_text(encoding="utf-8")
    return text.replace("{scores}", _scores(results)).replace("{predictions}", _predictions(results))


def _rate(task: str) -> str:
    return f"{LEARNING_RATE:g}" if task in TASKS else "default"


def difference(results: Mapping[str, float], task: str, attention: str, baseline: str) -> Difference | None:
    """Paired by seed, in points; None without two seeds that both have."""
    ours, theirs = (by_seed(results, task, one, _rate(task)) for one in (attention, baseline))
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    return paired_difference([100 * ours[seed] for seed in seeds], [100 * theirs[seed] for seed in seeds])


def _scores(results: Mapping[str, float]) -> str:
    rows = [
        "| task | seeds | " + " | ".join(f"`{one}`" for one in ATTENTIONS) + " |",
        "|---" * (len(ATTENTIONS) + 2) + "|",
    ]
    for task in (*TASKS, SET):
        cells = [by_seed(results, task, one, _rate(task)) for one in ATTENTIONS]
        shared = sorted(set.intersection(*(set(cell) for cell in cells)))
        if shared:
            texts = [spread([cell[seed] for seed in shared]).text(1, 100) for cell in cells]
            rows.append(f"| {task} | {len(shared)} | " + " | ".join(texts) + " |")
    return "\n".join(rows)


def _predictions(results: Mapping[str, float]) -> str:
    rows = ["| task | prediction | difference (95 % t interval) | outcome |", "|---|---|---|---|"]
    for one in PREDICTIONS:
        found = difference(results, one.task, one.attention, one.baseline)
        said = f"`{one.attention}` above `{one.baseline}`"
        if found is None or found.low is None or found.high is None:
            rows.append(f"| {one.task} | {said} | | not run |")
            continue
        outcome = "held" if found.low > 0 else "failed: below" if found.high < 0 else "unclear"
        ends = interval_text((found.low / 100, found.high / 100), sign=True)
        rows.append(f"| {one.task} | {said} | {signed(found.mean)}{ends} | {outcome} |")
    return "\n".join(rows)
