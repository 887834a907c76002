"""Comparing attentions on real data: the grid of runs, its results on disk, its report."""

from primaldual.experiments.comparison import Comparison, open_comparison
from primaldual.experiments.settings import DEFAULT_ATTENTIONS, Run, Settings

__all__ = ["DEFAULT_ATTENTIONS", "Comparison", "Run", "Settings", "open_comparison"]
