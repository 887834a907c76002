"""A run: the gate for everything first, then the measurements, saved one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import torch

from benchmarks.performance.admission import BASELINE, Admission, Pair, in_words
from benchmarks.performance.cases import MEMORY, STATE, Doubling, Duel, FootprintCase, Plan, Sweep
from benchmarks.performance.child import Footprint, footprint
from benchmarks.performance.contenders import contender
from benchmarks.performance.machine import machine, peak_gflops
from benchmarks.performance.programs import FORWARD
from benchmarks.performance.results import DoublingRow, DuelRow, FootprintRow, Results, Skip, SweepRow
from benchmarks.performance.settings import Setting
from benchmarks.performance.sizes import available_bytes
from benchmarks.performance.timing import Budget, Clock, Spread, interleaved, ratio
from primaldual.errors import UnsupportedError

Step = Callable[[str, int, int], None]
"""Told before each step: what it is, how many are done, how many there are."""


@dataclass
class Runner:
    """Carries out a plan.

    Args:
        plan: what to measure.
        results: where measurements go.
        save: called after every step.
        on_step: called before every step.
        clock: seconds; tests bring their own.
        footprint: measures a fresh process; tests bring their own.
        available: bytes of memory to plan with.
    """

    plan: Plan
    results: Results
    save: Callable[[], None]
    on_step: Step
    clock: Clock = time.perf_counter
    footprint: Callable[[str, Setting, str, int], Footprint] = footprint
    available: int = field(default_factory=available_bytes)

    def __post_init__(self) -> None:
        self._admission = Admission(self.results, self.available)
        self._footprints: dict[tuple[str, Setting, str], Footprint] = {}
        self._done = 0

    def run(self) -> None:
        """Everything.

        Raises:
            ArgumentError: sizes that were asked for do not fit into memory.
            GateError: outputs or gradients of a contender are wrong; nothing has been timed.
        """
        plan = self.plan
        if plan.asked:
            self._admission.refuse_sizes(sweep.setting for sweep in plan.sweeps)
        self.results.machine = machine()
        self.results.skips += [Skip(name, None, reason) for name, reason in plan.left_out]
        for pair in plan.pairs():
            self._step(f"checking {pair[0]}", partial(self._admission.check, *pair))
        for dtype in dict.fromkeys(setting.dtype for _, setting in plan.pairs()):
            self.results.peaks[dtype] = peak_gflops(dtype, Budget(0.5), self.clock)
        for sweep in plan.sweeps:
            words = f"all against SDPA, {sweep.direction}, {sweep.setting}"
            self._step(words, partial(self._sweep, sweep))
        for duel in plan.duels:
            words = f"{duel.name}, {duel.direction}, N {duel.setting.length}"
            self._step(words, partial(self._duel, duel))
        for doubling in plan.doublings:
            words = f"{doubling.name}, {doubling.direction}, {doubling.measure}"
            self._step(words, partial(self._doubling, doubling))
        for case in plan.footprints:
            words = f"memory and first call of {case.contender}, N {case.setting.length}"
            self._step(words, partial(self._footprint, case))
        self.results.finished = True
        self.save()

    @property
    def total(self) -> int:
        """Steps of the plan."""
        plan = self.plan
        measured = (plan.pairs(), plan.sweeps, plan.duels, plan.doublings, plan.footprints)
        return sum(map(len, measured))

    def _step(self, words: str, work: Callable[[], None]) -> None:
        self.on_step(words, self._done, self.total)
        work()
        self._done += 1
        self.save()

    def _sweep(self, sweep: Sweep) -> None:
        names = [name for name in sweep.contenders if (name, sweep.setting) not in self._admission.missing]
        if BASELINE not in names:
            return
        tasks = self._tasks([(name, sweep.setting) for name in names], sweep.direction)
        seconds = {
            name: spent for (name, _), spent in interleaved(tasks, self.plan.budget, self.clock).items()
        }
        for name, spent in seconds.items():
            spread = Spread.of(spent)
            flops = contender(name).flops(sweep.setting) if sweep.direction == FORWARD else None
            gflops = None if flops is None else flops / spread.median / 1e9
            against = ratio(spent, seconds[BASELINE])
            row = SweepRow(name, sweep.setting, sweep.direction, spread, against, gflops)
            self.results.sweeps.append(row)

    def _duel(self, duel: Duel) -> None:
        sides = (duel.ours, duel.peer)
        if any((name, duel.setting) in self._admission.missing for name in sides):
            return
        if duel.measure == MEMORY:
            found = [self._fresh(name, duel.setting, duel.direction) for name in sides]
            if None in found:
                return
            ours, peer = ([float(one.memory)] for one in found if one is not None)
        elif duel.measure == STATE:
            held = [contender(name).build(duel.setting).state_bytes for name in sides]
            ours, peer = ([float(size or 0)] for size in held)
        else:
            tasks = self._tasks([(name, duel.setting) for name in sides], duel.direction)
            if len(tasks) < 2:
                return
            seconds = interleaved(tasks, self.plan.duel_budget, self.clock)
            ours, peer = seconds.values()
        value = ratio(peer, ours) if duel.faster else ratio(ours, peer)
        self.results.duels.append(DuelRow(duel, value, Spread.of(ours).median, Spread.of(peer).median))

    def _doubling(self, case: Doubling) -> None:
        pairs = [
            (case.contender, one)
            for one in case.settings
            if (case.contender, one) not in self._admission.missing
        ]
        if case.measure == MEMORY:
            found = {pair: self._fresh(*pair, case.direction) for pair in pairs}
            spent = {pair: [float(one.memory)] for pair, one in found.items() if one is not None}
        else:
            spent = interleaved(self._tasks(pairs, case.direction), self.plan.budget, self.clock)
        costs = {setting.length: cost for (_, setting), cost in spent.items()}
        for length, cost in costs.items():
            if (double := costs.get(2 * length)) is not None:
                self.results.doublings.append(
                    DoublingRow(
                        case.name,
                        case.contender,
                        case.direction,
                        case.measure,
                        length,
                        ratio(double, cost),
                        Spread.of(double).median,
                        case.bound,
                    )
                )

    def _tasks(self, pairs: Iterable[Pair], direction: str) -> dict[Pair, Callable[[], object]]:
        """What is timed; a peer whose first run fails at this size is skipped with its words."""
        found: dict[Pair, Callable[[], object]] = {}
        for name, setting in pairs:
            one = contender(name)
            try:
                task = one.build(setting).task(direction)
                if not one.family.ours and name != BASELINE:
                    task()
            except (RuntimeError, MemoryError) as error:
                if one.family.ours:
                    raise
                self._admission.skip(name, setting, f"cannot run here: {in_words(error)}")
                continue
            found[name, setting] = task
        return found

    def _footprint(self, case: FootprintCase) -> None:
        if (case.contender, case.setting) in self._admission.missing:
            return
        found = self._fresh(case.contender, case.setting, case.direction)
        if found is not None:
            self.results.footprints.append(FootprintRow(case, found.first_call, found.memory))

    def _fresh(self, name: str, setting: Setting, direction: str) -> Footprint | None:
        key = name, setting, direction
        if key not in self._footprints:
            try:
                self._footprints[key] = self.footprint(name, setting, direction, torch.get_num_threads())
            except UnsupportedError as error:
                self._admission.skip(name, setting, str(error))
                return None
        return self._footprints[key]
