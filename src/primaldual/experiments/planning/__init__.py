"""What a grid consists of: read from TOML or stated in Python, checked before anything runs."""

from primaldual.experiments.planning.config import read_grid
from primaldual.experiments.planning.grid import Grid
from primaldual.experiments.planning.plan import OpenGrid, open_grid

__all__ = ["Grid", "OpenGrid", "open_grid", "read_grid"]
