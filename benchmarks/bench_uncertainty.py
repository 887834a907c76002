"""Uncertainty of attentions by kernel singular value decomposition, on digits and on data that are not digits.

Scikit-learn's digits as 16 patches of 2 x 2 pixels, 1000 to learn from and 797 to test on, split anew for each seed.
All models are the same transformer of two layers; "primal" and "kernel-eigen pair" replace its last attention. Nothing
is tuned and the last weights count. Other data: noise, digits upside down, digits whose patches are shuffled, and
Fashion-MNIST shrunk to 8 x 8 where its folder is given (Debian package dataset-fashion-mnist). Run:

    python -m benchmarks.bench_uncertainty --seeds 5 --out benchmarks/results/uncertainty.json
"""

import argparse
import gzip
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import primaldual as pdl
from primaldual.analysis.uncertainty import auroc, entropy, uncertainty_scores
from primaldual.nn.kernel_eigen_pair_attention import mean_probabilities
from primaldual.nn.singular_attention import collect_losses

WIDTH, HEADS, RANK, DRAWS = 32, 2, 8, 10
LAST_LAYERS = {
    "softmax": (None, 0.0),
    "primal": (pdl.PrimalAttention, 0.1),
    "primal, eta = 0": (pdl.PrimalAttention, 0.0),
    "kernel-eigen pair": (pdl.KernelEigenPairAttention, 0.1),
}
"""Each model's last attention, None = that of all others, and the weight eta of its squared objective."""
TRAINING = 1000


def patches(images: Tensor) -> Tensor:
    """(cases, 8, 8) in [0, 1] -> (cases, 16, 4)."""
    return images.unfold(1, 2, 2).unfold(2, 2, 2).reshape(len(images), 16, 4)


def fashion(folder: Path, count: int) -> Tensor:
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:count]
    return interpolate(torch.tensor(pixels / 255.0).float(), size=(8, 8), mode="area").squeeze(1)


def other_data(tests: Tensor, folder: Path | None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([image[torch.randperm(16, generator=generator)] for image in patches(tests)])
    found = {
        "noise": patches(torch.rand(tests.shape, generator=generator)),
        "upside down": patches(tests.flip(1)),
        "shuffled": shuffled,
    }
    return found if folder is None else {**found, "fashion": patches(fashion(folder, len(tests)))}


def network(name: str) -> nn.Module:
    model = pdl.TimeSeriesTransformer(
        4, 16, 10, embed_dim=WIDTH, num_heads=HEADS, num_layers=2, feedforward_dim=2 * WIDTH, dropout=0.1
    )
    kind = LAST_LAYERS[name][0]
    if kind is not None:
        model.encoder.layers[-1].attention = kind(WIDTH, HEADS, RANK)
    return model


def trained(name: str, inputs: Tensor, labels: Tensor, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model, eta = network(name), LAST_LAYERS[name][1]
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    steps = epochs * -(-len(inputs) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(64):
            with collect_losses(model) as losses:
                loss = cross_entropy(model(inputs[batch]), labels[batch])
            loss = loss + sum(layer.penalty(eta, cases=len(inputs)) for layer in losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def scores(
    predict: Callable[[Tensor], Tensor], tests: Tensor, labels: Tensor, others: dict[str, Tensor]
) -> dict[str, float]:
    known = predict(tests)
    found = asdict(uncertainty_scores(known, labels))
    return found | {
        f"auroc {name}": auroc(entropy(known), entropy(predict(data))) for name, data in others.items()
    }


def one_seed(seed: int, epochs: int, folder: Path | None, names: list[str]) -> dict[str, dict[str, float]]:
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = torch.tensor(digits.images[order] / 16).float()
    labels = torch.tensor(digits.target[order])
    training, tests = patches(images[:TRAINING]), patches(images[TRAINING:])
    others = other_data(images[TRAINING:], folder)
    found = {}
    for name in names:
        model = trained(name, training, labels[:TRAINING], epochs, seed)
        torch.manual_seed(seed)
        draws = DRAWS if name == "kernel-eigen pair" else 1

        def predict(data: Tensor, model: nn.Module = model, draws: int = draws) -> Tensor:
            return mean_probabilities(model, data, draws=draws)

        found[name] = scores(predict, tests, labels[TRAINING:], others)
        if name == "softmax":
            model.train()
            found["softmax, dropout drawn"] = scores(
                lambda data, model=model: mean_probabilities(model, data, draws=DRAWS),
                tests,
                labels[TRAINING:],
                others,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--models", nargs="+", choices=LAST_LAYERS, default=list(LAST_LAYERS))
    parser.add_argument("--fashion", type=Path, help="folder with t10k-images-idx3-ubyte.gz")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for seed in range(options.seeds):
        runs.append(one_seed(seed, options.epochs, options.fashion, options.models))
        print(f"seed {seed}", json.dumps(runs[-1]), flush=True)
        if options.out is not None:
            made = {"torch": torch.__version__, "python": platform.python_version(), "epochs": options.epochs}
            options.out.write_text(json.dumps({**made, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print("| model | " + " | ".join(next(iter(runs[0].values()))) + " |")
    for name in runs[0]:
        numbers = np.array([list(run[name].values()) for run in runs])
        means, deviations = numbers.mean(0), numbers.std(0, ddof=min(1, len(runs) - 1))
        cells = (f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in zip(means, deviations, strict=True))
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
