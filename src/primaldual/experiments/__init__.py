"""Compare attentions on real data: run a grid, keep its results, write a report."""

from primaldual.experiments.comparison import Comparison, open_comparison
from primaldual.experiments.settings import DEFAULT_ATTENTIONS, Settings

__all__ = ["DEFAULT_ATTENTIONS", "Comparison", "Settings", "open_comparison"]
