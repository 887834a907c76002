"""Write docs/comparison.md and its figure from the committed results."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.comparison import tables
from benchmarks.comparison.results import REFERENCE, Results, by_seed, difference
from benchmarks.comparison.task import BASELINE
from benchmarks.comparison.tasks import TASKS
from benchmarks.difference_figure import difference_figure
from primaldual.experiments.statistics import spread

DOCS = Path(__file__).parents[2] / "docs"
TEXT = Path(__file__).with_name("page.in")
FIGURE = "comparison.svg"


def write(results: Results, docs: Path = DOCS) -> None:
    """Write the page into a folder, and the figure into the folder ``figures`` in it."""
    (docs / "figures").mkdir(exist_ok=True)
    (docs / "figures" / FIGURE).write_text(figure(results), encoding="utf-8")
    (docs / "comparison.md").write_text(page(results), encoding="utf-8")


def page(results: Results) -> str:
    """The text of page.in with its tables, and with numbers for ``{task|attention}`` and ``{task}``.

    The first is the difference to softmax with its interval, the second the score of softmax.
    """
    text = TEXT.read_text(encoding="utf-8")
    known = results.get(REFERENCE, {})
    filled = {
        **{name: f"{100 * share:.1f}" for name, share in known.items()},
        "predictions": tables.predictions(results),
        "scores": tables.scores(results),
        "rates": tables.rates(results),
        "time": tables.costs(results, "time"),
        "bytes": tables.costs(results, "bytes"),
    }

    def number(found: re.Match[str]) -> str:
        name, _, attention = found[1].partition("|")
        if name in filled:
            return filled[name]
        task = TASKS[name]
        if attention:
            return (
                tables.difference_text(difference(results, task, attention), task.digits).replace("**", "")
                or "(not run)"
            )
        scored = list(by_seed(results, task, BASELINE).values())
        return spread(scored).text(task.digits).replace("-", "−") if scored else "(not run)"

    return re.sub(r"\{([^{}\n]+)\}", number, text)


def figure(results: Results) -> str:
    """Differences to softmax with their intervals, a panel for each task."""
    panels = {
        f"{task.name}, {'points' if task.factor == 100 else 'bits'}": {
            attention: found
            for attention in task.attentions
            if attention != BASELINE and (found := difference(results, task, attention)) is not None
        }
        for task in TASKS.values()
    }
    label = "Differences to softmax with 95 % intervals, better to the right."
    return difference_figure(panels, "score minus softmax's; better to the right", label, columns=2, digits=2)
