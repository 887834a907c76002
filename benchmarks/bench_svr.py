"""Solving the primal against scikit-learn's SVR (libsvm), as interleaved ratios of whole solves.

Both solve softmax-normalised regressions, N x D keys, many outputs. Ours starts from the keys (the kernel is
part of its time); scikit-learn gets the finished kernel, scaled as ours is inside, and fits one output after
another, or two at a time on two threads. scikit-learn runs at tol=1e-6, the worst relative duality gap of its
outputs is computed, and ours must reach the smaller of that and 1e-6. Run:

    python -m benchmarks.bench_svr --outputs 64 --rounds 3
"""

import argparse
from functools import partial

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.svm import SVR

import primaldual as pdl
from benchmarks.performance.timing import Budget, interleaved, ratio
from primaldual.kernels.support_vectors.objective import Regression, certify

EPSILON = 0.1
TOLERANCE = 1e-6


def table(length: int, features: int, outputs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys from a normal distribution, and noisy smooth functions of them."""
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    keys = draw(length, features)
    hidden = (1.5 * keys @ draw(features, 20) / features**0.5).sin()
    return keys, hidden @ draw(20, outputs) / 20**0.5 + 0.3 * draw(length, outputs)


def fit_one(kernel: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    fitted = SVR(kernel="precomputed", C=penalty, epsilon=EPSILON, tol=TOLERANCE, cache_size=2000).fit(
        kernel, target
    )
    beta = np.zeros(len(target))
    beta[fitted.support_] = fitted.dual_coef_[0]
    return beta


def fit_all(kernel: np.ndarray, targets: np.ndarray, penalty: float, jobs: int) -> np.ndarray:
    work = (delayed(fit_one)(kernel, target, penalty) for target in targets)
    return np.array(Parallel(jobs, backend="threading")(work))


def worst_gap(kernel: torch.Tensor, targets: torch.Tensor, beta: np.ndarray, penalty: float) -> float:
    """Of targets (outputs, N) by our formula, which needs no numbers of scikit-learn but beta."""
    column = torch.ones(len(targets), 1, dtype=torch.float64)
    regression = Regression(targets, penalty * column, EPSILON * column, True)
    found = torch.from_numpy(beta)
    return float(certify(regression, found, found @ kernel).relative_gap.max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--length", type=int, default=2000)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--outputs", type=int, nargs="+", default=[8, 64])
    parser.add_argument(
        "--penalties", type=float, nargs="+", default=[1, 10, 100], help="C in units of the kernel"
    )
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="threads of scikit-learn's side")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, N {arguments.length}, D {arguments.features}"
    )
    print("outputs    C  peer threads  times faster (quartiles)   gap ours   gap peer")
    for outputs in arguments.outputs:
        keys, targets = table(arguments.length, arguments.features, outputs)
        scale = pdl.kernel_scale("softmax", keys)
        logits = keys @ keys.T / arguments.features**0.5
        logits = logits - logits.logsumexp(-1, keepdim=True) - logits.logsumexp(-1)
        kernel = logits.exp() / scale
        for penalty in arguments.penalties:
            peer_gap = worst_gap(
                kernel, targets.T, fit_all(kernel.numpy(), targets.T.numpy(), penalty, 2), penalty
            )
            tolerance = min(TOLERANCE, peer_gap)
            ours = partial(pdl.solve, "softmax", keys, targets, penalty / scale, EPSILON, tolerance=tolerance)
            gap = ours().duality_gap
            if gap > tolerance:
                raise SystemExit(f"the gap {gap:.1e} is above {tolerance:.1e}: nothing is timed")
            for jobs in arguments.jobs:
                peer = partial(fit_all, kernel.numpy(), targets.T.numpy(), penalty, jobs)
                budget = Budget(0, least=arguments.rounds, most=arguments.rounds)
                seconds = interleaved({"peer": peer, "ours": ours}, budget)
                faster = ratio(seconds["peer"], seconds["ours"])
                row = f"{outputs:7} {penalty:4g} {jobs:13} {faster.median:13.2f} ({faster.lower:.2f} - {faster.upper:.2f})"
                print(f"{row}   {gap:.1e}    {peer_gap:.1e}", flush=True)


if __name__ == "__main__":
    main()
