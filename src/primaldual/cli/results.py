"""``primaldual results``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primaldual.cli import options
from primaldual.errors import ArgumentError

if TYPE_CHECKING:
    from primaldual.experiments.store import Result, Store


def results(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that grid or compare wrote.")],
    data: Annotated[
        list[str],
        typer.Option("--data", "-d", help="Only this data set; repeat for more.", show_default=False),
    ] = [],  # noqa: B006 - typer needs a list and copies it
    method: Annotated[
        list[str],
        typer.Option("--method", "-m", help="Only this method; repeat for more.", show_default=False),
    ] = [],  # noqa: B006 - the same
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write .csv, .parquet, .md or .tex, or a folder in the layout that aeon reads.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Compare with the results of another folder.", show_default=False
        ),
    ] = None,
    cells: Annotated[bool, typer.Option("--cells", help="A row for each run.")] = False,
    all_versions: Annotated[
        bool, typer.Option("--all", help="Also results that newer ones of other settings or code replace.")
    ] = False,
    failures: Annotated[bool, typer.Option("--failures", help="Failed runs with their tracebacks.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show, export and compare finished runs.

    Examples:
    $ primaldual results runs/small
    $ primaldual results runs/small --data ERing --method bn --cells
    $ primaldual results runs/small --export table.tex
    $ primaldual results runs/new --against runs/old
    """
    from primaldual.cli.results_view import cell_table, change_table, failure_text, mean_table
    from primaldual.cli.screen import Screen
    from primaldual.experiments.comparing.runs import changes, chosen, newest
    from primaldual.experiments.exports import export as write
    from primaldual.experiments.exports import rows

    store = _store(folder)
    screen, notes = Screen(), Screen(stderr=True)
    if failures:
        found_failures = store.failures()
        print(
            json.dumps([asdict(one) for one in found_failures], indent=2)
            if as_json
            else failure_text(found_failures)
        )
        return

    def selected(opened: Store) -> list[Result]:
        every = opened.results()
        return chosen(every if all_versions else newest(every), data, method)

    found = selected(store)
    if export is not None:
        for path in write(found, export):
            notes.print(f"Written: {path}", soft_wrap=True)
    elif against is not None:
        compared = changes(found, selected(_store(against)))
        if not compared:
            raise ArgumentError(
                f"against {against} has no run of the same data set, method and seed as {folder}"
            )
        if as_json:
            print(json.dumps([asdict(one) for one in compared], indent=2))
        else:
            screen.print(change_table(compared, str(folder), str(against)))
    elif as_json:
        print(json.dumps(rows(found), indent=2))
    elif not found:
        notes.print("No run has finished.")
    else:
        screen.print(cell_table(found) if cells else mean_table(found, screen.width))
    failed = len(store.failures())
    if failed:
        notes.print(f"{failed} run{'s'[: failed != 1]} failed; --failures shows them.")


def _store(folder: Path) -> Store:
    from primaldual.experiments.store import FILE_NAME, Store

    place = folder.parent if folder.name == FILE_NAME else folder
    if not (place / FILE_NAME).is_file():
        raise ArgumentError(f"folder {folder} holds no {FILE_NAME}; give a folder that grid or compare wrote")
    return Store(place)
