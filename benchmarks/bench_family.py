"""Times of the family's layers on the CPU, over what each is compared with; then the section of docs/family.md.

    python -m benchmarks.bench_family              # measures all, writes benchmarks/results/family_times.json
    python -m benchmarks.bench_family --page       # writes the section from it

Batch 1, 4 heads of 64, float32, one thread, processor time in turns: medians and quartiles of the ratios. Forward, and
forward with backward, of the same inputs.
"""

import argparse
import json
import re
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

import primaldual as pdl
from benchmarks.cliffs import LARGE, ratios
from primaldual.reporting.files import write_text

RESULTS = Path(__file__).parent / "results" / "family_times.json"
PAGE = Path(__file__).parents[1] / "docs" / "family.md"
HEADS, WIDTH = 4, 64

DRAWN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "previous_value": torch.randn_like,
    "log_gate": lambda like: -torch.rand_like(like) / 10,
}
"""Inputs per token whose neutral values would spare work; the others are neutral."""


class Case(NamedTuple):
    """A layer, how it is called, what it is compared with, and the goal for the forward pass."""

    spec: str
    is_causal: bool
    base: str  # "SDPA" or a spec
    goal: float | None
    length: int = 2048


CASES = (
    Case("elliptical", False, "SDPA", 1.15),
    Case("whiten", False, "SDPA", 1.15),
    Case("boost(2)", False, "SDPA", 2.2),
    Case("boost(2,residual=keys)", True, "SDPA", 2.2),
    Case("parallax", False, "SDPA", 2.6),
    Case("parallax", True, "SDPA", 2.6),
    Case("lla(1)", False, "SDPA", 45),
    Case("lla(1)", True, "SDPA", 45),
    Case("linear+ridge(1)", True, "linear", 3),
    Case("mesanet", True, "linear", 3),
    Case("deltanet", True, "linear", 3),
    Case("gated_deltanet", True, "linear", 3),
    Case("hca(128,128)", True, "SDPA", 0.55, 4096),
    Case("alibi", True, "SDPA", 1.15),
    Case("forget", True, "SDPA", 1.15),
    Case("sink(0)", True, "SDPA", 1.15),
    Case("conv(3)", True, "SDPA", 1.25),
    Case("window(128)|sh(128)", True, "SDPA", 0.45, 4096),
)
"""Goals were set before the layers were built."""


def measure(case: Case, seconds: float) -> dict[str, object]:
    """Median and quartiles of the ratios of one case."""
    tensors = [torch.randn(1, HEADS, case.length, WIDTH, requires_grad=True) for _ in range(3)]
    call = _call(case.spec, case.is_causal, tensors)
    base = _call(case.base, case.is_causal, tensors)
    found: dict[str, object] = {**case._asdict()}
    for name, prepare in (("forward", _forward), ("training", _training)):
        low, middle, high = statistics.quantiles(
            ratios(prepare(call, tensors), prepare(base, tensors), seconds, least=5), n=4
        )
        found[name] = {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}
    return found


def _call(spec: str, is_causal: bool, tensors: list[torch.Tensor]) -> Callable[[], torch.Tensor]:
    if spec == "SDPA":
        return lambda: scaled_dot_product_attention(*tensors, is_causal=is_causal)
    problem = pdl.preset(spec).bind(HEADS, WIDTH)
    inputs = {
        name: DRAWN[name](tensor) if name in DRAWN else tensor
        for name, tensor in problem.neutral_inputs(*tensors).items()
    }
    return lambda: problem.attend(*tensors, is_causal=is_causal, inputs=inputs)


def _forward(call: Callable[[], torch.Tensor], tensors: list[torch.Tensor]) -> Callable[[], object]:
    del tensors

    def run() -> object:
        with torch.no_grad():
            return call()

    return run


def _training(call: Callable[[], torch.Tensor], tensors: list[torch.Tensor]) -> Callable[[], object]:
    return lambda: torch.autograd.grad(call().sum(), tensors)


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown."""
    lines = ["| layer | N | over | forward | with backward | goal, forward |", "|---|---|---|---|---|---|"]
    for row in rows:
        over = "SDPA" if row["base"] == "SDPA" else f"`{row['base']}`"
        causal = ", causal" if row["is_causal"] else ""
        goal = "" if row["goal"] is None else f"{row['goal']:g}"
        missed = goal and row["forward"]["median"] > row["goal"]  # type: ignore[index, operator] # of JSON
        cells = (
            f"`{row['spec']}`{causal}".replace("|", "\\|"),
            row["length"],
            over,
            *(_written(row[name]) for name in ("forward", "training")),
            f"{goal}, missed" if missed else goal,
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _written(found: object) -> str:
    assert isinstance(found, dict)
    low, middle, high = (
        f"{found[name]:.{0 if found['median'] >= 10 else 2}f}" for name in ("low", "median", "high")
    )
    return f"{middle} ({low}–{high})"


def main() -> None:
    """Measure, or write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="write the section of docs/family.md")
    parser.add_argument("--seconds", type=float, default=6, help="for each ratio, about")
    arguments = parser.parse_args()
    if arguments.page:
        text = PAGE.read_text(encoding="utf-8")
        rows = table(json.loads(RESULTS.read_text(encoding="utf-8")))
        marks = "<!-- times: written by benchmarks/bench_family.py -->", "<!-- end of times -->"
        pattern = re.compile(f"({re.escape(marks[0])}\n).*?({re.escape(marks[1])})", re.S)
        write_text(PAGE, pattern.sub(lambda found: f"{found[1]}{rows}\n{found[2]}", text))
        return
    warnings.simplefilter("ignore", pdl.errors.SlowAttentionWarning)
    torch.set_num_threads(1)
    torch.ones(LARGE)
    results = []
    for case in CASES:
        torch.manual_seed(0)
        results.append(measure(case, arguments.seconds))
        print(table(results[-1:]).splitlines()[-1], flush=True)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
