"""The command ``python -m benchmarks.performance``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.performance.cases import Plan
from benchmarks.performance.plans import Wanted, asked, full, only
from benchmarks.performance.plans import quick as quick_plan
from benchmarks.performance.results import Results
from benchmarks.performance.run import Runner
from benchmarks.performance.view import BenchProgress, show, write_page
from primaldual.cli import options, run
from primaldual.errors import ArgumentError
from primaldual.reporting.files import check_writable

PROGRAM = "python -m benchmarks.performance"

_SIZES = "Sizes: a sweep over every combination, nothing else"

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str]) -> None:
    """Run the suite with the words of a command line.

    Bad input ends with one line on stderr and exit code 2.
    """
    run(app, PROGRAM, arguments)


@app.command()
def bench(
    out: Annotated[
        Path, typer.Option(help="Folder for performance.json, performance.md and figures.")
    ] = Path("runs/bench"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One or two minutes: short, few rounds; no basis for judgement.")
    ] = False,
    sections: Annotated[
        list[str] | None,
        typer.Option(
            "--section", "-s", help="sweep, goals, peers, growth, memory; repeat it.", show_default="all"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch.", show_default="torch's choice")
    ] = None,
    as_json: options.AsJson = False,
    lengths: Annotated[
        str | None,
        typer.Option(help="N, comma-separated.", rich_help_panel=_SIZES, show_default="64 to 16384"),
    ] = None,
    head_dims: Annotated[
        str | None,
        typer.Option("--head-dim", help="D, comma-separated.", rich_help_panel=_SIZES, show_default="64"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Sequences.", rich_help_panel=_SIZES, show_default="as give 4096 tokens"),
    ] = None,
    causal: Annotated[
        bool | None,
        typer.Option(
            "--causal/--not-causal", help="Causal mask.", rich_help_panel=_SIZES, show_default="not"
        ),
    ] = None,
    padding: Annotated[
        bool | None,
        typer.Option(
            "--padding/--no-padding", help="Padded keys.", rich_help_panel=_SIZES, show_default="no"
        ),
    ] = None,
    dtypes: Annotated[
        str | None,
        typer.Option(
            "--dtype", help="fp32, bf16, comma-separated.", rich_help_panel=_SIZES, show_default="fp32"
        ),
    ] = None,
) -> None:
    """Measure our attentions against their peers: right first, then timed in turn, with memory and operations.

    Without sizes: everything, goals included, about a quarter of an hour on two cores.

    Peers of other packages come with the extra bench; what is missing is named. Ctrl-C keeps what was measured.

    Examples:
    $ python -m benchmarks.performance --quick
    $ python -m benchmarks.performance --out benchmarks/results
    $ python -m benchmarks.performance --lengths 512,4096 --head-dim 32,128 --causal
    $ python -m benchmarks.performance -s goals --threads 1
    """
    plan = _plan(quick, sections or [], lengths, head_dims, batch, causal, padding, dtypes)
    check_writable(out)
    if threads is not None:
        torch.set_num_threads(threads)
    started = datetime.now(UTC).strftime("%Y-%m-%d, %H:%M UTC")
    results = Results(f"{PROGRAM} {shlex.join(sys.argv[1:])}".strip(), started, quick)
    path, partial = out / "performance.json", out / "performance.partial.json"
    notes = Console(stderr=True, highlight=False)
    with BenchProgress(notes) as progress:
        try:
            Runner(plan, results, lambda: results.save(partial), progress).run()
        except KeyboardInterrupt:
            progress.stop()
    if results.finished:
        partial.replace(path)
        write_page(results, out)
    if as_json:
        print(results.to_json(), end="")
    else:
        show(results, Console(highlight=False))
    if results.finished:
        notes.print(f"Results: {path}, {out / 'performance.md'}", soft_wrap=True)
        return
    notes.print(f"Stopped. What was measured is kept in {partial}", soft_wrap=True)
    sys.exit(130)


def _plan(
    quick: bool,
    sections: list[str],
    lengths: str | None,
    head_dims: str | None,
    batch: int | None,
    causal: bool | None,
    padding: bool | None,
    dtypes: str | None,
) -> Plan:
    """The plan that the options ask for.

    Raises:
        ArgumentError: sizes beside --quick or --section, which have their own; or numbers that are none.
    """
    sizes = {
        "lengths": lengths,
        "head-dim": head_dims,
        "batch": batch,
        "causal": causal,
        "padding": padding,
        "dtype": dtypes,
    }
    given = [f"--{name}" for name, value in sizes.items() if value is not None]
    if not given:
        return only(quick_plan() if quick else full(), sections)
    if quick or sections:
        other = "--quick" if quick else "--section"
        raise ArgumentError(f"{other} has its own sizes; got it together with {', '.join(given)}")
    return asked(
        Wanted(
            lengths=_numbers("lengths", lengths) or (),
            head_dims=_numbers("head-dim", head_dims) or (64,),
            batch=batch,
            causal=(bool(causal),),
            padding=(bool(padding),),
            dtypes=tuple(word.strip() for word in (dtypes or "fp32").split(",")),
        )
    )


def _numbers(name: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers out of a comma-separated option."""
    try:
        return tuple(int(word) for word in (text or "").split(",") if word.strip())
    except ValueError:
        raise ArgumentError(f"{name} must be whole numbers, comma-separated; got {text!r}") from None
