"""``primaldual reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primaldual.cli import options
from primaldual.cli.grid import run_grid
from primaldual.errors import DataError

if TYPE_CHECKING:
    from primaldual.cli.screen import Screen
    from primaldual.experiments.literature import Published


def reproduce(
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="uea: ten sets of the UEA archive.")
    ],
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="runs/<collection>")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every method, seeds 0, 1, ...")] = 5,
    protocol: Annotated[
        str, typer.Option(help='"honest", or "paper": the best test epoch, as published tables often report.')
    ] = "honest",
    published: Annotated[
        Path | None,
        typer.Option(help="A .csv file of published numbers to show beside ours.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time, one thread each.", show_default="all cores")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed cells again.")] = False,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Run the data sets that the literature uses: those on disk; the others are listed with how to get them.

    Before the runs begin it says how many they are. They may take days; what has ended is kept, and the same command
    goes on.

    The library contains no published numbers. Give those of a paper as a .csv file with the columns data, method,
    accuracy (a share) and protocol (honest, optimistic or unknown); they are shown as theirs.

    Examples:
    $ primaldual reproduce uea --data-dir data/uea
    $ primaldual reproduce uea --data-dir data/uea --protocol paper --published table.csv
    """
    from primaldual.cli.screen import Screen
    from primaldual.experiments.literature import at_hand, read_published
    from primaldual.experiments.methods import OTHERS
    from primaldual.experiments.planning import Grid

    notes = Screen(stderr=True)
    present, absent = at_hand(collection, data_dir)
    theirs = [] if published is None else read_published(published)
    if absent:
        notes.print(
            f"Not on disk: {', '.join(absent)}. Download them from https://timeseriesclassification.com, unpack each "
            "to <data-dir>/<name>/<name>_TRAIN.ts and <name>_TEST.ts, and give --data-dir.",
            soft_wrap=True,
        )
    if not present:
        raise DataError(f"none of the {len(absent)} data sets of {collection} is on disk; give data-dir")
    folder = None if data_dir is None else str(data_dir)
    grid = Grid(
        tuple(present), methods=tuple(OTHERS), seeds=tuple(range(seeds)), data_dir=folder, protocol=protocol
    )
    if theirs and not as_json:
        _show(theirs, notes)
    run_grid(grid, out or Path("runs") / collection, jobs, None, retry_failed, as_json, theirs)


def _show(theirs: list[Published], notes: Screen) -> None:
    from primaldual.cli.tables import table_of

    rows = [[one.data, one.method, f"{one.accuracy * 100:.1f}", one.protocol] for one in theirs]
    headings = ["data set", "method, theirs", "accuracy, %", "protocol, theirs"]
    notes.print(table_of("Published by others, not measured here", headings, rows))
