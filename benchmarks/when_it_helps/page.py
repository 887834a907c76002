"""The page docs/when_it_helps.md, from the committed results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.when_it_helps import wording
from benchmarks.when_it_helps.figures import entropy_figure, gains_figure
from benchmarks.when_it_helps.records import PATH, Record, read
from benchmarks.when_it_helps.tables import accuracy_table, cost_table, explored_table, predictions_table
from benchmarks.when_it_helps.tasks.all_tasks import all_tasks
from benchmarks.when_it_helps.tasks.task import Task
from benchmarks.when_it_helps.verdicts import BASELINE, Gain, gain

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
    tasks = [task for task in all_tasks().values() if any(one.task == task.name for one in final)]
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
        wording.AGAIN,
    ]
    page.write_text("\n".join(parts), encoding="utf-8")


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
