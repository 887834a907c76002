"""Tables of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.when_it_helps.predictions import PREDICTIONS
from benchmarks.when_it_helps.records import Record
from benchmarks.when_it_helps.tasks.task import Task
from benchmarks.when_it_helps.verdicts import BASELINE, Gain, accuracies, gain, holm, p_value
from primaldual.experiments.statistics import spread
from primaldual.reporting.numbers import count_text, interval_text, signed

Costs = Mapping[str, Mapping[str, Mapping[str, Any]]]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def gain_text(found: Gain | None) -> str:
    """Points with the t interval; in bold where both intervals exclude zero."""
    if found is None:
        return ""
    low, high = found.difference.low, found.difference.high
    ends = None if low is None or high is None else (low, high)
    text = f"{signed(100 * found.difference.mean)}{interval_text(ends, sign=True)}"
    return f"**{text}**" if found.sign else text


def predictions_table(records: Sequence[Record], costs: Costs) -> str:
    """Every prediction beside what came of it."""
    finished = [one for one in PREDICTIONS if gain(records, one.task, one.attention) is not None]
    corrected = holm({f"{one.task}|{one.attention}": p_value(records, one) for one in finished})
    rows = []
    for number, one in enumerate(PREDICTIONS, 1):
        found = gain(records, one.task, one.attention)
        expected = "above" if one.sign > 0 else "below"
        if found is None:
            rows.append([str(number), one.task, f"`{one.attention}`", expected, "not run", "", "", "", ""])
            continue
        boot = interval_text(found.bootstrap, sign=True).strip(" ()")
        value = corrected[f"{one.task}|{one.attention}"]
        came = "held" if found.sign == one.sign else "failed: reversed" if found.sign else "failed: unclear"
        ratios = _ratios(costs, one.task, one.attention)
        shown = f"{value:.3f}" if value >= 0.001 else "< 0.001"
        named = [str(number), one.task, f"`{one.attention}`", expected]
        rows.append([*named, gain_text(found), boot, shown, ratios, came])
    header = ["", "task", "attention", "predicted", "difference (t interval)", "bootstrap", "Holm's p"]
    return table([*header, "operations, training, inference", "outcome"], rows)


def _ratios(costs: Costs, task: str, attention: str) -> str:
    found = costs.get(task, {}).get(attention)
    if found is None:
        return ""
    operations = found["operations"] / costs[task][BASELINE]["operations"]
    return f"{operations:.2f}, {found['training'][1]:.2f}, {found['inference'][1]:.2f}"


def accuracy_table(records: Sequence[Record], tasks: Sequence[Task]) -> str:
    """Accuracy of softmax and differences of all others, a row for each attention and task."""
    rows = []
    for task in tasks:
        for attention in task.attentions:
            found = accuracies(records, task.name, attention)
            if not found:
                continue
            text = spread(list(found.values())).text(1, 100)
            measures = [
                one.measures for one in records if (one.task, one.attention) == (task.name, attention)
            ]
            learned = _mean(measures, "train_accuracy", 100, 1)
            looks = [_mean(measures, "entropy", 1, 2), _mean(measures, "head_distance", 1, 2)]
            alike = _mean(measures, "head_likeness", 1, 2)
            other = "" if attention == BASELINE else gain_text(gain(records, task.name, attention))
            name = task.name if attention == BASELINE else ""
            rows.append([name, f"`{attention}`", str(len(found)), text, other, learned, *looks, alike])
    header = ["task", "attention", "seeds", "accuracy", "minus softmax (t interval)", "training accuracy"]
    return table([*header, "entropy", "head distance", "head likeness"], rows)


def _mean(measures: Sequence[Mapping[str, float]], name: str, factor: float, digits: int) -> str:
    values = [one[name] for one in measures if name in one]
    return f"{factor * float(np.mean(values)):.{digits}f}" if values else ""


def doubled_table(records: Sequence[Record]) -> str:
    """Attentions that were named as winners, against softmax with twice the epochs."""
    rows = []
    for one in PREDICTIONS:
        twice = f"{one.task}, twice"
        if one.sign < 0 or not accuracies(records, twice, BASELINE):
            continue
        texts = [
            spread(list(accuracies(records, *cell).values())).text(1, 100)
            for cell in ((one.task, BASELINE), (twice, BASELINE), (one.task, one.attention))
        ]
        found = gain(records, one.task, one.attention, twice)
        rows.append([one.task, f"`{one.attention}`", *texts, gain_text(found)])
    header = ["task", "attention", "softmax", "softmax, twice the epochs", "the attention"]
    return table([*header, "minus softmax with twice the epochs"], rows)


def cost_table(costs: Costs) -> str:
    """Operations, and ratios of processor time with quartiles."""
    rows = []
    for task, found in costs.items():
        for attention, one in found.items():
            ratios = [f"{one[part][1]:.2f} ({one[part][0]:.2f}–{one[part][2]:.2f})" for part in _PARTS]
            name = task if attention == BASELINE else ""
            rows.append([name, f"`{attention}`", count_text(one["operations"]), *ratios])
    return table(["task", "attention", "operations", "training step", "forward pass"], rows)


_PARTS = ("training", "inference")


def explored_table(records: Sequence[Record]) -> str:
    """Everything that was tried before the predictions, on validation data."""
    groups: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in records:
        groups.setdefault((one.task, one.settings), {}).setdefault(one.attention, []).append(one.accuracy)
    rows = [
        [
            task,
            settings or "as in the final runs",
            ", ".join(
                f"`{name}` {100 * float(np.mean(found)):.1f} ({len(found)})" for name, found in tried.items()
            ),
        ]
        for (task, settings), tried in groups.items()
    ]
    return table(["task", "settings", "mean validation accuracy (seeds)"], rows)
