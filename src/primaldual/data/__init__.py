"""Read time series from aeon's archive, ``.ts``, ``.npz`` and ``.csv`` files and data frames; and tables of numbers."""

from primaldual.data.dataset import Dataset
from primaldual.data.frames import FrameCases, from_frame
from primaldual.data.loading import load, load_pair
from primaldual.data.reading import Reading
from primaldual.data.tables import Table, load_table

__all__ = ["Dataset", "FrameCases", "Reading", "Table", "from_frame", "load", "load_pair", "load_table"]
