"""The benchmark suite: ours against peers, right first, then timed in turn, with memory and operations beside it."""

from primaldual.bench.cases import Bound, Doubling, Duel, FootprintCase, Plan, Sweep
from primaldual.bench.contenders import contender
from primaldual.bench.gate import GateError
from primaldual.bench.page import page
from primaldual.bench.plans import SECTIONS, Wanted, asked, full, only, quick
from primaldual.bench.plots import figures
from primaldual.bench.results import Results
from primaldual.bench.run import Runner
from primaldual.bench.settings import Setting

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
