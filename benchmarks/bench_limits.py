"""What PyTorch's own operators leave possible, beside the goals of `benchmarks.performance` that were missed.

Interleaved ratios in one process, median and quartiles, 8 heads of 64, 4096 tokens, fp32. Run:

    python -m benchmarks.bench_limits
"""

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.performance.timing import Budget, interleaved, ratio

SCALES = (1, 2, 4, 8)


def strided(length: int, heads: int = 8) -> list[Tensor]:
    return [torch.rand(max(1, 4096 // length), length, heads, 64).transpose(1, 2) for _ in range(3)]


def pooled_softmax(length: int, is_causal: bool) -> Callable[[], object]:
    """Two heads at each scale by SDPA alone: pooled pairs are there, nothing is merged or joined.

    Causal, the queries at one offset within their windows are a sequence of their own.
    """
    query, key, value = strided(length)
    calls = []
    for number, scale in enumerate(SCALES):
        heads = slice(2 * number, 2 * number + 2)
        pools = [tensor[:, heads, : length // scale].contiguous() for tensor in (key, value)]
        if is_causal:
            folded = query[:, heads].unflatten(2, (-1, scale)).permute(0, 3, 1, 2, 4).flatten(0, 1)
            repeated = (tensor.repeat_interleave(scale, 0) for tensor in pools)
            calls.append((folded, *repeated))
        else:
            calls.append((query[:, heads], *pools))
    return lambda: [scaled_dot_product_attention(*call, is_causal=is_causal) for call in calls]


def cases() -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    for length in (64, 128, 1024):
        inputs = strided(length)
        query, rest = inputs[0], inputs[1:]
        yield (
            f"SDPA on queries that are multiplied by a number first / SDPA, N = {length}",
            lambda query=query, rest=rest: scaled_dot_product_attention(query * 1.001, *rest),
            lambda inputs=inputs: scaled_dot_product_attention(*inputs),
        )
    for length, is_causal in ((1024, False), (2048, False), (2048, True)):
        inputs = strided(length)
        yield (
            f"SDPA on pooled pairs of scales 1, 2, 4, 8 / SDPA, {'causal, ' * is_causal}N = {length}",
            pooled_softmax(length, is_causal),
            lambda inputs=inputs, causal=is_causal: scaled_dot_product_attention(*inputs, is_causal=causal),
        )
    for length in (256, 512, 1024, 2048):
        inputs = strided(length)
        yield (
            f"causal SDPA / SDPA, N = {length}",
            lambda inputs=inputs: scaled_dot_product_attention(*inputs, is_causal=True),
            lambda inputs=inputs: scaled_dot_product_attention(*inputs),
        )
    query, key, value = strided(4096)
    try:
        from performer_pytorch.performer_pytorch import linear_attention
    except ImportError:
        print("skipped: performer-pytorch is not installed")
        return
    yield (
        "the two products of linear attention alone / performer-pytorch, N = 4096",
        lambda: query @ (key.transpose(-2, -1) @ value),
        lambda: linear_attention(query, key, value),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="for each ratio")
    budget = Budget(parser.parse_args().seconds, least=5)
    print("| | ratio |\n|---|---|")
    with torch.no_grad():
        for name, above, below in cases():
            found = interleaved({"above": above, "below": below}, budget)
            spread = ratio(found["above"], found["below"])
            print(f"| {name} | {spread.median:.2f} ({spread.lower:.2f}–{spread.upper:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
