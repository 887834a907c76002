"""Predict the life of batteries from their first 100 cycles, by physics whose two numbers one attention layer finds.

    capacity loss(x) = exp(A) x^B + C,   life = [exp(-A) (0.2 - C)]^(1 / B),   x in thousands of cycles

The layer attends to the early cycles of one battery and gives its A and B; C is one number for all. The batteries are
simulated: their losses follow the law above, and A and B depend on charging rate, temperature and a hidden quality, which
early measurements show with noise.

    python examples/battery_life.py --seeds 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from primaldual import MultiheadAttention

DEAD = 0.2
"""Capacity loss at the end of life."""

GRID = torch.linspace(0.1, 1, 10)
"""Shares of its life at which a training battery's loss is known."""


@dataclass(frozen=True)
class Batteries:
    """Simulated batteries.

    Attributes:
        cycles: measurements of every fifth of the first 100 cycles, (batteries, 20, 4): capacity loss, resistance,
            temperature and charging time, each with noise, standardised.
        life: thousands of cycles, (batteries,).
        power: B, (batteries,).
    """

    cycles: Tensor
    life: Tensor
    power: Tensor

    def losses(self, generator: torch.Generator) -> Tensor:
        """Measured losses at GRID of the life, (batteries, 10)."""
        exact = DEAD * GRID ** self.power.unsqueeze(1)
        return exact + 0.002 * torch.randn(exact.shape, generator=generator)


def simulate(count: int, generator: torch.Generator) -> Batteries:
    """Draw batteries: rate 1 to 4 per hour, 25 to 45 degrees, B from 1.3 to 2.2, lives around 900 cycles."""
    rate, warmth, power = (
        low + (high - low) * torch.rand(count, 1, generator=generator)
        for low, high in ((1, 4), (25, 45), (1.3, 2.2))
    )
    quality = torch.randn(count, 1, generator=generator)
    life = torch.exp(-0.1 - 0.2 * (rate - 2.5) - 0.02 * (warmth - 35) + 0.2 * quality)
    cycle = torch.arange(5, 101, 5) / 1000
    loss = DEAD * (cycle / life) ** power

    def measured(exact: Tensor, noise: float) -> Tensor:
        return exact + noise * torch.randn(count, len(cycle), generator=generator)

    signals = (
        measured(loss, 0.0005),
        measured(
            1 + 0.05 * torch.rand(count, 1, generator=generator) + 0.3 * (10 * cycle) ** (power - 1) / life,
            0.02,
        ),
        measured(warmth + 2 * rate, 0.5),
        measured(60 / rate * (1 + loss), 0.3),
    )
    middle, size = torch.tensor([0.002, 1.25, 40.0, 28.0]), torch.tensor([0.002, 0.15, 6.0, 13.0])
    return Batteries((torch.stack(signals, -1) - middle) / size, life.squeeze(1), power.squeeze(1))


class LifeModel(nn.Module):
    """One attention layer over the cycles of a battery, and what it says of the battery.

    Args:
        attention: a spec.
        physics: whether the layer gives A and B; otherwise it gives the logarithm of the life itself.
        width: of the layer.
    """

    def __init__(self, attention: str, physics: bool = True, width: int = 16) -> None:
        super().__init__()
        self.physics = physics
        self.embedding = nn.Linear(5, width)
        self.attention = MultiheadAttention(width, 2, batch_first=True, attention=attention)
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 2)
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, cycles: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the life, (batteries,), and losses at GRID of the predicted life, (batteries, 10)."""
        place = torch.linspace(-1, 1, cycles.shape[1]).expand(len(cycles), -1).unsqueeze(-1)
        tokens = self.embedding(torch.cat([cycles, place], -1))
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        first, second = self.readout(self.norm(tokens + mixed).mean(1)).unbind(-1)
        if not self.physics:
            return first, torch.full((len(cycles), len(GRID)), torch.nan)
        power = 1 + softplus(second)
        log_life = ((DEAD - self.offset).log() - first) / power
        reached = GRID * log_life.detach().exp().unsqueeze(1)
        return log_life, first.exp().unsqueeze(1) * reached ** power.unsqueeze(1) + self.offset


def train(model: LifeModel, batteries: Batteries, generator: torch.Generator, steps: int) -> None:
    """Minimise squared errors of the logarithm of life and, with physics, of the losses on the way there."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    losses = batteries.losses(generator)
    for _ in range(steps):
        log_life, found = model(batteries.cycles)
        error = (log_life - batteries.life.log()).square().mean()
        if model.physics:
            error = error + ((found - losses) / DEAD).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()


def errors(model: LifeModel, batteries: Batteries) -> tuple[float, float]:
    """Mean error of the life in per cent of it, and mean error of the losses in per cent of the capacity."""
    with torch.no_grad():
        log_life, losses = model.eval()(batteries.cycles)
        of_life = (log_life.exp() / batteries.life - 1).abs().mean()
        share = log_life.exp().unsqueeze(1) / batteries.life.unsqueeze(1) * GRID
        of_losses = (losses - DEAD * share ** batteries.power.unsqueeze(1)).abs().mean()
    return 100 * float(of_life), 100 * float(of_losses)


def compare(
    seeds: int, steps: int, train_count: int, specs: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """Errors on 200 other batteries, by method and seed."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        known, unknown = simulate(train_count, generator), simulate(200, generator)
        guess = known.life.log().mean().exp()
        guessed = float((guess / unknown.life - 1).abs().mean())
        found.setdefault("the mean of the training lives", []).append((100 * guessed, float("nan")))
        for spec in specs:
            for physics in (True, False):
                torch.manual_seed(seed)
                model = LifeModel(spec, physics)
                train(model, known, generator, steps)
                name = f"{spec}, {'A and B' if physics else 'life itself'}"
                found.setdefault(name, []).append(errors(model, unknown))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="simulations (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="of training (default: %(default)s)")
    parser.add_argument("--batteries", type=int, default=40, help="to train on (default: %(default)s)")
    parser.add_argument("--attention", nargs="+", default=["softmax", "bn", "bn+sh(1,4)"])
    options = parser.parse_args(arguments)
    if min(options.seeds, options.steps, options.batteries) < 1:
        parser.error("--seeds, --steps and --batteries must be at least 1")
    torch.set_num_threads(1)  # the tensors are tiny
    found = compare(options.seeds, options.steps, options.batteries, options.attention)
    print(f"simulated batteries, {options.batteries} to train on, 200 to test, {options.seeds} seeds")
    print(f"{'':34s} error of life, %   error of losses, % of capacity")
    for name, runs in found.items():
        columns = []
        for values in zip(*runs, strict=True):
            deviation = f" ± {stdev(values):.1f}" if len(values) > 1 and not isnan(values[0]) else ""
            columns.append("-" if isnan(values[0]) else f"{mean(values):.1f}{deviation}")
        print(f"{name:34s} {columns[0]:>16s}   {columns[1]:>30s}")


if __name__ == "__main__":
    main()
