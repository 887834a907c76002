"""``primaldual evaluate``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from primaldual.cli import options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = dict[str, tuple[int, float, float]]


def evaluate(
    model: options.Model,
    data: options.Data,
    split: options.Split = None,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
    case: options.CaseColumn = None,
    time: options.TimeColumn = None,
    label: options.LabelColumn = None,
    channels: options.Channels = None,
) -> None:
    """Accuracy, balanced accuracy and confusion matrix of a saved classifier.

    Cases that the classifier was trained on are counted apart:
    only the others tell how it does on new series.

    Examples:
    $ primaldual evaluate models/vowels JapaneseVowels
    $ primaldual evaluate models/mine my_series.csv --split test
    $ primaldual evaluate runs/demo/models/bn-seed0 JapaneseVowels --json
    """
    import numpy as np

    from primaldual.cli.confusion import confusion, confusion_view
    from primaldual.cli.screen import Screen
    from primaldual.cli.tables import table_of
    from primaldual.data.loading import check_testable
    from primaldual.experiments.saved_classifier import open_saved

    saved = open_saved(model)
    part = saved.load(data, split, data_dir, options.reading(data, case, time, label, channels))
    check_testable(part, saved.classes)
    part = part.spelled(saved.classes)
    assert part.y is not None
    predicted = np.asarray(saved.classifier.predict(part.X)).astype(str)
    seen = None if saved.record is None else saved.record.seen(part)
    scores = _scores(part.y, predicted, seen)
    labels, counts = confusion(part.y, predicted)
    if as_json:
        print(
            json.dumps(
                _facts(part.name, scores, seen) | {"labels": labels, "confusion": counts.tolist()}, indent=2
            )
        )
        return
    screen = Screen()
    screen.print(f"{part.name}: {len(part.y)} cases{_origin(seen)}")
    rows = [
        [name, str(count), f"{plain:.4f}", f"{fair:.4f}"] for name, (count, plain, fair) in scores.items()
    ]
    screen.print(table_of("", ["cases", "count", "accuracy", "balanced accuracy"], rows))
    screen.print(confusion_view(labels, counts, screen.width))


def _scores(truth: NDArray[np.str_], predicted: NDArray[np.str_], seen: NDArray[np.bool_] | None) -> Scores:
    """Number of cases, accuracy and balanced accuracy; of unseen and seen cases apart where there are both."""
    from primaldual.experiments.execution import accuracies

    found = {"all": (len(truth), *accuracies(truth, predicted))}
    if seen is not None and 0 < seen.sum() < len(seen):
        for name, chosen in (("not seen in training", ~seen), ("seen in training", seen)):
            found[name] = (int(chosen.sum()), *accuracies(truth[chosen], predicted[chosen]))
    return found


def _origin(seen: NDArray[np.bool_] | None) -> str:
    if seen is None:
        return "; which of them were trained on is not known"
    if seen.all():
        return ", all seen in training: this says little about new series"
    return f", {seen.sum()} of them seen in training" if seen.any() else ", none seen in training"


def _facts(name: str, scores: Scores, seen: NDArray[np.bool_] | None) -> dict[str, Any]:
    count, accuracy, balanced = scores["all"]
    facts: dict[str, Any] = {
        "data": name,
        "cases": count,
        "seen_in_training": None if seen is None else int(seen.sum()),
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
    }
    for ending in ("not seen in training", "seen in training"):
        if ending in scores:
            word = "unseen" if ending.startswith("not") else "seen"
            facts[f"accuracy_{word}"], facts[f"balanced_accuracy_{word}"] = scores[ending][1:]
    return facts
