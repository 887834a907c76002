"""Results without runs."""

from __future__ import annotations

from primaldual.experiments.store import Result

PROTOCOL = {"name": "honest", "search": "none"}


def result(data, method, seed, accuracy, protocol="honest", **changes):
    config = {
        "data": data, "method": method, "seed": seed, "estimator": "AttentionClassifier", "sentence": "It guesses.",
        "parameters": {"epochs": 3}, "threads": 1, "protocol": {**PROTOCOL, "name": protocol}, "code": "some",
    }  # fmt: skip
    wrong = round((1 - accuracy) * 100)
    given = {
        "accuracy": accuracy, "balanced_accuracy": accuracy, "seconds": 2.0, "cpu_seconds": 1.5,
        "predict_seconds": 0.5, "best_epoch": 2, "history": [], "labels": ["a", "b"],
        "confusion": [[50 - wrong // 2, wrong // 2], [wrong - wrong // 2, 50 - wrong + wrong // 2]],
        "wrong": list(range(wrong)), "key": f"{data}-{method}-{seed}".encode().hex(),
    }  # fmt: skip
    return Result(**{**given, **changes}, data=data, method=method, seed=seed, config=config)
