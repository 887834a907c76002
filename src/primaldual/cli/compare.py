"""``primaldual compare``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primaldual.cli import options
from primaldual.cli.machine import cores

if TYPE_CHECKING:
    from primaldual.cli.screen import Screen
    from primaldual.data import Reading
    from primaldual.experiments import Comparison
    from primaldual.experiments.running import Event

_DEFAULT = "softmax,bn,sh,bn+sh"


def compare(
    data: options.Data,
    attentions: Annotated[
        list[str],
        typer.Option(
            "--attentions", "-a", help="Specs, comma-separated or repeated; the first is the baseline."
        ),
    ] = [_DEFAULT],  # noqa: B006 - typer needs a list and copies it
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every attention, seeds 0, 1, ...")] = 3,
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="runs/<data>")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time, one thread each.", show_default="all cores")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier runs in the output folder.")] = False,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
    case: options.CaseColumn = None,
    time: options.TimeColumn = None,
    label: options.LabelColumn = None,
    channels: options.Channels = None,
    epochs: options.Epochs = None,
    heads: options.Heads = None,
    layers: options.Layers = None,
    embed_dim: options.EmbedDim = None,
    feedforward_dim: options.FeedforwardDim = None,
    dropout: options.Dropout = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    patience: options.Patience = None,
) -> None:
    """Train every attention with every seed, test each model once, and write a report.

    Finished runs are kept: after Ctrl-C, or with more seeds, the same command does what is missing.

    A .csv file has the columns case, time, label and one per channel, or a row for each case;
    split (train or test) is optional.

    Examples:
    $ primaldual compare JapaneseVowels
    $ primaldual compare JapaneseVowels -a "softmax,bn,sh(1,1,2,4)" --seeds 5
    $ primaldual compare Handwriting --data-dir data/uea --out runs/handwriting
    $ primaldual compare my_series.csv --epochs 30 --json > results.json
    """
    from primaldual.cli.file_settings import FileSettings
    from primaldual.cli.screen import Screen, words
    from primaldual.cli.tables import comparison_json, comparison_table
    from primaldual.experiments import open_comparison
    from primaldual.experiments.report import write_report

    given = options.classifier_options(
        epochs=epochs,
        heads=heads,
        layers=layers,
        embed_dim=embed_dim,
        feedforward_dim=feedforward_dim,
        dropout=dropout,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
    )
    folder = out or Path("runs") / Path(data).stem
    settings = FileSettings(
        data,
        options.canonical_specs(attentions),
        tuple(range(seeds)),
        given,
        None if data_dir is None else str(data_dir),
        options.reading(data, case, time, label, channels),
    )
    notes = Screen(stderr=True)
    command = _command()
    comparison = open_comparison(settings, folder, fresh)
    notes.print(words((comparison.train.name, "bold"), f": train {comparison.train.summary}"))
    try:
        _run(comparison, settings.reading, jobs or cores(), notes)
        with notes.status("Measuring the trained models") as status:
            summaries = comparison.summaries(lambda step: status.update(words(f"Measuring {step}")))
        report = write_report(comparison, summaries, command)
    except KeyboardInterrupt:
        _say_how_to_go_on(comparison, command)
        sys.exit(130)
    if as_json:
        print(comparison_json(comparison, summaries, report))
    else:
        screen = Screen()
        screen.print(comparison_table(settings, summaries, screen.width))
    notes.print(f"Report: {report}", soft_wrap=True)


def _run(comparison: Comparison, reading: Reading, jobs: int, notes: Screen) -> None:
    from primaldual.cli.progress import GridProgress
    from primaldual.experiments.store import Result
    from primaldual.experiments.training_record import TrainingRecord

    record = TrainingRecord.of(comparison.train, reading)
    folders = {cell.key: comparison.models / cell.folder for cell in comparison.cells}

    def hear(event: Event) -> None:
        if isinstance(event, Result):
            record.write(folders[event.key])
        progress(event)

    missing, total = len(comparison.missing), len(comparison.cells)
    if missing < total:
        notes.print(f"{total - missing} of {total} runs are finished already.")
    if missing:
        with GridProgress(notes, missing) as progress:
            comparison.execute(jobs, hear)


def _say_how_to_go_on(comparison: Comparison, command: str) -> None:
    from primaldual.cli.screen import Screen

    done = comparison.finished
    Screen(stderr=True).print(
        f"\nStopped. {len(done)} of {len(comparison.cells)} runs are finished and kept in "
        f"{comparison.store.path}"
        + "".join(
            f"\n  {result.method}, seed {result.seed}: accuracy {result.accuracy:.3f}" for result in done
        )
        + f"\nGo on with:\n  {command}",
        soft_wrap=True,
    )


def _command() -> str:
    """The command line as it was given, without --fresh, which would undo what was done."""
    return shlex.join(["primaldual", *(word for word in sys.argv[1:] if word != "--fresh")])
