"""Tables of the page."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from benchmarks.comparison.predictions import PREDICTIONS, Prediction
from benchmarks.comparison.results import Results, by_seed, cost_key, difference, explored
from benchmarks.comparison.task import ATTENTIONS, BASELINE
from benchmarks.comparison.tasks import TASKS, TIMED
from benchmarks.when_it_helps.tables import table
from primaldual.experiments.statistics import Difference, spread
from primaldual.reporting.numbers import bytes_text, signed

_WORDS = {1: "above", 0: "no clear difference", -1: "below"}


def difference_text(found: Difference | None, digits: int) -> str:
    """The mean with its interval; in bold where that excludes 0; "" where there is none."""
    if found is None or found.low is None or found.high is None:
        return ""
    text = f"{signed(found.mean, digits)} ({signed(found.low, digits)} to {signed(found.high, digits)})"
    return text if _sign(found) == 0 else f"**{text}**"


def code(spec: str) -> str:
    r"""A spec as it stands in a table.

    Example:
        >>> code("window(8)|sh(4)")
        '`window(8)\\|sh(4)`'
    """
    escaped = spec.replace("|", r"\|")
    return f"`{escaped}`"


def predictions(results: Results) -> str:
    """Every prediction beside what came of it."""
    rows = []
    for one in PREDICTIONS:
        task = TASKS[one.task]
        found = difference(results, task, one.attention)
        shown = difference_text(found, task.digits)
        told = [task.name, code(one.attention), _WORDS[one.sign], one.reason]
        rows.append([*told, shown, outcome(one, found)])
    return table(["task", "attention", "expected", "because", "difference to softmax", "outcome"], rows)


def outcome(prediction: Prediction, found: Difference | None) -> str:
    """What became of a prediction."""
    if found is None or found.low is None:
        return "not run"
    came = _sign(found)
    return "held" if came == prediction.sign else f"failed: {_WORDS[came]}"


def scores(results: Results) -> str:
    """Scores, differences and heads, a row for each task and attention."""
    rows = []
    for task in TASKS.values():
        for attention in task.attentions:
            found = list(by_seed(results, task, attention).values())
            if found:
                name = f"{task.name}, {task.unit}" if attention == BASELINE else ""
                shown = spread(found).text(task.digits).replace("-", "−")
                against = difference_text(difference(results, task, attention), task.digits)
                heads = [
                    f"{mean(by_seed(results, task, attention, measure).values()):.2f}"
                    for measure in ("entropy", "head_distance", "head_likeness")
                ]
                rows.append(
                    [name, code(attention), str(len(found)), shown, against if name == "" else "", *heads]
                )
    header = ["task", "attention", "seeds", "score", "minus softmax (t interval)"]
    return table([*header, "entropy", "head distance", "head likeness"], rows)


def rates(results: Results) -> str:
    """Validation scores of softmax at every learning rate that was tried."""
    rows = [
        [
            task.name,
            ", ".join(f"{rate:g}: {score:.{task.digits}f}" for rate, score in found.items()),
            f"{task.learning_rate:g}",
        ]
        for task in TASKS.values()
        if (found := explored(results, task))
    ]
    return table(["task", "validation score of softmax by learning rate", "taken"], rows)


def costs(results: Results, measure: str) -> str:
    """One measure of a training step over that of softmax, attentions by tasks."""
    found = {
        task.name: results[cost_key(task.name)] for task in TIMED.values() if cost_key(task.name) in results
    }
    specs = list(dict.fromkeys((*ATTENTIONS, *(spec for one in found.values() for spec in one))))
    rows = [[code(spec), *(_cost(one, spec, measure) for one in found.values())] for spec in specs]
    return table(["attention", *found], rows)


def _cost(found: Mapping[str, Any], spec: str, measure: str) -> str:
    if spec not in found:
        return ""
    value = found[spec][measure]
    if measure == "bytes":
        own = f" ({bytes_text(value)})" if spec == BASELINE else ""
        return f"{value / found[BASELINE][measure]:.2f}{own}"
    low, middle, high = value
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def _sign(found: Difference) -> int:
    assert found.low is not None
    assert found.high is not None
    return int(found.low > 0) - int(found.high < 0)
