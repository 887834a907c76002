"""Interleaved timing: ratios of two functions measured turn by turn in one process."""

from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter


def ratios(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median and quartiles of the pairwise ratios ours / peer, after one warm-up of each."""
    ours(), peer()
    found = []
    for _ in range(rounds):
        spent = []
        for function in (ours, peer):
            start = perf_counter()
            function()
            spent.append(perf_counter() - start)
        found.append(spent[0] / spent[1])
    low, _, high = quantiles(found, n=4)
    return median(found), low, high
