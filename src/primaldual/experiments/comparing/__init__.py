"""Compare methods by their finished cells: groups, differences, tests over data sets."""

from primaldual.experiments.comparing.differences import SetDifference, differences, win_draw_loss
from primaldual.experiments.comparing.groups import Group, Groups, interval
from primaldual.experiments.comparing.overview import Overview, Row, overview
from primaldual.experiments.comparing.significance import Ranking, ranking

__all__ = [
    "Group",
    "Groups",
    "Overview",
    "Ranking",
    "Row",
    "SetDifference",
    "differences",
    "interval",
    "overview",
    "ranking",
    "win_draw_loss",
]
