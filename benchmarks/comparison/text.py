"""Tiny Shakespeare, character by character, for a small causal decoder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from benchmarks.comparison.trial import Trial
from primaldual.language import read_corpus
from primaldual.language.corpus import Corpus
from primaldual.language.next_token import NextToken
from primaldual.language.token_windows import TokenWindows
from primaldual.models import Decoder
from primaldual.training import TrainingSettings
from primaldual.training.randomness import derive_seed

CONTEXT, WIDTH, LAYERS, HEADS, STEPS, BATCH = 128, 32, 2, 4, 300, 4
FILE = "tinyshakespeare.txt"


def shakespeare(attention: str, seed: int, rate: float, folder: Path) -> Trial:
    """A decoder that predicts the next character; text and parts are the same for every seed."""
    corpus = _corpus(folder / FILE)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(derive_seed(seed, 1))
        model = Decoder(corpus.alphabet.size, CONTEXT, WIDTH, HEADS, LAYERS, attention=attention)
    training = TokenWindows(corpus.training, CONTEXT, shifted=True)
    settings = TrainingSettings(
        epochs=-(-STEPS * BATCH // len(training)),
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=rate,
        weight_decay=0.1,
        optimizer="adamw_matrices",
        warmup_steps=STEPS // 10,
        seed=seed,
    )
    held_out = TokenWindows(corpus.validation, CONTEXT), TokenWindows(corpus.test, CONTEXT)
    return Trial(model, NextToken(), settings, training, *held_out)


@cache
def _corpus(path: Path) -> Corpus:
    return read_corpus(path, "characters", 0.05, 0.05)
