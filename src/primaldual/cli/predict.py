"""``primaldual predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from primaldual.cli import options


def predict(
    model: options.Model,
    data: options.Data,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv or .json file; standard output without it.", show_default=False),
    ] = None,
    split: options.Split = None,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
    case: options.CaseColumn = None,
    time: options.TimeColumn = None,
    label: options.LabelColumn = None,
    channels: options.Channels = None,
) -> None:
    """Predict the class of every series, with probabilities. Labels are not needed and not used.

    Cases keep the names that a .csv file gives them, and are counted from 0 otherwise.
    Channels are matched by name where the model and the file have names.

    Examples:
    $ primaldual predict models/vowels JapaneseVowels --out predictions.csv
    $ primaldual predict models/mine new_series.csv --json
    $ primaldual predict models/mine visits.csv --case patient --time day --channels pulse,temp
    """
    from primaldual.cli.saved import default_split, open_saved
    from primaldual.cli.saving import WRITERS, check_target
    from primaldual.cli.screen import Screen
    from primaldual.reporting.files import write_text

    writer = check_target(out, as_json)
    saved = open_saved(model)
    # A file that is not split is split by its labels.
    labelled = split not in {None, "all"} and default_split(data) == "all"
    part = saved.load(data, split, data_dir, options.reading(data, case, time, label, channels, labelled))
    probabilities = saved.classifier.predict_proba(part.X)
    names = range(len(part.X)) if part.case_names is None else part.case_names
    rows = [
        {"case": name, "predicted": saved.classes[int(row.argmax())], **_named(saved.classes, row)}
        for name, row in zip(names, probabilities, strict=True)
    ]
    text = WRITERS[writer](rows)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        Screen().print(f"{len(rows)} predictions: {out}", soft_wrap=True)


def _named(labels: list[str], row: Any) -> dict[str, float]:
    return {f"probability_{label}": round(float(value), 6) for label, value in zip(labels, row, strict=True)}
