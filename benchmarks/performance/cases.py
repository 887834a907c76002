"""What is measured, as data: sweeps, duels, doublings, footprints."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.performance.settings import Setting
from benchmarks.performance.timing import Budget

TIME, MEMORY, STATE = "time", "peak memory", "state bytes"


@dataclass(frozen=True)
class Bound:
    """What a goal asks for; no number asks for nothing.

    Example:
        >>> str(Bound(at_least=8)), Bound(at_most=1.03).holds(1.04), Bound(3.6, 4.4).holds(4)
        ('≥ 8', False, True)
    """

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a measured value meets it."""
        enough = self.at_least is None or value >= self.at_least
        return enough and (self.at_most is None or value <= self.at_most)

    @property
    def empty(self) -> bool:
        """Nothing is asked for."""
        return self.at_least is None and self.at_most is None

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:.3g} to {self.at_most:.3g}"
        if self.at_most is not None:
            return f"≤ {self.at_most:.3g}"
        return "" if self.at_least is None else f"≥ {self.at_least:.3g}"


@dataclass(frozen=True)
class Duel:
    """Ours against a peer on one setting.

    Attributes:
        name: the goal, one for all its cases.
        ours: contender.
        peer: contender.
        setting: sizes.
        direction: of `DIRECTIONS`.
        measure: "time", "peak memory" or "state bytes".
        bound: the goal, on ours / peer, or on peer / ours when ``faster``.
        faster: the value is peer / ours, how many times ours is faster or smaller.
    """

    name: str
    ours: str
    peer: str
    setting: Setting
    direction: str
    measure: str = TIME
    bound: Bound = Bound()
    faster: bool = False


@dataclass(frozen=True)
class Doubling:
    """How a contender's cost grows from length to length, each twice the one before.

    Attributes:
        name: the goal.
        contender: what grows.
        settings: one per length, rising.
        direction: of `DIRECTIONS`.
        bound: on cost at 2 N / cost at N.
        measure: "time" or "peak memory".
    """

    name: str
    contender: str
    settings: tuple[Setting, ...]
    direction: str
    bound: Bound
    measure: str = TIME


@dataclass(frozen=True)
class Sweep:
    """Contenders in one interleaved run on one setting, ratios to the first of them."""

    contenders: tuple[str, ...]
    setting: Setting
    direction: str


@dataclass(frozen=True)
class FootprintCase:
    """First call and peak memory of a contender on one setting."""

    contender: str
    setting: Setting
    direction: str


@dataclass(frozen=True)
class Plan:
    """Everything that a run measures, and how long it may take.

    Attributes:
        sweeps: ratios to SDPA.
        duels: goals and peers.
        doublings: cost growth.
        footprints: memory and first calls.
        budget: of a sweep and of a doubling.
        duel_budget: of a duel.
        left_out: what this plan leaves out on purpose, name and reason.
        asked: the sizes were asked for by the user and are refused rather than skipped.
    """

    sweeps: tuple[Sweep, ...] = ()
    duels: tuple[Duel, ...] = ()
    doublings: tuple[Doubling, ...] = ()
    footprints: tuple[FootprintCase, ...] = ()
    budget: Budget = field(default_factory=lambda: Budget(2))
    duel_budget: Budget = field(default_factory=lambda: Budget(3))
    left_out: tuple[tuple[str, str], ...] = ()
    asked: bool = False

    def pairs(self) -> list[tuple[str, Setting]]:
        """Every contender with every setting that it is measured on, without repetition."""
        found: list[tuple[str, Setting]] = []
        for sweep in self.sweeps:
            found += [(name, sweep.setting) for name in sweep.contenders]
        for duel in self.duels:
            found += [(name, duel.setting) for name in (duel.ours, duel.peer)]
        for doubling in self.doublings:
            found += [(doubling.contender, setting) for setting in doubling.settings]
        found += [(one.contender, one.setting) for one in self.footprints]
        return list(dict.fromkeys(found))
