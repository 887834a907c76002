"""Costs of scales that are found by trying the attention of a layer: time, and bytes kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import ClassVar

import torch

from primaldual.analysis.latency import interleaved_latency
from primaldual.compression.costs import Costs, Scales
from primaldual.compression.layer_shapes import LayerShape
from primaldual.compression.sensitivity import Sensitivity
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.primal.attention import Attention
from primaldual.primal.problem import PrimalProblem

Make = Callable[[AttentionSite, Sequence[int]], PrimalProblem]


class LayerCosts(Costs):
    """Costs that are found by trying the attention of a layer; heads of the same scale cost the same.

    Args:
        found: heads and scales.
        sites: the layers, with their original attention.
        shapes: of the layers' attention, by path.
        make: the problem of a layer with these scales.
        lengths: sequences to try, whose costs are added; None stands for the shape's own.
        step: called with layers tried and to try.
    """

    def __init__(
        self,
        found: Sensitivity,
        sites: Sequence[AttentionSite],
        shapes: Mapping[str, LayerShape],
        make: Make,
        lengths: Sequence[int | None],
        step: Callable[[int, int], None],
    ) -> None:
        self.sites, self.shapes, self.make, self.lengths = sites, shapes, make, lengths
        self._tried: dict[Hashable, float] = {}
        rows = []
        for place, site in enumerate(sites):
            step(place, len(sites))
            layer = [self.layer(site, [scale] * site.heads) / site.heads for scale in found.scales]
            rows += [layer] * site.heads
        step(len(sites), len(sites))
        shape = next(iter(shapes.values()))
        own = {length if length is not None else shape.keys for length in lengths}
        self.longest = max(own)
        self.where = f" at {', '.join(map(str, sorted(own)))} positions on {shape.device}"
        self.whole = sum(self.layer(site, [1] * site.heads) for site in sites)
        self.shares = torch.tensor(rows, dtype=torch.float64) / self.whole

    def of(self, scales: Scales) -> float:
        return sum(self.layer(site, scales[site.path]) for site in self.sites) / self.whole

    def layer(self, site: AttentionSite, scales: Sequence[int]) -> float:
        """What a layer with these scales costs, at all lengths together."""
        return sum(self.at(site, scales, length) for length in self.lengths)

    def at(self, site: AttentionSite, scales: Sequence[int], length: int | None) -> float:
        """What it costs at one length."""
        shape = self.shapes[site.path].at(length)
        key = self.key(shape, site, scales)
        if key not in self._tried:
            self._tried[key] = self.attempt(shape, site, scales)
        return self._tried[key]

    def key(self, shape: LayerShape, site: AttentionSite, scales: Sequence[int]) -> Hashable:
        """What layers have in common that cost the same."""
        assert site.problem is not None
        return shape, site.problem.spec(), tuple(sorted(scales))

    @abstractmethod
    def attempt(self, shape: LayerShape, site: AttentionSite, scales: Sequence[int]) -> float:
        """What a layer with these scales costs at these sizes."""


class Time(LayerCosts):
    """Seconds from queries, keys and values to the outputs of the heads, on the model's device, without masks."""

    unit = "attention time"
    repeats: ClassVar[int] = 7

    @torch.no_grad()
    def attempt(self, shape: LayerShape, site: AttentionSite, scales: Sequence[int]) -> float:
        assert site.problem is not None
        tasks = {"original": _task(site.problem, shape)}
        if max(scales) == 1:
            return interleaved_latency(tasks, self.repeats, 2)["original"].median
        tasks["pooled"] = _task(self.make(site, scales), shape)
        found = interleaved_latency(tasks, self.repeats, 2)
        whole = self.key(shape, site, [1] * len(scales))
        original = self._tried.setdefault(whole, found["original"].median)
        return original * found["pooled"].median / found["original"].median

    def shortest(self, scales: Scales) -> int:
        """The length from which on layers with these scales were faster than the original's, tried at powers of two."""
        powers = [2**power for power in range(4, 32) if 2**power < self.longest]
        ladder = [*powers, None if self.lengths == (None,) else self.longest]
        found = self.longest
        for tried in reversed(ladder):
            pooled = sum(self.at(site, scales[site.path], tried) for site in self.sites)
            original = sum(self.at(site, [1] * site.heads, tried) for site in self.sites)
            if pooled >= original:
                break
            found = self.longest if tried is None else tried
        return found


class Cache(LayerCosts):
    """Bytes that a causal layer keeps of a sequence for decoding; of other layers, keys and values of all pairs."""

    unit = "cached bytes"
    advice = '; try attention="sh(...)": causal heads that keep single keys have no smaller cache'

    @torch.no_grad()
    def attempt(self, shape: LayerShape, site: AttentionSite, scales: Sequence[int]) -> float:
        problem = self.make(site, scales)
        if shape.is_causal:
            state = problem.init_state(
                1, shape.heads, shape.head_dim, kv_heads=shape.kv_heads, value_dim=shape.value_dim,
                dtype=shape.dtype, device=shape.device,
            )  # fmt: skip
            problem.step(state, *shape._replace(batch=1).at(shape.keys).tensors())
            return float(state.nbytes)
        pair = (shape.head_dim + shape.value_dim) * shape.dtype.itemsize
        total = 0.0
        for part, members in problem.problems(shape.heads):
            for heads in part.subset.head_sets(len(members)):
                sharing = shape.heads // shape.kv_heads if heads.scale == 1 else 1
                total += heads.pairs(shape.keys) * len(heads.members) / sharing * pair
        return total


def _task(problem: Attention, shape: LayerShape) -> Callable[[], object]:
    tensors = shape.tensors()
    on_gpu = shape.device.type == "cuda"

    def run() -> None:
        problem.attend(*tensors, is_causal=shape.is_causal)
        if on_gpu:
            torch.cuda.synchronize(shape.device)

    return run


def check_lengths(measure: str, lengths: Sequence[int] | None) -> tuple[int | None, ...]:
    """The lengths to try, (None,) where the data's own is meant.

    Raises:
        ArgumentError: a measure that is none, lengths that are not positive integers or beside "operations".
    """
    if measure not in ("operations", *TRIED):
        raise ArgumentError(f"measure must be one of operations, {', '.join(TRIED)}; got {measure!r}")
    if lengths is None:
        return (None,)
    if measure == "operations":
        raise ArgumentError(
            f'lengths must be None for measure="operations", which counts the calibration data; got {lengths}'
        )
    given = tuple(lengths)
    if not given or not all(isinstance(length, int) and length > 0 for length in given):
        raise ArgumentError(f"lengths must be positive integers, one or more; got {lengths}")
    return given


TRIED: Mapping[str, type[LayerCosts]] = {"time": Time, "cache": Cache}
"""What is found by trying layers, by the word of ``compress(measure=...)``."""
