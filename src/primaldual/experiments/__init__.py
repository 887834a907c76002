"""Compare attentions on real data: run a grid, keep its results, write a report."""

from primaldual.experiments.comparison import Comparison, open_comparison
from primaldual.experiments.planning import Grid, OpenGrid, open_grid, read_grid
from primaldual.experiments.settings import DEFAULT_ATTENTIONS, Settings

__all__ = [
    "DEFAULT_ATTENTIONS",
    "Comparison",
    "Grid",
    "OpenGrid",
    "Settings",
    "open_comparison",
    "open_grid",
    "read_grid",
]
