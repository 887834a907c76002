"""Regressions to solve, and definitions that share no code with the library."""

import torch


def table(length=40, features=3, outputs=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(length, features, generator=generator, dtype=torch.float64)
    weights = torch.randn(features, outputs, generator=generator, dtype=torch.float64)
    noise = torch.randn(length, outputs, generator=generator, dtype=torch.float64)
    return keys.to(dtype), ((keys @ weights).sin() + 0.2 * noise).to(dtype)


def dense_kernel(spec, keys):
    """kappa(T k_i, T k_j) / (h(k_i) h(k_j)) and h, written out for a few specs."""
    root = keys.shape[-1] ** 0.5
    if "bn" in spec:
        keys = (keys - keys.mean(0)) / (keys.var(0, unbiased=False) + 1e-5).sqrt()
    if spec.startswith("linear"):
        features = torch.nn.functional.elu(keys) + 1
        kappa = features @ features.T
    else:
        kappa = (keys @ keys.T / root).exp()
    h = torch.ones(len(keys), dtype=keys.dtype) if "constant" in spec else kappa.sum(1)
    return kappa / h[:, None] / h, h


def objectives(kernel, targets, beta, intercept, penalty, epsilon):
    """Primal and dual for one output, each by its own definition."""
    residual = targets - kernel @ beta - intercept
    norm = beta @ kernel @ beta
    primal = norm / 2 + penalty * (residual.abs() - epsilon).clamp(min=0).sum()
    dual = -norm / 2 + targets @ beta - epsilon * beta.abs().sum()
    return float(primal), float(dual)
