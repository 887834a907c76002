"""``primaldual train``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primaldual.cli import options, training_options
from primaldual.errors import ArgumentError

if TYPE_CHECKING:
    from primaldual.data import Dataset, Reading
    from primaldual.experiments.training_record import TrainingRecord


def train(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder to save the classifier in.")],
    attention: Annotated[str, typer.Option("--attention", "-a", help="Attention spec.")] = "softmax",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    test: Annotated[
        str | None,
        typer.Option(
            help="File of other cases to test the classifier on; nothing of DATA is held out then.",
            show_default=False,
        ),
    ] = None,
    no_split: Annotated[
        bool, typer.Option("--no-split", help="Train on every case of a file; hold none out.")
    ] = False,
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
    head: training_options.Head = None,
    embedding: training_options.Embedding = None,
    augmentation: training_options.Augmentation = None,
    class_weight: training_options.ClassWeight = None,
    label_smoothing: training_options.LabelSmoothing = None,
) -> None:
    """Train one classifier of series on the train part of a data set and save it.

    A file that is not split gives 30 % of every class to its test part,
    the same cases every time; primaldual evaluate with --split test reads them.
    Ctrl-C stops and saves the best epoch so far.
    Other data has commands of its own: train images, train lra (long sequences and
    folders of texts) and train text (a language model).

    Examples:
    $ primaldual train JapaneseVowels --attention bn+sh --out models/vowels
    $ primaldual train my_series.csv --out models/mine --epochs 50 --heads 8
    $ primaldual train monday.csv --test tuesday.csv --out models/mine
    $ primaldual train rare.csv --class-weight balanced --head mean --out models/rare
    $ primaldual train images --help
    $ primaldual train lra --help
    $ primaldual train text --help
    $ primaldual train visits.csv --case patient --time day --label illness --out models/mine
    """
    from primaldual.cli.progress import GridProgress
    from primaldual.cli.saving import check_model_folder, save_classifier
    from primaldual.cli.screen import Screen
    from primaldual.data.loading import check_trainable, load_parts
    from primaldual.experiments.methods import AttentionMethod
    from primaldual.experiments.methods.epochs import EpochReport
    from primaldual.experiments.places import Epoch
    from primaldual.experiments.training_record import TrainingRecord

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
        head=head,
        embedding=embedding,
        augmentation=augmentation,
        class_weight=None if class_weight is None else training_options.class_weights(class_weight),
        label_smoothing=label_smoothing,
    )
    method = AttentionMethod(options.one_spec(attention), given)
    check_model_folder(out)
    reading = options.reading(data, case, time, label, channels)
    parts = load_parts(data, data_dir, reading)
    if no_split and parts.is_split:
        raise ArgumentError(f"no_split is for a file that is not split; {data} has a train part of its own")
    part = parts.training(hold_out=not no_split and test is None)
    check_trainable(part)
    other = (
        None
        if test is None
        else _other(test, data_dir, options.reading(test, case, time, label, channels), part)
    )
    held_out = 0 if parts.is_split else len(parts.whole().X) - len(part.X)
    found = {"data": part.name, "train_cases": len(part.X), "held_out_cases": held_out}
    notes = Screen(stderr=True)
    notes.print(f"{part.name}: training on {_cases(part, parts.is_split, held_out)}")
    title = f"{method.label}, seed {seed}"
    classifier = method.build(seed, 1)
    with GridProgress(notes, 1, classifier.epochs) as progress:
        report = EpochReport(lambda entry: progress(Epoch(title, title, entry)))
        interrupted = _fit_or_stop(classifier.set_params(callbacks=[report]), part)
    save_classifier(classifier, out)
    record = TrainingRecord.of(part, reading)
    record.write(out)
    score = classifier.history_[classifier.best_epoch_ - 1]["validation_metric"]
    found |= {
        "attention": method.label,
        "seed": seed,
        "epochs": len(classifier.history_),
        "best_epoch": classifier.best_epoch_,
        "validation_accuracy": score,
        "interrupted": interrupted,
    }
    tested = other if not interrupted else None
    found |= {} if tested is None else _tested(classifier, tested, record)
    found |= {"model": str(out)}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _tell(found, tested, data if held_out else None)
    if interrupted:
        raise KeyboardInterrupt


def _fit_or_stop(classifier: Any, part: Dataset) -> bool:
    """Train; whether Ctrl-C ended it after an epoch was finished, before which nothing is worth keeping."""
    try:
        classifier.fit(part.X, part.y)
    except KeyboardInterrupt:
        if not classifier.is_fitted:
            raise
        return True
    return False


def _tell(found: dict[str, Any], other: Dataset | None, held_out: str | None) -> None:
    from primaldual.cli.screen import Screen

    screen, score = Screen(), found["validation_accuracy"]
    validation = "" if score is None else f", validation accuracy {score:.3f}"
    screen.print(f"{found['attention']}: kept epoch {found['best_epoch']} of {found['epochs']}{validation}")
    if other is not None:
        seen = found["test_seen_in_training"]
        also = f", {seen} of them trained on" if seen else ""
        screen.print(
            f"{other.name}: test accuracy {found['test_accuracy']:.3f} on {len(other.X)} cases{also}"
        )
    screen.print(f"Saved: {found['model']}", soft_wrap=True)
    if held_out is not None:
        command = shlex.join(["primaldual", "evaluate", found["model"], held_out, "--split", "test"])
        screen.print(f"Test it on the cases that were held out: {command}", soft_wrap=True)


def _cases(part: Dataset, is_split: bool, held_out: int) -> str:
    count = len(part.X)
    if is_split:
        return f"the {count} cases of its train part"
    if held_out:
        return (
            f"{count} of {count + held_out} cases; {held_out} are held out for evaluate --split test "
            "(--no-split trains on all)"
        )
    return f"all {count} cases"


def _other(test: str, data_dir: Path | None, reading: Reading, train_part: Dataset) -> Dataset:
    """The cases of another source, in the form of the training part."""
    from primaldual.data import load
    from primaldual.data.loading import check_testable
    from primaldual.experiments.saved_classifier import default_split

    part = load(test, default_split(test), data_dir, reading).spelled(train_part.class_names)
    if train_part.channel_names is not None:
        part = part.with_channels(train_part.channel_names)
    channels, expected = part.X[0].shape[0], train_part.X[0].shape[0]
    if channels != expected:
        raise ArgumentError(f"test {test} has {channels} channels; {train_part.name} has {expected}")
    check_testable(part, train_part.class_names)
    return part


def _tested(classifier: Any, part: Dataset, record: TrainingRecord) -> dict[str, Any]:
    import numpy as np

    from primaldual.experiments.execution import accuracies

    assert part.y is not None
    accuracy, balanced = accuracies(part.y, np.asarray(classifier.predict(part.X)))
    return {
        "test_data": part.name,
        "test_cases": len(part.X),
        "test_seen_in_training": int(record.seen(part).sum()),
        "test_accuracy": accuracy,
        "test_balanced_accuracy": balanced,
    }
