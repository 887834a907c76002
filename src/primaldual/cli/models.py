"""``primaldual train``, ``predict`` and ``evaluate``: one saved classifier at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from primaldual.cli import options

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that train or compare wrote.")]


def train(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder to save the classifier in.")],
    attention: Annotated[str, typer.Option("--attention", "-a", help="Attention spec.")] = "softmax",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
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
    """Train one classifier on the train part of a data set and save it.

    Examples:
    $ primaldual train JapaneseVowels --attention bn+sh --out models/vowels
    $ primaldual train my_series.csv --out models/mine --epochs 50 --heads 8
    """
    from rich.console import Console

    from primaldual.cli.progress import GridProgress
    from primaldual.cli.saving import check_model_folder
    from primaldual.data import load
    from primaldual.errors import DataError
    from primaldual.experiments.grid import Epoch
    from primaldual.experiments.settings import Run, attention_classifier

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
    run = Run(options.canonical_specs([attention])[0], seed)
    check_model_folder(out)
    part = load(data, "train", data_dir)
    if part.y is None:
        raise DataError(f"{part.name}: has no labels; training needs them")
    classifier: Any = attention_classifier(run, given, lambda entry: progress(Epoch(run, entry)))
    with GridProgress(Console(stderr=True), 1, classifier.epochs) as progress:
        classifier.fit(part.X, part.y)
    classifier.save(out)
    best = classifier.history_[classifier.best_epoch_ - 1]
    found = {
        "data": part.name,
        "attention": run.attention,
        "seed": seed,
        "epochs": len(classifier.history_),
        "best_epoch": classifier.best_epoch_,
        "validation_accuracy": best["validation_metric"],
        "model": str(out),
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    score = best["validation_metric"]
    validation = "" if score is None else f", validation accuracy {score:.3f}"
    print(f"{run.attention}: kept epoch {found['best_epoch']} of {found['epochs']}{validation}")
    print(f"Saved: {out}")


def predict(
    model: Model,
    data: options.Data,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv or .json file; standard output without it.", show_default=False),
    ] = None,
    split: options.Split = None,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Predict the class of every series, with probabilities. Labels are not needed and not used.

    Examples:
    $ primaldual predict models/vowels JapaneseVowels --out predictions.csv
    $ primaldual predict models/mine new_series.csv --json
    """
    from primaldual.cli.saving import WRITERS, check_target
    from primaldual.experiments.inspection.classifiers import classifier_and_data
    from primaldual.reporting.files import write_text

    writer = check_target(out, as_json)
    classifier, part = classifier_and_data(model, data, split, data_dir)
    probabilities = classifier.predict_proba(part.X)
    labels = [str(label) for label in classifier.classes_]
    rows = [
        {"case": case, "predicted": labels[int(row.argmax())], **_named(labels, row)}
        for case, row in enumerate(probabilities)
    ]
    text = WRITERS[writer](rows)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"{len(rows)} predictions: {out}")


def evaluate(
    model: Model,
    data: options.Data,
    split: options.Split = None,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Accuracy, balanced accuracy and confusion matrix of a saved classifier.

    Examples:
    $ primaldual evaluate models/vowels JapaneseVowels
    $ primaldual evaluate runs/demo/models/bn-seed0 JapaneseVowels --json
    """
    import numpy as np
    from rich.console import Console

    from primaldual.cli.confusion import confusion, confusion_view
    from primaldual.errors import DataError
    from primaldual.experiments.inspection.classifiers import classifier_and_data
    from primaldual.experiments.results import accuracies

    classifier, part = classifier_and_data(model, data, split, data_dir)
    if part.y is None:
        raise DataError(f"{part.name}: has no labels; evaluating needs them")
    predicted = np.asarray(classifier.predict(part.X)).astype(str)
    accuracy, balanced = accuracies(part.y, predicted)
    labels, counts = confusion(part.y, predicted)
    if as_json:
        found = {"data": part.name, "cases": len(part.y), "accuracy": accuracy, "balanced_accuracy": balanced}
        print(json.dumps({**found, "labels": labels, "confusion": counts.tolist()}, indent=2))
        return
    print(f"{part.name}: {len(part.y)} cases")
    print(f"accuracy           {accuracy:.4f}")
    print(f"balanced accuracy  {balanced:.4f}")
    screen = Console()
    screen.print(confusion_view(labels, counts, screen.width))


def _named(labels: list[str], row: Any) -> dict[str, float]:
    return {f"probability_{label}": round(float(value), 6) for label, value in zip(labels, row, strict=True)}
