"""Small plans, and machines without a clock."""

from itertools import count

from benchmarks.performance import (
    Bound,
    Doubling,
    Duel,
    FootprintCase,
    Plan,
    Results,
    Runner,
    Setting,
    Sweep,
    run,
    timing,
)
from benchmarks.performance.cases import MEMORY
from benchmarks.performance.child import Footprint
from benchmarks.performance.programs import BOTH, FORWARD
from benchmarks.performance.timing import Budget

SMALL = Setting(16, heads=2, head_dim=4)
ROUNDS = Budget(0, least=2, most=2)

PLAN = Plan(
    sweeps=tuple(
        Sweep(("SDPA", "bn", "literal bn"), Setting(length, heads=2, head_dim=4), direction)
        for length in (8, 16)
        for direction in (FORWARD, BOTH)
    ),
    duels=(
        Duel("bn / SDPA", "bn", "SDPA", SMALL, FORWARD, bound=Bound(at_most=1.03)),
        Duel("bn / formula", "bn", "literal bn", SMALL, BOTH, MEMORY, Bound(at_least=8), faster=True),
        Duel("layer / torch", "layer", "nn.MultiheadAttention", SMALL, BOTH),
    ),
    doublings=(
        Doubling("bn doubled", "bn", (Setting(8, heads=2), Setting(16, heads=2)), BOTH, Bound(3.6, 4.4)),
    ),
    footprints=(FootprintCase("bn", SMALL, BOTH),),
    budget=ROUNDS,
    duel_budget=ROUNDS,
    left_out=(("compiled", "takes long"),),
)


def footprint(name, setting, direction, threads):
    return Footprint(first_call=0.5, memory=900 if name.startswith("literal") else 100)


def runner(monkeypatch, plan=PLAN, **options):
    """A runner whose clock ticks once per reading, and what it has saved so far."""
    monkeypatch.setattr(run, "peak_gflops", lambda dtype, budget, clock: 50.0)
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)  # a second in a process that holds a test suite
    ticks = count()
    results = Results("python -m benchmarks.performance", "2026-01-01, 00:00 UTC")
    saved = []
    given = {"clock": lambda: float(next(ticks)), "footprint": footprint, "available": 2**34, **options}
    given.setdefault("on_step", lambda words, done, total: None)
    return Runner(plan, results, lambda: saved.append(results.to_json()), **given), results, saved
