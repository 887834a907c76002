"""Treatment effects of many simulated data sets by balancing weights, exact and from one model for all sets.

Every set has its own assignment of treatment, outcomes and effects, drawn at random; treatment and outcomes depend on the
same covariates. The truth is the mean effect over the units of the set. The model is trained on sets without outcomes
and then weighs sets that it has not seen ("zero-shot"); nothing is tuned on them. Run:

    python -m benchmarks.bench_causal_effects --seeds 3 --out benchmarks/results/causal_effects.json
"""

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import Tensor

import primaldual as pdl

FEATURES = 5


@dataclass
class Sets:
    """covariates (sets, N, features), chances, treatment, outcomes and effects (sets, N)."""

    covariates: Tensor
    chances: Tensor
    treatment: Tensor
    outcomes: Tensor
    effects: Tensor


def simulated(count: int, size: int, strength: float, generator: torch.Generator) -> Sets:
    """``strength`` says how much the covariates decide about treatment."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    covariates = normal(count, size, FEATURES)

    def linear() -> Tensor:
        direction = normal(count, FEATURES, 1)
        return (covariates @ (direction / direction.norm(dim=1, keepdim=True))).squeeze(-1)

    cause = linear()
    chances = (strength * (cause + 0.5 * linear().sin())).sigmoid()
    treatment = torch.rand(count, size, generator=generator, dtype=torch.float64) < chances
    treatment[:, 0], treatment[:, 1] = True, False  # one unit of each arm at least
    effects = 1 + 0.5 * linear()
    base = 2 * cause + linear() + (2 * linear()).sin()
    outcomes = base + effects * treatment + 0.3 * normal(count, size)
    return Sets(covariates, chances, treatment, outcomes, effects)


LOSSES: dict[str, Callable[[pdl.BalancingWeights], Tensor]] = {
    "by the penalised hinge": lambda found: found.objective.mean(),
    "by the gap": lambda found: found.gap.mean(),
}


def trained(C: float, name: str, steps: int, seed: int) -> pdl.CausalAttention:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    model = pdl.CausalAttention(FEATURES, C)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        sets = simulated(16, 64, 1.0, generator)
        loss = LOSSES[name](model(sets.covariates.float(), sets.treatment))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def weighted(weights: Tensor, sets: Sets) -> Tensor:
    zero = weights.new_zeros(len(weights))
    return pdl.BalancingWeights(weights, sets.treatment, zero, zero).effect(sets.outcomes)


def regression(sets: Sets) -> Tensor:
    """Least squares on the covariates in each arm, the difference of both averaged over all units."""
    found = []
    ones = torch.ones_like(sets.outcomes).unsqueeze(-1)
    designs = torch.cat([ones, sets.covariates], -1)
    for design, treated, outcome in zip(designs, sets.treatment, sets.outcomes, strict=True):
        fits = [
            design @ torch.linalg.pinv(design[arm]) @ outcome[arm].unsqueeze(-1)
            for arm in (treated, ~treated)
        ]
        found.append((fits[0] - fits[1]).mean())
    return torch.stack(found)


def exact(sets: Sets, C: float) -> pdl.BalancingWeights:
    found = pdl.balancing_weights(sets.covariates.unsqueeze(1), sets.treatment.unsqueeze(1), C)
    parts = (part.squeeze(1) for part in (found.weights, found.treatment, found.objective, found.gap))
    return pdl.BalancingWeights(*parts)


@torch.no_grad()
def estimates(sets: Sets, C: float, models: dict[str, pdl.CausalAttention]) -> dict[str, dict[str, float]]:
    inverse = torch.where(sets.treatment, 1 / sets.chances, 1 / (1 - sets.chances))
    truth = sets.effects.mean(-1)
    start = process_time()
    best = exact(sets, C)
    seconds = process_time() - start
    found = {
        "difference of means": errors(weighted(torch.ones_like(sets.outcomes), sets), truth),
        "inverse of the true chances": errors(weighted(inverse, sets), truth),
        "least squares in each arm": errors(regression(sets), truth),
        f"exact weights, C = {C / 10:g}": errors(exact(sets, C / 10).effect(sets.outcomes), truth),
        f"exact weights, C = {C:g}": errors(best.effect(sets.outcomes), truth),
    }
    for name, model in models.items():
        start = process_time()
        quick = model(sets.covariates.float(), sets.treatment)
        ratio = seconds / (process_time() - start)
        weights = quick.weights.double()
        excess = quick.objective.double() / best.objective - 1
        found[f"zero-shot weights, trained {name}"] = errors(weighted(weights, sets), truth) | {
            "objective above the exact one": float(excess.mean()),
            "dual below the exact one": float(1 - ((quick.objective - quick.gap) / best.objective).mean()),
            "largest imbalance": float(quick.imbalance.max()),
            "correlation of weights": correlation(weights, best.weights),
            "exact time over zero-shot time": ratio,
        }
    return found


def errors(effect: Tensor, truth: Tensor) -> dict[str, float]:
    error = effect - truth
    return {"mean absolute error": float(error.abs().mean()), "mean error": float(error.mean())}


def correlation(first: Tensor, second: Tensor) -> float:
    """Mean over sets of the correlation over units."""
    return float(
        np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first.numpy(), second.numpy(), strict=True)])
    )


SETTINGS = {"as in training": (64, 1.0), "128 units": (128, 1.0), "twice the confounding": (64, 2.0)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--C", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for seed in range(options.seeds):
        models = {name: trained(options.C, name, options.steps, seed) for name in options.losses}
        run = {}
        for number, (name, (size, strength)) in enumerate(SETTINGS.items()):
            generator = torch.Generator().manual_seed(100 * seed + number)
            run[name] = estimates(simulated(options.sets, size, strength, generator), options.C, models)
        runs.append(run)
        print(f"seed {seed}", json.dumps(run), flush=True)
        if options.out is not None:
            made = {"torch": torch.__version__, "python": platform.python_version()}
            made |= {"C": options.C, "steps": options.steps, "sets": options.sets}
            options.out.write_text(json.dumps({**made, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    for setting in SETTINGS:
        print(f"\n{setting}")
        for method, measures in runs[0][setting].items():
            cells = []
            for measure in measures:
                numbers = [run[setting][method][measure] for run in runs]
                deviation = np.std(numbers, ddof=min(1, len(numbers) - 1))
                cells.append(f"{measure} {np.mean(numbers):.3g} ± {deviation:.2g}")
            print(f"  {method}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
