"""Numbers and names in words."""

from __future__ import annotations

from benchmarks.performance.cases import TIME, Duel
from benchmarks.performance.results import DuelRow
from benchmarks.performance.settings import Setting
from benchmarks.performance.timing import Spread
from primaldual.reporting.numbers import bytes_text, seconds_text


def case_name(case: Duel) -> str:
    """The name, and the masks."""
    return case.name + ", causal" * case.setting.is_causal + ", padded" * case.setting.padding


def sizes_text(setting: Setting) -> str:
    """Sizes but for batch and length.

    Example:
        >>> sizes_text(Setting(10, is_causal=True))
        '8 heads of 64, fp32, causal'
    """
    words = f"{setting.heads} heads of {setting.head_dim}, {setting.dtype}"
    return words + ", causal" * setting.is_causal + ", padded" * setting.padding


def what_text(case: Duel) -> str:
    """The direction, and what is measured if it is not the time."""
    return case.direction if case.measure == TIME else f"{case.direction}, {case.measure}"


def cost_text(measure: str, cost: float) -> str:
    """Seconds or bytes.

    Example:
        >>> cost_text("time", 0.5), cost_text("peak memory", 2048)
        ('500 ms', '2.0 KiB')
    """
    return seconds_text(cost) if measure == TIME else bytes_text(cost)


def times(case: Duel) -> str:
    """What follows a number that says how many times faster or smaller ours is; nothing follows a ratio."""
    return " ×" * case.faster


def value_text(row: DuelRow) -> str:
    """Median and quartiles."""
    middle, bracket, rest = spread_text(row.value).partition(" (")
    return middle + times(row.case) + bracket + rest


def bound_text(case: Duel) -> str:
    """The goal.

    Example:
        >>> from benchmarks.performance.cases import Bound
        >>> bound_text(Duel("", "bn", "SDPA", Setting(8), "forward", bound=Bound(at_least=8), faster=True))
        '≥ 8 ×'
    """
    return str(case.bound) + times(case)


def spread_text(spread: Spread) -> str:
    """Median, and quartiles in brackets where there are several rounds.

    Example:
        >>> spread_text(Spread(1.0312, 1.02, 1.041, 9)), spread_text(Spread(12.3, 12.3, 12.3, 1))
        ('1.03 (1.02–1.04)', '12.3')
    """
    digits = 2 if spread.median < 10 else 1
    middle = f"{spread.median:.{digits}f}"
    if spread.rounds == 1:
        return middle
    return f"{middle} ({spread.lower:.{digits}f}–{spread.upper:.{digits}f})"


def against_text(spread: Spread) -> str:
    """The same, and a bare 1 for the baseline against itself.

    Example:
        >>> against_text(Spread(1.0, 1.0, 1.0, 9))
        '1'
    """
    return "1" if spread.lower == spread.upper == 1 else spread_text(spread)


def rate_text(gflops: float | None, peak: float | None) -> str:
    """GFLOP/s and its share of a matrix product's."""
    if gflops is None:
        return ""
    return f"{gflops:.3g}" + ("" if not peak else f", {gflops / peak:.0%}")


def verdict(reached: bool) -> str:
    """In a word."""
    return "reached" if reached else "missed"
