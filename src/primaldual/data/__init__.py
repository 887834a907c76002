"""Read time series by a name of the aeon archive or from ``.ts``, ``.npz`` and ``.csv`` files, and tables of numbers."""

from primaldual.data.dataset import Dataset
from primaldual.data.loading import load, load_pair
from primaldual.data.reading import Reading
from primaldual.data.tables import Table, load_table

__all__ = ["Dataset", "Reading", "Table", "load", "load_pair", "load_table"]
