"""Whole networks around the library's attention."""

from primaldual.models.heads import HEADS, FlattenHead, Head, MeanHead
from primaldual.models.time_series import TimeSeriesTransformer

__all__ = ["HEADS", "FlattenHead", "Head", "MeanHead", "TimeSeriesTransformer"]
