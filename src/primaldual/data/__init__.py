"""Real time series: by name of the aeon archive, or from a ``.ts``, ``.npz`` or ``.csv`` file."""

from primaldual.data.dataset import Dataset
from primaldual.data.loading import load, load_pair

__all__ = ["Dataset", "load", "load_pair"]
