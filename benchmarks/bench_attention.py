"""Batch-normalised and scaled-head attention against scaled_dot_product_attention, as interleaved ratios.

Goals: BN at most 1.10 x SDPA, forward and forward + backward, for N >= 512; scaled heads (1,2,4,8) at
most 1.20 x their work ratio. Inputs are strided as a projection leaves them. Run:

    python -m benchmarks.bench_attention --rounds 15
"""

import argparse
from functools import partial

import torch
from benchmarks.timing import ratios
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from primaldual import preset

HEADS, HEAD_DIM = 8, 64
SCALES = (1, 1, 2, 2, 4, 4, 8, 8)


def strided(length: int) -> list[Tensor]:
    batch = max(1, 4096 // length)
    return [torch.randn(batch, length, HEADS, HEAD_DIM).transpose(1, 2).requires_grad_() for _ in range(3)]


def forward(attend, inputs):
    with torch.no_grad():
        return attend(*inputs)


def forward_backward(attend, inputs, seed):
    torch.autograd.grad(attend(*inputs), inputs, seed)


def gate(problem, length: int = 67) -> None:
    inputs = [tensor.detach().double() for tensor in strided(length)]
    torch.testing.assert_close(problem.attend(*inputs), problem.dense(*inputs), rtol=1e-8, atol=1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 1024, 2048])
    arguments = parser.parse_args()
    work = sum(1 / scale for scale in SCALES) / HEADS
    specs = {
        "bn": 1.0,
        f"sh({','.join(map(str, SCALES))})": work,
        f"bn+sh({','.join(map(str, SCALES))})": work,
    }
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, fp32, H {HEADS}, D {HEAD_DIM}, strided"
    )
    print(f"{'attention':32} {'N':>5} {'direction':18} {'ratio to SDPA (quartiles)':28} ratio / work")
    for spec, share in specs.items():
        problem = preset(spec)
        gate(problem)
        for length in arguments.lengths:
            inputs = strided(length)
            seed = torch.randn_like(inputs[0])
            for name, run in (
                ("forward", forward),
                ("forward+backward", partial(forward_backward, seed=seed)),
            ):
                middle, low, high = ratios(
                    partial(run, problem.attend, inputs),
                    partial(run, scaled_dot_product_attention, inputs),
                    arguments.rounds,
                )
                print(
                    f"{spec:32} {length:5} {name:18} {middle:.3f} ({low:.3f} - {high:.3f})        {middle / share:.3f}"
                )


if __name__ == "__main__":
    main()
