"""The named goals, as a list of cases; and comparisons with peers that have no goal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from benchmarks.performance.cases import MEMORY, STATE, Bound, Doubling, Duel
from benchmarks.performance.programs import BOTH, DIRECTIONS, FORWARD
from benchmarks.performance.settings import Setting

SCALES = "(1,1,2,2,4,4,8,8)"
WORK = sum(2 / scale for scale in (1, 2, 4, 8)) / 8
"""Work of heads with these scales, as a share of softmax attention's: 0.469."""

TOKENS = 4096


def filled(length: int, is_causal: bool = False) -> Setting:
    """As many sequences as give `TOKENS` tokens."""
    return Setting(length, batch=max(1, TOKENS // length), is_causal=is_causal)


def goals() -> tuple[Duel, ...]:
    """Every goal on a pair, in the order of the table."""
    return (
        *_batch_norm(),
        *_scaled_heads(),
        *_layer(),
        *_formula(),
        *_causal(),
        *_window(),
        *_linear(),
        *_decoding(),
    )


def doublings(lengths: Iterable[int] = (2048, 4096, 8192, 16384)) -> tuple[Doubling, ...]:
    """Cost growth: time of everything, memory of what is linear in N."""
    settings = tuple(Setting(length, heads=4) for length in lengths)
    found = []
    for factor, contenders in ((4, ("bn", "sh(1,2,4,8)")), (2, ("window(64)", "linear"))):
        bound = Bound(0.9 * factor, 1.1 * factor)
        for name in contenders:
            title = f"{name}, N doubled"
            found += [Doubling(title, name, settings, direction, bound) for direction in DIRECTIONS]
    memory = [
        Doubling(f"{name}, N doubled", name, settings, BOTH, Bound(1.8, 2.2), MEMORY)
        for name in ("window(64)", "linear")
    ]
    return (*found, *memory)


def comparisons() -> tuple[Duel, ...]:
    """Peers beside the goals."""
    long, middle = filled(4096), filled(1024)
    scaled = f"bn+sh{SCALES}"
    compiled = Duel(f"{scaled} / torch.compile of the formula", scaled, f"compiled {scaled}", middle, "")
    efficient = Duel(
        "softmax features / linear-attention-transformer",
        "softmax-features",
        "linear-attention-transformer",
        long,
        "",
    )
    performer = Duel(
        "factored / performer-pytorch",
        "factored",
        "performer-kernel",
        filled(4096, is_causal=True),
        "",
    )
    formula = Duel("bn / the formula", "bn", "literal bn", long, "")
    causal = filled(4096, is_causal=True)
    windows = [
        Duel(f"window(64) / {title}", "window(64)", peer, causal, "")
        for title, peer in (
            ("SDPA with a mask", "SDPA window(64)"),
            ("local-attention", "local-attention"),
        )
    ]
    flex = Duel("softmax / FlexAttention", "softmax", "FlexAttention", middle, FORWARD, faster=True)
    layer = Duel("layer bn / nn.MultiheadAttention", "layer bn", "nn.MultiheadAttention", filled(512), "")
    series = Setting(152, batch=16, heads=4, head_dim=16)
    block = Duel("block / nn.TransformerEncoderLayer", "block", "nn.TransformerEncoderLayer", series, "")
    return (
        *_directions(formula, faster=True),
        *_directions(replace(formula, measure=MEMORY), faster=True),
        *(case for pair in windows for case in _directions(pair, faster=True)),
        *_directions(compiled, faster=True),
        *_directions(efficient, faster=True),
        *_directions(performer, faster=True),
        *_directions(layer),
        *_directions(block),
        *_directions(replace(block, setting=replace(series, padding=True))),
        flex,
    )


def _batch_norm() -> Iterable[Duel]:
    for length, forward, both in (
        (128, 1.12, 1.12),
        (1024, 1.03, 1.05),
        (2048, 1.03, 1.05),
        (4096, 1.03, 1.05),
    ):
        yield from _bounded(Duel("bn / SDPA", "bn", "SDPA", filled(length), ""), forward, both)


def _scaled_heads() -> Iterable[Duel]:
    for length in (1024, 2048, 4096):
        name = f"sh{SCALES}"
        yield from _bounded(Duel(f"{name} / SDPA", name, "SDPA", filled(length), ""), 0.52, 0.52)


def _layer() -> Iterable[Duel]:
    name = "layer sh(1,2,4,8,1,2,4,8)"
    yield Duel(
        f"{name} / nn.MultiheadAttention",
        name,
        "nn.MultiheadAttention",
        filled(512),
        BOTH,
        bound=Bound(at_most=0.75),
    )


def _formula() -> Iterable[Duel]:
    name = f"bn+sh{SCALES}"
    case = Duel(f"{name} / the formula", name, f"literal {name}", filled(4096), "", faster=True)
    yield replace(case, direction=FORWARD, bound=Bound(at_least=8))
    yield replace(case, direction=BOTH, bound=Bound(at_least=5))
    for direction in DIRECTIONS:
        yield replace(case, direction=direction, measure=MEMORY, bound=Bound(at_least=8))


def _causal() -> Iterable[Duel]:
    setting = filled(2048, is_causal=True)
    yield from _bounded(Duel("bn / SDPA", "bn", "SDPA", setting, ""), 1.10, 1.10)
    name, most = f"sh{SCALES}", round(1.25 * WORK, 3)
    yield from _bounded(Duel(f"{name} / SDPA", name, "SDPA", setting, ""), most, most)


def _window() -> Iterable[Duel]:
    for peer, title, times in (
        ("SDPA window(64)", "SDPA with a mask", 12),
        ("local-attention", "local-attention", 1.6),
    ):
        case = Duel(f"window(64) / {title}", "window(64)", peer, filled(4096), "", faster=True)
        yield from _directions(case, Bound(at_least=times), faster=True)


def _linear() -> Iterable[Duel]:
    causal = filled(4096, is_causal=True)
    sums = Duel("linear / cumulative sums", "factored", "cumulative-sums", causal, "")
    yield from _directions(sums, Bound(at_least=40), faster=True)
    performer = Duel("linear / performer-pytorch", "factored", "performer-kernel", filled(4096), "")
    yield from _directions(performer, Bound(at_least=1.7), faster=True)


def _decoding() -> Iterable[Duel]:
    case = Duel("decoding bn / SDPA over a cache", "decoding bn", "SDPA-cache", Setting(4096), FORWARD)
    yield replace(case, bound=Bound(at_most=1.05))
    yield Duel(
        "decoding sh(1,2,4,8) / SDPA over a cache",
        "decoding sh(1,2,4,8)",
        "SDPA-cache",
        Setting(4096, heads=4),
        FORWARD,
        STATE,
        Bound(at_most=0.49),
    )


def _bounded(case: Duel, forward: float, both: float) -> list[Duel]:
    return [
        replace(case, direction=direction, bound=Bound(at_most=most))
        for direction, most in zip(DIRECTIONS, (forward, both), strict=True)
    ]


def _directions(case: Duel, bound: Bound | None = None, faster: bool = False) -> list[Duel]:
    return [
        replace(case, direction=direction, bound=bound or Bound(), faster=faster) for direction in DIRECTIONS
    ]
