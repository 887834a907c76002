import numpy as np

from primaldual.estimators import AttentionClassifier, AttentionRegressor

TINY = {
    "embed_dim": 8,
    "num_heads": 2,
    "num_layers": 1,
    "feedforward_dim": 8,
    "epochs": 3,
    "batch_size": 8,
    "random_state": 0,
}


def series(cases=24, channels=2, length=10, seed=0):
    return np.random.default_rng(seed).normal(size=(cases, channels, length))


def ragged(cases=24, channels=2, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(channels, generator.integers(4, 12))) for _ in range(cases)]


def labels(cases=24):
    return np.array(["left", "right", "up"])[np.arange(cases) % 3]


def classifier(**changes):
    return AttentionClassifier(**{**TINY, **changes})


def regressor(**changes):
    return AttentionRegressor(**{**TINY, **changes})
