"""What was measured, and its JSON."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from benchmarks.performance.cases import Bound, Duel, FootprintCase
from benchmarks.performance.gate import Check
from benchmarks.performance.settings import Setting
from benchmarks.performance.timing import Spread
from primaldual.errors import DataError
from primaldual.reporting.files import write_text

SCHEMA = 1


@dataclass(frozen=True)
class SweepRow:
    """A contender in a sweep.

    Attributes:
        contender: its name.
        setting: sizes.
        direction: forward, or forward+backward.
        seconds: of one call.
        ratio: to SDPA, round by round.
        gflops: operations of a forward pass by its seconds, in 10^9 / s; None where not counted.
    """

    contender: str
    setting: Setting
    direction: str
    seconds: Spread
    ratio: Spread
    gflops: float | None


@dataclass(frozen=True)
class DuelRow:
    """A duel, measured.

    Attributes:
        case: what was asked.
        value: ours / peer, or peer / ours if the case says faster.
        ours: median, seconds or bytes.
        peer: median, seconds or bytes.
    """

    case: Duel
    value: Spread
    ours: float
    peer: float

    @property
    def reached(self) -> bool:
        """Whether the median meets the goal."""
        return self.case.bound.holds(self.value.median)


@dataclass(frozen=True)
class DoublingRow:
    """Cost at 2 N by cost at N.

    Attributes:
        name: the goal.
        contender: what grows.
        direction: forward, or forward+backward.
        measure: time or peak memory.
        length: N.
        value: the factor.
        cost: at 2 N, seconds or bytes.
        bound: the goal.
    """

    name: str
    contender: str
    direction: str
    measure: str
    length: int
    value: Spread
    cost: float
    bound: Bound

    @property
    def reached(self) -> bool:
        """Whether the median meets the goal."""
        return self.bound.holds(self.value.median)


@dataclass(frozen=True)
class FootprintRow:
    """First call, in seconds, and peak memory, in bytes, of a fresh process."""

    case: FootprintCase
    first_call: float
    memory: int


@dataclass(frozen=True)
class Skip:
    """What was not measured: a contender, on a setting or everywhere, and why."""

    contender: str
    setting: Setting | None
    reason: str


@dataclass
class Results:
    """A run, finished or not.

    Attributes:
        command: how it was started.
        started: date and time, UTC.
        quick: too few rounds to judge by.
        machine: processor, versions and so on.
        peaks: 10^9 operations / s of a matrix product, by number format.
        checks: the gate.
        sweeps: ratios to SDPA.
        duels: goals and peers.
        doublings: cost growth.
        footprints: memory and first calls.
        skips: what is missing and why.
        finished: every step was made.
        schema: version of this format.
    """

    command: str
    started: str
    quick: bool = False
    machine: dict[str, Any] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    sweeps: list[SweepRow] = field(default_factory=list)
    duels: list[DuelRow] = field(default_factory=list)
    doublings: list[DoublingRow] = field(default_factory=list)
    footprints: list[FootprintRow] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    finished: bool = False
    schema: int = SCHEMA

    def to_json(self) -> str:
        """As text.

        Example:
            >>> Results.from_json(Results("python -m benchmarks.performance", "now").to_json()).started
            'now'
        """
        return json.dumps(_rounded(asdict(self)), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Back from text.

        Raises:
            DataError: something else than results.
        """
        try:
            found = json.loads(text)
            if found["schema"] != SCHEMA:
                raise DataError(f"results must have schema {SCHEMA}; got {found['schema']}")
            built = _build(cls, found)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise DataError(f"results of benchmarks.performance cannot be read: {error}") from None
        assert isinstance(built, Results)
        return built

    def save(self, path: Path) -> None:
        """Write the file in one move, so that a stop leaves the former one or this one."""
        write_text(path, self.to_json())


def _rounded(value: Any) -> Any:
    """Floats to five digits: more would pretend."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value


def _build(kind: Any, value: Any) -> Any:
    """A value of an annotated type, dataclasses rebuilt."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _build(arguments[0], value)
    if origin is list:
        return [_build(arguments[0], one) for one in value]
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{part.name: _build(hints[part.name], value[part.name]) for part in fields(kind)})
    return value
