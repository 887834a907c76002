"""What each ingredient of `AttentionRidgeClassifier` adds, by cross-validation inside the training parts.

Four stratified folds of each training part, twice where it is small; of sets of more than 1000 cases one split with 1000
for training. Test parts are not read. Run:

    OMP_NUM_THREADS=1 python -m benchmarks.bench_classifier_validation --data-dir FOLDER
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from benchmarks.bench_classifiers import MORE, NINE, write
from primaldual.data import load
from primaldual.estimators import AttentionRidgeClassifier

OUT = Path(__file__).parent / "results" / "classifier_validation_runs.json"
MANY, SMALL = 1000, 150
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "ridge only": {"attentions": "taylor(1)+constant"},
    "softmax(scale=2.0) only": {"attentions": "softmax(scale=2.0)"},
    "softmax(scale=1.0) only": {"attentions": "softmax(scale=1.0)"},
    "500 kernels": {"num_kernels": 500},
    "6000 kernels": {"num_kernels": 6000},
}


def splits(y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    if len(y) > MANY:
        return list(StratifiedShuffleSplit(1, train_size=MANY, random_state=0).split(y, y))
    repeats = 2 if len(y) <= SMALL else 1
    folds = min(4, max(2, int(np.unique(y, return_counts=True)[1].min())))
    return [
        pair
        for seed in range(repeats)
        for pair in StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--sets", nargs="+", default=[*NINE, *MORE])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    for name in arguments.sets:
        folder = arguments.data_dir
        part = load(name, "train", folder if folder is not None and (folder / name).is_dir() else None)
        X, y = list(part.X), np.asarray(part.y)
        for variant in arguments.variants:
            key = f"{name}|{variant}"
            if key in results:
                continue
            found = []
            for seed, (training, validation) in enumerate(splits(y)):
                classifier = AttentionRidgeClassifier(random_state=seed, **VARIANTS[variant])
                classifier.fit([X[case] for case in training], y[training])
                found.append(
                    float((classifier.predict([X[case] for case in validation]) == y[validation]).mean())
                )
            results[key] = found
            write(results, arguments.out)
            print(f"{key:45} {100 * np.mean(found):.1f}", flush=True)


if __name__ == "__main__":
    main()
