"""The benchmark suite: ours against peers, right first, then timed in turn, with memory and operations beside it."""

from benchmarks.performance.cases import Bound, Doubling, Duel, FootprintCase, Plan, Sweep
from benchmarks.performance.contenders import contender
from benchmarks.performance.gate import GateError
from benchmarks.performance.page import page
from benchmarks.performance.plans import SECTIONS, Wanted, asked, full, only, quick
from benchmarks.performance.plots import figures
from benchmarks.performance.results import Results
from benchmarks.performance.run import Runner
from benchmarks.performance.settings import Setting

__all__ = [
    "SECTIONS",
    "Bound",
    "Doubling",
    "Duel",
    "FootprintCase",
    "GateError",
    "Plan",
    "Results",
    "Runner",
    "Setting",
    "Sweep",
    "Wanted",
    "asked",
    "contender",
    "figures",
    "full",
    "only",
    "page",
    "quick",
]
