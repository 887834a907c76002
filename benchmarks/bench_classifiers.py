"""Test accuracy and CPU time of our classifiers beside aeon's, on official splits; every cell is kept and resumed.

The test part of a set is read once per cell. Series of unequal length are padded with zeros at the end for peers that
need equal lengths, and series shorter than ten steps for MultiRocketHydra, as aeon asks. One thread for everybody;
times are CPU seconds of the process. Run, then write the page:

    OMP_NUM_THREADS=1 python -m benchmarks.bench_classifiers --data-dir FOLDER
    OMP_NUM_THREADS=1 python -m benchmarks.bench_classifiers --data-dir FOLDER --timing 3
    python -m benchmarks.classifier_page
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aeon.classification.convolution_based import MultiRocketHydraClassifier
from aeon.classification.interval_based import QUANTClassifier
from threadpoolctl import threadpool_limits

from primaldual.data import load
from primaldual.reporting.files import replacing

RESULTS = Path(__file__).parent / "results" / "classifiers.json"
LEAST_LENGTH = 10
NINE = (
    "ERing",
    "Libras",
    "BasicMotions",
    "JapaneseVowels",
    "AtrialFibrillation",
    "Epilepsy",
    "Handwriting",
    "StandWalkJump",
    "PenDigits",
)
MORE = ("ArrowHead", "GunPoint", "ItalyPowerDemand", "PickupGestureWiimoteZ", "OSULeaf", "ACSF1")


def ours(**parameters: Any) -> Callable[[int], Any]:
    from primaldual.estimators import AttentionRidgeClassifier

    return lambda seed: AttentionRidgeClassifier(random_state=seed, **parameters)


METHODS: dict[str, Callable[[int], Any]] = {
    "MultiRocketHydra": lambda seed: MultiRocketHydraClassifier(random_state=seed),
    "QUANT": lambda seed: QUANTClassifier(random_state=seed),
    "AttentionRidge": ours(),
}


def padded(series: list[np.ndarray], length: int) -> np.ndarray:
    """(cases, channels, length), zeros at the end."""
    return np.stack([np.pad(one[:, :length], ((0, 0), (0, max(0, length - one.shape[1])))) for one in series])


def cell(method: str, seed: int, train: Any, test: Any) -> dict[str, float]:
    X, X_test = list(train.X), list(test.X)
    if method in ("MultiRocketHydra", "QUANT"):
        length = max(LEAST_LENGTH, *(one.shape[1] for one in X))
        X, X_test = padded(X, length), padded(X_test, length)
    classifier = METHODS[method](seed)
    torch.set_num_threads(1)  # peers change it
    start = time.process_time()
    classifier.fit(X, np.asarray(train.y))
    fitted = time.process_time()
    found = classifier.predict(X_test)
    done = time.process_time()
    accuracy = float((found == np.asarray(test.y)).mean())
    return {
        "accuracy": accuracy,
        "fit_seconds": fitted - start,
        "predict_seconds": done - fitted,
        "test_cases": len(X_test),
    }


def timing(methods: list[str], rounds: int, train: Any, test: Any) -> dict[str, dict[str, float]]:
    """The least CPU seconds of interleaved rounds."""
    found = [{method: cell(method, seed, train, test) for method in methods} for seed in range(rounds)]
    return {
        method: {
            key: min(one[method][key] for one in found)
            for key in ("fit_seconds", "predict_seconds", "test_cases")
        }
        for method in methods
    }


def warm_up() -> None:
    """Numba compiles on the first call, which belongs to no cell."""
    X = np.random.default_rng(0).normal(size=(8, 2, 20))
    for method in METHODS.values():
        method(0).fit(X, np.arange(8) % 2).predict(X)


def write(results: dict[str, Any], path: Path) -> None:
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="folder with NAME/NAME_TRAIN.ts; others come from aeon")
    parser.add_argument("--sets", nargs="+", default=[*NINE, *MORE])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="repeat cells that are there")
    parser.add_argument("--timing", type=int, default=0, metavar="ROUNDS", help="only time, method by method")
    arguments = parser.parse_args()
    threadpool_limits(1)
    warm_up()
    results = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    for name in arguments.sets:
        folder = arguments.data_dir
        here = folder if folder is not None and (folder / name).is_dir() else None
        train, test = (load(name, split, here) for split in ("train", "test"))
        if arguments.timing:
            times = results.setdefault("timing", {}).setdefault(name, {})
            times.update(timing(arguments.methods, arguments.timing, train, test))
            write(results, arguments.out)
            print(
                name, {method: round(found["fit_seconds"], 2) for method, found in times.items()}, flush=True
            )
            continue
        for seed in arguments.seeds:
            for method in arguments.methods:
                key = f"{name}|{method}|{seed}"
                if key in results and not arguments.again:
                    continue
                results[key] = cell(method, seed, train, test)
                write(results, arguments.out)
                print(
                    f"{key:45} {results[key]['accuracy']:.4f} {results[key]['fit_seconds']:8.2f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
