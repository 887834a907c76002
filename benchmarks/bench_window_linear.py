"""Windowed and linear attention against SDPA with a mask and against cumulative sums.

Run `python benchmarks/bench_window_linear.py [--length 4096] [--repeats 7]`. Every pair of contenders is
checked for equal outputs and gradients first; then both are timed in turn, and the medians of the
pairwise ratios are printed with their quartiles. Tensors have the strided heads of a projection.
local-attention and performer-pytorch join when they are installed, and are named when they are not.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import elu, scaled_dot_product_attention

from primaldual.kernels.linear import linear_attention
from primaldual.kernels.masks import band_mask
from primaldual.kernels.window import window_attention, window_statistics

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class Duel:
    """Ours against a peer; ``exact`` when both compute the same function."""

    name: str
    ours: Attention
    peer: Attention
    exact: bool = True
    inputs: Callable[[Tensor], Tensor] = lambda tensor: tensor


def cumulative_sums(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    state = (key.unsqueeze(-1) * value.unsqueeze(-2)).cumsum(2)
    out = (query.unsqueeze(-2) @ state).squeeze(-2)
    return out / (query * key.cumsum(2)).sum(-1, keepdim=True)


def slow_statistics(radius: int) -> Attention:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        member = band_mask(query.shape[2], key.shape[2], radius).to(key.dtype)
        weights = member / member.sum(-1, keepdim=True)
        mean = weights @ key
        return mean + weights @ key.square() - mean.square()

    return attend


def duels(length: int, radius: int) -> list[Duel]:
    band = band_mask(length, length, radius)
    causal_band = band & torch.ones_like(band).tril()

    def masked(mask: Tensor) -> Attention:
        return lambda q, k, v: scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def window(is_causal: bool) -> Attention:
        return lambda q, k, v: window_attention(q, k, v, radius, is_causal=is_causal)

    def linear(is_causal: bool) -> Attention:
        return lambda q, k, v: linear_attention(q, k, v, is_causal=is_causal)

    def moments(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mean, variance = window_statistics(key, radius, query_length=query.shape[2])
        return mean + variance

    def features(tensor: Tensor) -> Tensor:
        return elu(tensor) + 1

    found = [
        Duel(f"window({radius}) / SDPA with a mask", window(False), masked(band)),
        Duel(f"causal window({radius}) / SDPA with a mask", window(True), masked(causal_band)),
        Duel(f"window({radius}) statistics / product with the band", moments, slow_statistics(radius)),
        Duel("linear / SDPA", linear(False), scaled_dot_product_attention, exact=False, inputs=features),
        Duel("causal linear / cumulative sums", linear(True), cumulative_sums, inputs=features),
    ]
    return found + [
        peer for make in (local_attention_duels, performer_duels) for peer in make(radius, window, linear)
    ]


def optional(name: str, package: str) -> object | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped: {package} is not installed")
        return None


def local_attention_duels(radius: int, window: Callable[[bool], Attention], linear: object) -> list[Duel]:
    module = optional("local_attention", "local-attention")
    if module is None:
        return []

    def peer(causal: bool) -> Attention:
        options = {"look_backward": 1, "look_forward": 0 if causal else 1, "use_rotary_pos_emb": False}
        return module.LocalAttention(  # type: ignore[attr-defined]
            dim=64, window_size=radius, causal=causal, exact_windowsize=True, autopad=True, **options
        )

    return [
        Duel(f"causal window({radius}) / local-attention", window(True), peer(True)),
        Duel(f"window({radius}) / local-attention", window(False), peer(False), exact=False),
    ]


def performer_duels(radius: int, window: object, linear: Callable[[bool], Attention]) -> list[Duel]:
    module = optional("performer_pytorch.performer_pytorch", "performer-pytorch")
    if module is None:
        return []
    peer = module.linear_attention  # type: ignore[attr-defined]
    return [Duel("linear / performer-pytorch", linear(False), peer, inputs=lambda t: elu(t) + 1)]


def run(attend: Attention, inputs: list[Tensor], backward: bool) -> list[Tensor]:
    if not backward:
        with torch.no_grad():
            return [attend(*inputs)]
    out = attend(*inputs)
    grads = torch.autograd.grad(out, inputs, torch.ones_like(out), allow_unused=True)
    return [out, *(grad for grad in grads if grad is not None)]


def gate(duel: Duel, inputs: list[Tensor]) -> None:
    """Stop unless both give the same outputs and gradients."""
    for ours, peer in zip(run(duel.ours, inputs, True), run(duel.peer, inputs, True), strict=True):
        error = (ours - peer).abs().max().item() / peer.abs().max().item()
        if not error < 1e-3:
            sys.exit(f"{duel.name}: results differ by {error:.1e} of the largest; nothing was timed")


def compare(duel: Duel, inputs: list[Tensor], backward: bool, repeats: int) -> str:
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for repeat in range(repeats + 1):
        for side in ("ours", "peer"):
            start = time.perf_counter()
            run(getattr(duel, side), inputs, backward)
            if repeat:  # the first turn warms up
                seconds[side].append(time.perf_counter() - start)
    ratios = [peer / ours for ours, peer in zip(seconds["ours"], seconds["peer"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    ours, peer = (statistics.median(seconds[side]) * 1e3 for side in ("ours", "peer"))
    direction = "both" if backward else "forward"
    return f"| {duel.name} | {direction} | {ours:.1f} | {peer:.1f} | {middle:.1f}x [{low:.1f}, {high:.1f}] |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--radius", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    shape = settings.batch, settings.length, settings.heads, 64
    tensors = [torch.randn(shape).transpose(1, 2) for _ in range(3)]
    print(f"torch {torch.__version__}, {settings.threads} threads, (batch, length, heads, dim) = {shape}")
    print("| ours / peer | direction | ours ms | peer ms | ours is faster by |\n|---|---|---|---|---|")
    for duel in duels(settings.length, settings.radius):
        query, key = (duel.inputs(tensor).detach().requires_grad_() for tensor in tensors[:2])
        inputs = [query, key, tensors[2].clone().requires_grad_()]
        if duel.exact:
            gate(duel, inputs)
        for backward in (False, True):
            print(compare(duel, inputs, backward, settings.repeats), flush=True)


if __name__ == "__main__":
    main()
