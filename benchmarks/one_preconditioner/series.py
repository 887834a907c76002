"""The real set: AttentionClassifier at its defaults, with the official split."""

from __future__ import annotations

from pathlib import Path

from primaldual.data import load
from primaldual.estimators import AttentionClassifier

SET = "Libras"


def series_score(attention: str, seed: int, data_dir: Path | None) -> float:
    """Test accuracy, read once."""
    train, test = load(SET, "train", data_dir), load(SET, "test", data_dir)
    classifier = AttentionClassifier(attention=attention, random_state=seed).fit(train.X, train.y)
    return float(classifier.score(test.X, test.y))
