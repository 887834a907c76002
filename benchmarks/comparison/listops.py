"""ListOps: short trees that are learned, and trees of full size for timings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.comparison.trial import Trial
from primaldual.models import TokenClassifier
from primaldual.sequences.configs import PYTORCH
from primaldual.sequences.run_settings import RunSettings
from primaldual.sequences.tasks import parts_of
from primaldual.sequences.token_data import TokenData
from primaldual.sequences.token_sets import TokenSet, Whole
from primaldual.training import Classification, TrainingSettings
from primaldual.training.randomness import derive_seed

SHORT, FULL = 64, 2000
"""Most tokens of a tree; Long Range Arena has those of 500 to 2000."""
CASES, STEPS, BATCH, FULL_BATCH, HEADS = 8_000, 250, 16, 2, 4
VALIDATED = 500
"""Trees that choose the epoch."""


def short(attention: str, seed: int, rate: float, folder: Path) -> Trial:
    """Trees of at most `SHORT` tokens; the same for every seed."""
    return _trial(
        RunSettings("listops", attention, max_length=SHORT, cases=CASES, data_dir=folder), seed, rate, BATCH
    )


def full(attention: str, seed: int, rate: float, folder: Path) -> Trial:
    """Trees as Long Range Arena has them; for timings."""
    return _trial(
        RunSettings("listops", attention, max_length=FULL, cases=4000, data_dir=folder),
        seed,
        rate,
        FULL_BATCH,
    )


def known_without_nesting(folder: Path) -> dict[str, float]:
    """Test accuracy of the most frequent class, and of the class that is most frequent for the first word of a tree."""
    parts = parts_of(RunSettings("listops", max_length=SHORT, cases=CASES, data_dir=folder))
    labels, tested = parts.training.labels, parts.test.labels
    first, asked = _first_words(parts.training), _first_words(parts.test)
    likeliest = np.array(
        [np.bincount(labels[first == word], minlength=1).argmax() for word in range(first.max() + 1)]
    )
    return {
        "class": round(float((tested == np.bincount(labels).argmax()).mean()), 5),
        "first word": round(float((tested == likeliest[asked]).mean()), 5),
    }


def _first_words(cases: TokenSet) -> Whole:
    return cases.tokens[cases.bounds[:, 0, 0]].astype(np.int64)


def _trial(settings: RunSettings, seed: int, rate: float, batch: int) -> Trial:
    parts = parts_of(settings)
    assert parts.validation is not None
    assert settings.max_length is not None
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(derive_seed(seed, 1))
        model = TokenClassifier(
            parts.training.vocabulary,
            settings.max_length,
            len(parts.training.classes),
            embed_dim=32,
            num_heads=HEADS,
            num_layers=PYTORCH.num_layers,
            feedforward_dim=64,
            attention=settings.attention,
        )
    training = TrainingSettings(
        epochs=-(-STEPS * batch // len(parts.training)),
        steps=STEPS,
        batch_size=batch,
        learning_rate=rate,
        optimizer="adamw_matrices",
        warmup_steps=STEPS // 10,
        seed=seed,
    )
    validation = parts.validation.part(np.arange(VALIDATED))
    data = map(TokenData, (parts.training, validation, parts.test))
    return Trial(model, Classification(), training, *data)
