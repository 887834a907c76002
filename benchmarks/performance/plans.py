"""What a run measures: the full plan, the quick one, or the sizes that were asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.performance.cases import TIME, FootprintCase, Plan, Sweep
from benchmarks.performance.contenders import contender
from benchmarks.performance.goals import SCALES, TOKENS, comparisons, doublings, filled, goals
from benchmarks.performance.programs import BOTH, DIRECTIONS, FORWARD
from benchmarks.performance.settings import DTYPES, Setting
from benchmarks.performance.timing import Budget
from primaldual.errors import ArgumentError

OURS = ("bn", f"sh{SCALES}", f"bn+sh{SCALES}", "window(64)", "linear")
FORMULA = f"literal bn+sh{SCALES}"
PEERS = ("SDPA", *OURS, "local-attention", "performer-pytorch", FORMULA)
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
LONGEST_FORMULA = 4096
TOO_LONG = (FORMULA, f"timed up to {LONGEST_FORMULA} tokens: beyond, one call takes many seconds")
SECTIONS = ("sweep", "goals", "peers", "growth", "memory")


@dataclass(frozen=True)
class Wanted:
    """Sizes asked for on the command line; every combination is measured.

    Attributes:
        lengths: N, all of `LENGTHS` when empty.
        head_dims: D.
        batch: sequences; as many as give 4096 tokens when None.
        causal: False, True or both.
        padding: False, True or both.
        dtypes: keys of `DTYPES`.
    """

    lengths: tuple[int, ...] = ()
    head_dims: tuple[int, ...] = (64,)
    batch: int | None = None
    causal: tuple[bool, ...] = (False,)
    padding: tuple[bool, ...] = (False,)
    dtypes: tuple[str, ...] = ("fp32",)

    def settings(self) -> list[Setting]:
        """Every combination, short ones first.

        Raises:
            ArgumentError: a number below 1, or a format that is not timed.
        """
        for name, numbers in (("lengths", self.lengths), ("head_dims", self.head_dims)):
            for number in numbers:
                if number < 1:
                    raise ArgumentError(f"{name} must be 1 or more; got {number}")
        if self.batch is not None and self.batch < 1:
            raise ArgumentError(f"batch must be 1 or more; got {self.batch}")
        for dtype in self.dtypes:
            if dtype not in DTYPES or dtype == "fp64":
                raise ArgumentError(f"dtypes must be fp32 or bf16; got {dtype}")
        return [
            Setting(length, self.batch or max(1, TOKENS // length), 8, head_dim, is_causal, padding, dtype)
            for length, head_dim, is_causal, padding, dtype in itertools.product(
                sorted(self.lengths or LENGTHS), self.head_dims, self.causal, self.padding, self.dtypes
            )
        ]


def variants() -> list[Setting]:
    """One setting for each option, at 1024 tokens."""
    base = filled(1024)
    return [
        replace(base, head_dim=32),
        replace(base, head_dim=128),
        replace(base, is_causal=True),
        replace(base, padding=True),
        replace(base, dtype="bf16"),
    ]


def sweeps(settings: Iterable[Setting]) -> tuple[Sweep, ...]:
    """All contenders on every setting, in both directions."""
    return tuple(
        Sweep(
            tuple(name for name in PEERS if name != FORMULA or setting.length <= LONGEST_FORMULA),
            setting,
            direction,
        )
        for setting in settings
        for direction in DIRECTIONS
    )


def footprints(lengths: Sequence[int]) -> tuple[FootprintCase, ...]:
    """Memory and first calls: ours and SDPA at every length, every peer at the one in the middle."""
    middle = lengths[len(lengths) // 2]
    found = [FootprintCase(name, Setting(length), BOTH) for length in lengths for name in ("SDPA", *OURS)]
    peers = (
        FORMULA,
        "local-attention",
        "performer-pytorch",
        "linear-attention-transformer",
        "SDPA window(64)",
    )
    found += [FootprintCase(name, Setting(middle), BOTH) for name in peers]
    found.append(FootprintCase("cumulative-sums", Setting(middle, is_causal=True), BOTH))
    found.append(FootprintCase(f"compiled bn+sh{SCALES}", Setting(1024), BOTH))
    found.append(FootprintCase("FlexAttention", Setting(1024), FORWARD))
    return tuple(found)


def full() -> Plan:
    """Every section; made for about a quarter of an hour on two cores."""
    return Plan(
        sweeps=sweeps([filled(length) for length in LENGTHS] + variants()),
        duels=(*goals(), *comparisons()),
        doublings=doublings(),
        footprints=footprints((512, 2048, 4096)),
        left_out=(TOO_LONG,),
    )


def quick() -> Plan:
    """One or two minutes: forward, shorter sequences, fewer rounds, nothing that compiles."""
    duels = tuple(
        duel
        for duel in (*goals(), *comparisons())
        if (duel.direction == FORWARD or "layer" in duel.ours) and not contender(duel.peer).family.compiled
    )
    names = (f"compiled bn+sh{SCALES}", "FlexAttention")
    return Plan(
        sweeps=sweeps([filled(length) for length in (128, 512, 2048)]),
        duels=duels,
        doublings=tuple(
            case
            for case in doublings((1024, 2048, 4096))
            if case.direction == FORWARD and case.measure == TIME
        ),
        footprints=tuple(
            one for one in footprints((512, 1024)) if not contender(one.contender).family.compiled
        ),
        budget=Budget(0.3),
        duel_budget=Budget(0.3),
        left_out=tuple((name, "a quick run leaves out what compiles") for name in names),
    )


def asked(wanted: Wanted) -> Plan:
    """A sweep over the sizes that were asked for, and nothing else."""
    settings = wanted.settings()
    too_long = any(setting.length > LONGEST_FORMULA for setting in settings)
    return Plan(sweeps=sweeps(settings), left_out=(TOO_LONG,) if too_long else (), asked=True)


def only(plan: Plan, sections: Sequence[str]) -> Plan:
    """The named sections of a plan; all of them when none is named.

    Raises:
        ArgumentError: an unknown section.
    """
    for name in sections:
        if name not in SECTIONS:
            raise ArgumentError(f"section must be one of {', '.join(SECTIONS)}; got {name}")
    wanted = set(sections or SECTIONS)
    return replace(
        plan,
        sweeps=plan.sweeps if "sweep" in wanted else (),
        duels=tuple(duel for duel in plan.duels if ("peers" if duel.bound.empty else "goals") in wanted),
        doublings=plan.doublings if "growth" in wanted else (),
        footprints=plan.footprints if "memory" in wanted else (),
    )
