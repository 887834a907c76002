"""The command ``python -m benchmarks.when_it_helps``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.when_it_helps import page as pages
from benchmarks.when_it_helps.cost import task_costs
from benchmarks.when_it_helps.records import FORMER, PATH, read, record, save
from benchmarks.when_it_helps.running import Cells, run_task
from benchmarks.when_it_helps.tasks.all_tasks import all_tasks
from benchmarks.when_it_helps.tasks.images import FASHION
from benchmarks.when_it_helps.tasks.task import EXPLORATION, Task
from primaldual.cli import run as run_app
from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.running import Event
from primaldual.experiments.store import Failure, Result, Store
from primaldual.reporting.numbers import seconds_text

PROGRAM = "python -m benchmarks.when_it_helps"
OUT = Path("runs/when_it_helps")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
DataDir = Annotated[Path | None, typer.Option(help="Folder that holds UEA sets as <name>/<name>_TRAIN.ts.")]
FashionDir = Annotated[Path, typer.Option(help="Folder of Fashion-MNIST's four .gz files.")]
Out = Annotated[Path, typer.Option(help="Folder of the results, which are kept cell by cell.")]
Names = Annotated[list[str] | None, typer.Option("--task", "-t", help="Only this task; may be repeated.")]


def main(arguments: Sequence[str]) -> None:
    """Run the words of a command line; bad input ends with one line on stderr and exit code 2."""
    run_app(app, PROGRAM, list(arguments) or ["--help"])


@app.callback()
def when_it_helps() -> None:
    """When does each attention help? Run the tasks, then write docs/when_it_helps.md.

    Examples:
    $ python -m benchmarks.when_it_helps run --data-dir data/uea      # a good hour on one core; resumes

    $ python -m benchmarks.when_it_helps run -t "recall, gains" -a bn --explore 2

    $ python -m benchmarks.when_it_helps keep && python -m benchmarks.when_it_helps page
    """


@app.command()
def run(
    out: Out = OUT,
    task: Names = None,
    attention: Annotated[
        list[str] | None,
        typer.Option("--attention", "-a", help="Only softmax and this one; may be repeated."),
    ] = None,
    explore: Annotated[
        int, typer.Option(min=0, help="Explore on so many seeds and validation data; test data is not read.")
    ] = 0,
    data_dir: DataDir = None,
    fashion_dir: FashionDir = FASHION,
) -> None:
    """Train what is missing, one cell after the other on one thread. Ctrl-C loses the cell at work only."""
    torch.set_num_threads(1)
    console = Console(highlight=False, stderr=True)
    for one in _chosen(task, data_dir, fashion_dir):
        specs = one.attentions if attention is None else tuple(dict.fromkeys(["softmax", *attention]))
        seeds = range(EXPLORATION, EXPLORATION + explore) if explore else one.seeds
        cells = Cells(one, seeds, specs)
        console.print(f"{one.name}: {len(cells.cells)} cells")
        run_task(cells, out, _teller(console, cells, Store(out)))


@app.command()
def cost(
    out: Annotated[Path, typer.Option(help="File of the committed results, which takes the costs.")] = PATH,
    task: Names = None,
    rounds: Annotated[int, typer.Option(min=3, help="Interleaved rounds.")] = 30,
    fashion_dir: FashionDir = FASHION,
) -> None:
    """Measure processor time beside softmax, in interleaved rounds of one process and thread."""
    torch.set_num_threads(1)
    cells, rest = read(out)
    for one in _chosen(task, None, fashion_dir):
        if one.recipe is not None:
            rest.setdefault("costs", {})[one.name] = task_costs(one, rounds)
            save(out, {"cells": [vars(cell) for cell in cells], **rest})
            print(f"{one.name}: measured", flush=True)


@app.command()
def keep(
    out: Out = OUT,
    path: Annotated[Path, typer.Option(help="File of the committed results.")] = PATH,
    data_dir: DataDir = None,
) -> None:
    """Write the cells of a folder into the file that is committed; costs in it stay."""
    tasks = all_tasks(data_dir)
    rest = read(path)[1] if path.is_file() else {}
    found = [
        record(result, tasks)
        for result in Store(out).results()
        if FORMER.get(result.data, result.data) in tasks
    ]
    found.sort(key=lambda one: (one.task, one.settings, one.attention, one.seed))
    save(path, {"cells": [vars(one) for one in found], **rest})
    print(f"{len(found)} cells in {path}")


@app.command()
def page() -> None:
    """Write docs/when_it_helps.md and its figures from the committed results."""
    pages.write()


def _chosen(names: list[str] | None, data_dir: Path | None, fashion_dir: Path) -> list[Task]:
    tasks = all_tasks(data_dir, fashion_dir)
    for name in names or []:
        if name not in tasks:
            accepted = "; ".join(tasks)
            raise ArgumentError(f"task {name!r} is unknown{did_you_mean(name, tasks)}; accepted: {accepted}")
    return [tasks[name] for name in names or tasks]


def _teller(console: Console, cells: Cells, store: Store) -> Callable[[Event], None]:
    from primaldual.experiments.time_left import TimeLeft

    left = TimeLeft(cells.cells, store.results(cells.cells), 1)

    def tell(event: Event) -> None:
        if isinstance(event, Result | Failure):
            left.hear(event)
            said = f"{event.accuracy:.3f}" if isinstance(event, Result) else f"failed: {event.message}"
            seconds = left.seconds()
            rest = "" if seconds is None else f", {seconds_text(seconds)} left"
            console.print(f"  {event.title}: {said}{rest}", soft_wrap=True)

    return tell
