"""The page docs/when_it_helps.md, from the committed results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.when_it_helps import wording
from benchmarks.when_it_helps.figures import entropy_figure, gains_figure
from benchmarks.when_it_helps.records import PATH, Record, read
from benchmarks.when_it_helps.tables import (
    accuracy_table,
    cost_table,
    doubled_table,
    explored_table,
    predictions_table,
)
from benchmarks.when_it_helps.tasks.all_tasks import all_tasks
from benchmarks.when_it_helps.tasks.task import Task
from benchmarks.when_it_helps.verdicts import BASELINE, Gain, accuracies, gain
from primaldual.reporting.numbers import signed

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "when_it_helps.md"
GAINS, ENTROPY = "when_it_helps_gains.svg", "when_it_helps_entropy.svg"
POSITIONS = ("Fashion-MNIST", "Fashion-MNIST, small positions")


def write(results: Path = PATH, page: Path = PAGE) -> None:
    """Write the page, and its figures into the folder ``figures`` beside it.

    Args:
        results: the committed results.
        page: where to.
    """
    records, rest = read(results)
    final, explored = final_records(records), [one for one in records if one.explored]
    known = all_tasks().values()
    tasks = [
        one for one in known if one.attentions != (BASELINE,) and any(one.name == cell.task for cell in final)
    ]
    gains, kinds = _drawn(final, tasks)
    figures = page.parent / "figures"
    figures.mkdir(exist_ok=True)
    (figures / GAINS).write_text(gains_figure(gains, kinds), encoding="utf-8")
    followed = [name for name in POSITIONS if any(one.task == name for one in final)]
    (figures / ENTROPY).write_text(entropy_figure(final, followed), encoding="utf-8")
    costs = rest.get("costs", {})
    parts = [
        wording.HEAD,
        f"![Differences to softmax on every task](figures/{GAINS})\n",
        wording.PREDICTED,
        predictions_table(final, costs) + "\n",
        wording.DOUBLED,
        doubled_table(final) + "\n",
        wording.FOUND,
        "## Tasks\n\n" + "\n".join(f"* **{task.name}**: {task.sentence}" for task in tasks) + "\n",
        wording.ACCURACY,
        accuracy_table(final, tasks) + "\n",
        wording.ENTROPY,
        f"![Entropy of the attention over training](figures/{ENTROPY})\n",
        wording.COST,
        cost_table(costs) + "\n",
        wording.TRIED,
        explored_table(explored) + "\n",
        wording.TRIED_MORE,
        wording.AGAIN,
    ]
    page.write_text(filled("\n".join(parts), final), encoding="utf-8")


def filled(text: str, records: Sequence[Record]) -> str:
    """Put differences in place of ``{task|attention}``, and softmax's accuracy in that of ``{task}``.

    Args:
        text: of the page.
        records: of the final runs.
    """

    def difference(found: re.Match[str]) -> str:
        one = gain(records, found[1], found[2])
        return "(not run)" if one is None else signed(100 * one.difference.mean)

    def accuracy(found: re.Match[str]) -> str:
        values = accuracies(records, found[1], BASELINE).values()
        return f"{100 * mean(values):.1f}" if values else "(not run)"

    return re.sub(r"\{([^{}|]+)\}", accuracy, re.sub(r"\{([^{}|]+)\|([^{}|]+)\}", difference, text))


def final_records(records: Sequence[Record]) -> list[Record]:
    """Those of the final runs: their seeds, at the settings of the tasks."""
    return [one for one in records if not one.explored and not one.settings]


def kind(attention: str) -> str:
    """The name under which schedules of different tasks share a place in the figure.

    Example:
        >>> kind("sh(1,1,2,4,grid=4x4)"), kind("bn+sh(1,4,8,16)"), kind("bn(beta=0)")
        ('sh, mild', 'bn+sh', 'bn(beta=0)')
    """
    before, found, scales = attention.partition("sh(")
    if not found:
        return "bn(learnable)" if "learnable" in attention else attention
    if before:
        return f"{before}sh"
    return "sh, mild" if scales.startswith("1,1") else "sh, strong"


def _drawn(final: Sequence[Record], tasks: Sequence[Task]) -> tuple[dict[str, list[Gain]], Mapping[str, str]]:
    gains = {
        task.name: [
            found
            for attention in task.attentions
            if attention != BASELINE and (found := gain(final, task.name, attention)) is not None
        ]
        for task in tasks
    }
    kinds = {one.attention: kind(one.attention) for found in gains.values() for one in found}
    return gains, kinds
