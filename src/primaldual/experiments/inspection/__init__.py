"""Inspect the heads of any model: load it, measure, draw, write a page."""

from primaldual.experiments.inspection.measuring import Inspection, inspect_heads
from primaldual.experiments.inspection.opening import open_subject
from primaldual.experiments.inspection.subject import Subject

__all__ = ["Inspection", "Subject", "inspect_heads", "open_subject"]
