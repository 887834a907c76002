"""Compare AttentionSVR with scikit-learn's SVR and KernelRidge by nested cross-validation on three tables.

Every regressor stands in the same pipeline: features and targets are standardised by the training folds, and its
parameters are chosen by a grid search within the training folds. Grids are alike: the same penalties, the same
widths of the tube, and the same widths of the kernel (softmax's exponent is matched to that of the Gaussian
kernel: gamma x.y / sqrt(D) with gamma = 2 g / sqrt(D), against -g |x - y|^2 / D). The linear attention is searched
over g too; bn standardises its keys itself, so g does nothing there and is left out.

    python examples/attention_svr.py --out attention_svr.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from primaldual import AttentionSVR
from primaldual.data import Table, load_table

TABLES = ("diabetes", "linnerud", "Covid3Month")
PENALTIES = (0.01, 0.1, 1.0, 10.0)
TUBES = (0.05, 0.2, 0.5)
WIDTHS = (0.03, 0.1, 0.3, 1.0)
INNER_FOLDS = 4


def competitors(features: int) -> dict[str, tuple[Any, dict[str, Sequence[float]]]]:
    """Regressor and grid by name; penalties of ridge regression are 1 / (2 C)."""
    attention = {"C": PENALTIES, "epsilon": TUBES}
    exponents = [2 * width / features**0.5 for width in WIDTHS]

    def ours(spec: str) -> AttentionSVR:
        return AttentionSVR(spec, standardize=False, tolerance=1e-4)

    return {
        "AttentionSVR softmax": (ours("softmax"), {**attention, "gamma": exponents}),
        "AttentionSVR linear": (ours("linear"), {**attention, "gamma": exponents}),
        "AttentionSVR bn": (ours("bn"), attention),
        "SVR rbf": (
            MultiOutputRegressor(SVR()),
            {
                "estimator__C": PENALTIES,
                "estimator__epsilon": TUBES,
                "estimator__gamma": [width / features for width in WIDTHS],
            },
        ),
        "KernelRidge rbf": (
            KernelRidge(kernel="rbf"),
            {
                "alpha": [0.5 / penalty for penalty in PENALTIES],
                "gamma": [width / features for width in WIDTHS],
            },
        ),
        "mean of the targets": (DummyRegressor(), {}),
    }


def search(regressor: Any, grid: dict[str, Sequence[float]], seed: int) -> GridSearchCV:
    """The pipeline that every regressor stands in, and its search within the training folds."""
    pipeline = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), regressor), transformer=StandardScaler(), check_inverse=False
    )
    prefix = f"regressor__{type(regressor).__name__.lower()}__"
    folds = KFold(INNER_FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(
        pipeline,
        {prefix + name: values for name, values in grid.items()},
        scoring="neg_mean_squared_error",
        cv=folds,
        error_score="raise",
    )


def measure(table: Table, repeats: int, folds: int) -> dict[str, dict[str, Any]]:
    """R^2 and RMSE of every regressor in every outer fold, means over the targets; and what was chosen."""
    outer = RepeatedKFold(n_splits=folds, n_repeats=repeats, random_state=0)
    rows: dict[str, dict[str, Any]] = {}
    goals = table.Y
    for name, (regressor, grid) in competitors(table.X.shape[1]).items():
        found: dict[str, Any] = {"r2": [], "rmse": [], "chosen": [], "seconds": 0.0}
        start = time.perf_counter()
        for place, (train, test) in enumerate(outer.split(table.X)):
            show(f"{table.name}: {name}, fold {place + 1} of {repeats * folds}")
            chosen = search(regressor, grid, place).fit(table.X[train], goals[train])
            predicted = np.asarray(chosen.predict(table.X[test])).reshape(goals[test].shape)
            found["r2"].append(float(r2_score(goals[test], predicted)))
            found["rmse"].append(float(root_mean_squared_error(goals[test], predicted)))
            found["chosen"].append({key.split("__")[-1]: value for key, value in chosen.best_params_.items()})
        found["seconds"] = time.perf_counter() - start
        rows[name] = found
        show("")
        print(line(name, found), flush=True)
    return rows


def show(words: str) -> None:
    """One line on the terminal that the next replaces; nothing without a terminal."""
    if sys.stderr.isatty():
        print(f"\r{words:70}\r", end="", file=sys.stderr, flush=True)


def line(name: str, found: dict[str, Any]) -> str:
    """Means and deviations over the outer folds."""
    return (
        f"{name:22s} R2 {np.mean(found['r2']):6.3f} ± {np.std(found['r2'], ddof=1):5.3f}   "
        f"RMSE {np.mean(found['rmse']):8.4g} ± {np.std(found['rmse'], ddof=1):7.3g}   {found['seconds']:6.1f} s"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, a line per regressor, and write the numbers of all folds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"default: {' '.join(TABLES)}; or a .csv file"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of the outer folds (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="outer folds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one repeat of two folds, to see that it runs")
    parser.add_argument("--out", type=Path, help="where to write all numbers, a JSON file")
    options = parser.parse_args(arguments)
    repeats, folds = (1, 2) if options.quick else (options.repeats, options.folds)
    if repeats < 1 or folds < 2:
        parser.error("--repeats must be at least 1 and --folds at least 2")
    if options.out and not options.out.parent.is_dir():
        parser.error(f"--out must lie in a folder that exists; got {options.out}")
    torch.set_num_threads(1)  # the problems are small
    warnings.simplefilter("error")  # a regressor that stopped early or a fold that failed is not to go unseen

    results = {}
    for source in options.tables or TABLES:
        table = load_table(source)
        cases, features = table.X.shape
        print(
            f"\n{table.name}: {cases} cases, {features} features, {table.Y.shape[1]} targets; "
            f"{repeats} x {folds} outer folds, {INNER_FOLDS} inner folds"
        )
        results[table.name] = measure(table, repeats, folds)
    if options.out:
        protocol = {"repeats": repeats, "folds": folds, "inner_folds": INNER_FOLDS,
                    "penalties": PENALTIES, "tubes": TUBES, "widths": WIDTHS}  # fmt: skip
        options.out.write_text(json.dumps({"protocol": protocol, "tables": results}, indent=1) + "\n")
        print(f"\nnumbers: {options.out}")


if __name__ == "__main__":
    main()
