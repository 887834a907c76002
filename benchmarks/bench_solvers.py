"""What solvers cost beside their yardsticks, as ratios of interleaved rounds in one process.

Boosting beside PyTorch's SDPA; ridge regression and the delta rule on features, causal, beside causal linear attention.

    python -m benchmarks.bench_solvers [--length 2048] [--head-dim 64] [--heads 8] [--seconds 10]
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.performance.timing import Budget, interleaved, ratio
from primaldual import preset

BOOSTED, FACTORED = 2.2, 3.0
"""Goals: largest ratios."""

PAIRS = (
    ("boost(2)", "sdpa", False, BOOSTED),
    ("boost(2)", "sdpa", True, BOOSTED),
    ("boost(2,residual=keys)", "sdpa", True, BOOSTED),
    ("scaled(0.1)", "sdpa", True, BOOSTED),
    ("linear+ridge(1)", "linear", True, FACTORED),
    ("mesanet", "linear", True, FACTORED),
    ("deltanet(0.5)", "linear", True, FACTORED),
    ("gated_deltanet(0.5)", "linear", True, FACTORED),
)


def attention(spec: str, inputs: list[Tensor], is_causal: bool) -> Callable[[], Tensor]:
    """One call of an attention."""
    if spec == "sdpa":
        return partial(scaled_dot_product_attention, *inputs, is_causal=is_causal)
    problem = preset(spec).bind(inputs[0].shape[1], inputs[0].shape[3])
    extra = problem.neutral_inputs(*inputs)
    return partial(problem.attend, *inputs, is_causal=is_causal, inputs=extra)


def training(call: Callable[[], Tensor], inputs: list[Tensor]) -> Callable[[], object]:
    """The same call with its backward."""
    return lambda: torch.autograd.grad(call().sum(), inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("length", 2048), ("head-dim", 64), ("heads", 8), ("seconds", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, given.heads, given.length, given.head_dim)
    drawn = torch.randn(shape, generator=generator).unbind(0)
    print(f"{torch.__version__}, {torch.get_num_threads()} threads, {given.heads} heads, N {given.length}")
    print(f"{'attention':24}{'beside':8}{'causal':8}{'pass':22}{'ratio':8}{'quartiles':14}goal")
    for spec, other, is_causal, goal in PAIRS:
        plain = [tensor.clone() for tensor in drawn]
        leaves = [tensor.clone().requires_grad_() for tensor in drawn]
        for scene, inputs in (("forward", plain), ("forward and backward", leaves)):
            calls = {name: attention(name, inputs, is_causal) for name in (spec, other)}
            tasks = (
                calls if inputs is plain else {name: training(call, inputs) for name, call in calls.items()}
            )
            times = interleaved(tasks, Budget(given.seconds))
            found = ratio(times[spec], times[other])
            spread = f"{found.lower:.2f}-{found.upper:.2f}"
            print(
                f"{spec:24}{other:8}{is_causal!s:8}{scene:22}{found.median:<8.2f}{spread:14}{goal}",
                flush=True,
            )


if __name__ == "__main__":
    main()
