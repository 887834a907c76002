"""``primaldual predict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primaldual.cli import options
from primaldual.errors import ArgumentError

if TYPE_CHECKING:
    from primaldual.data import Reading

    Found = tuple[Sequence[str], Sequence[object], Any]
    """Classes, names of the cases, and probabilities (cases, classes)."""


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
    """Predict the class of every series or image, with probabilities. Labels are not needed and not used.

    Cases keep the names that a .csv file gives them, and are counted from 0 otherwise.
    Channels are matched by name where the model and the file have names.

    A model of primaldual train images reads a folder of images, one image file, or the
    array X of an .npz file; images are resized as they were for its test.

    Examples:
    $ primaldual predict models/vowels JapaneseVowels --out predictions.csv
    $ primaldual predict models/mine new_series.csv --json
    $ primaldual predict models/mine visits.csv --case patient --time day --channels pulse,temp
    $ primaldual predict runs/images/photos new_photos --out predictions.csv
    """
    from primaldual.cli.saving import WRITERS, check_target
    from primaldual.cli.screen import Screen
    from primaldual.experiments.saved_classifier import default_split
    from primaldual.images.classifier import holds_image_classifier
    from primaldual.reporting.files import write_text

    writer = check_target(out, as_json)
    if holds_image_classifier(model):
        given = {"split": split, "data-dir": data_dir, "case": case, "time": time}
        _refuse(given | {"label": label, "channels": channels})
        classes, names, probabilities = _of_images(model, data)
    else:
        # A file that is not split is split by its labels.
        labelled = split not in {None, "all"} and default_split(data) == "all"
        reading = options.reading(data, case, time, label, channels, labelled)
        classes, names, probabilities = _of_series(model, data, split, data_dir, reading)
    rows = [
        {"case": name, "predicted": classes[int(row.argmax())], **_named(classes, row)}
        for name, row in zip(names, probabilities, strict=True)
    ]
    text = WRITERS[writer](rows)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        Screen().print(f"{len(rows)} predictions: {out}", soft_wrap=True)


def _of_series(model: Path, data: str, split: str | None, data_dir: Path | None, reading: Reading) -> Found:
    from primaldual.experiments.saved_classifier import open_saved

    saved = open_saved(model)
    part = saved.load(data, split, data_dir, reading)
    names = range(len(part.X)) if part.case_names is None else part.case_names
    return saved.classes, names, saved.classifier.predict_proba(part.X)


def _of_images(model: Path, data: str) -> Found:
    from primaldual.images.classifier import ImageClassifier
    from primaldual.images.unlabelled import read_unlabelled

    classifier = ImageClassifier.load(model)
    names, images = read_unlabelled(data)
    return classifier.classes, names, classifier.predict_proba(images)


def _refuse(options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ArgumentError(f"{name} is for models of series; the model classifies images; got {value}")


def _named(labels: Sequence[str], row: Any) -> dict[str, float]:
    return {f"probability_{label}": round(float(value), 6) for label, value in zip(labels, row, strict=True)}
