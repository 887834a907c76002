"""``primaldual grid``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primaldual.cli import options
from primaldual.cli.machine import cores

if TYPE_CHECKING:
    from primaldual.cli.screen import Screen
    from primaldual.experiments.literature import Published
    from primaldual.experiments.places import Place
    from primaldual.experiments.planning import Grid, OpenGrid

FAILED = 1


def grid(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to run; see docs/grid.md.")],
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="runs/<config>")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time.", show_default="cores / threads")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help='Run on a Ray cluster: its address, "auto" or "local".',
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed cells again.")] = False,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Run data sets x attentions x settings x seeds beside other classifiers, and write a report.

    Every run is kept as soon as it is finished: after Ctrl-C or a crash the same command does what is missing.

    Several commands on the same folder share the work.

    Examples:
    $ primaldual grid small.toml
    $ primaldual grid uea.toml --data-dir data/uea --jobs 4
    $ primaldual grid uea.toml --retry-failed
    $ primaldual grid uea.toml --ray auto
    """
    from primaldual.experiments.planning import read_grid

    stated = read_grid(config)
    if data_dir is not None:
        stated = replace(stated, data_dir=str(data_dir))
    run_grid(stated, out or Path("runs") / config.stem, jobs, ray, retry_failed, as_json)


def run_grid(
    stated: Grid,
    folder: Path,
    jobs: int | None,
    ray: str | None,
    retry_failed: bool,
    as_json: bool,
    published: Sequence[Published] = (),
) -> None:
    """Run a grid and show what came out.

    Args:
        stated: the grid.
        folder: output folder.
        jobs: cells at a time; None for as many as the cores allow.
        ray: address of a Ray cluster; None for this machine.
        retry_failed: run failed cells again.
        as_json: print JSON in place of a table.
        published: numbers of others, for the report.
    """
    from primaldual.cli.grid_view import failure_lines, grid_json, grid_table
    from primaldual.cli.screen import Screen, words
    from primaldual.experiments.grid_report import write_grid_report
    from primaldual.experiments.planning import open_grid

    notes = Screen(stderr=True)
    with notes.status("Reading the data"):
        opened = open_grid(stated, folder, retry_failed)
    for name, size in opened.sizes.items():
        notes.print(words((name, "bold"), f": {size}"), soft_wrap=True)
    command = shlex.join(["primaldual", *(word for word in sys.argv[1:] if word != "--retry-failed")])
    try:
        if opened.missing:
            _run(opened, _place(stated, jobs, ray), notes)
        else:
            notes.print(f"All {len(opened.cells)} runs have ended already.")
    except KeyboardInterrupt:
        done = len(opened.finished)
        notes.print(
            f"\nStopped. {done} of {len(opened.cells)} runs are finished and kept in {opened.store.path}\n"
            f"Go on with:\n  {command}",
            soft_wrap=True,
        )
        sys.exit(130)
    report = write_grid_report(opened, command, published)
    if as_json:
        print(json.dumps(grid_json(opened, report), indent=2))
    elif opened.finished:
        screen = Screen()
        screen.print(grid_table(opened, screen.width))
    for line in failure_lines(opened):
        notes.print(line, soft_wrap=True)
    notes.print(f"Report: {report}", soft_wrap=True)
    if opened.failed:
        sys.exit(FAILED)


def _place(stated: Grid, jobs: int | None, ray: str | None) -> Place:
    from primaldual.experiments.running import place_for

    if ray is not None:
        from primaldual.experiments.places.ray_cluster import RayCluster

        return RayCluster(ray, stated.threads, stated.limits)
    return place_for(jobs or max(1, cores() // stated.threads), stated.threads, stated.limits)


def _run(opened: OpenGrid, place: Place, notes: Screen) -> None:
    from primaldual.cli.progress import GridProgress
    from primaldual.experiments.running import Event
    from primaldual.experiments.store import Failure, Result
    from primaldual.experiments.time_left import TimeLeft

    finished, missing = opened.finished, opened.missing
    if len(missing) < len(opened.cells):
        notes.print(f"{len(finished)} of {len(opened.cells)} runs are finished already.")
    notes.print(
        f"{len(missing)} runs to do, {place.slots} at a time. Ctrl-C stops; the same command goes on with those that are "
        "missing.",
        soft_wrap=True,
    )
    left = TimeLeft(missing, finished, place.slots)

    def hear(event: Event) -> None:
        if isinstance(event, Result | Failure):
            left.hear(event)
        progress(event)

    with GridProgress(notes, len(missing), time_left=left.seconds) as progress:
        opened.execute(place, hear)
