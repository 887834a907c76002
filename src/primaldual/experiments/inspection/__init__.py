"""Inspect the heads of any model: load it, measure, draw, write a page."""

from primaldual.experiments.inspection.measuring import Inspection, inspect_heads
from primaldual.experiments.inspection.subject import Subject
from primaldual.experiments.inspection.subject_loading import open_subject

__all__ = ["Inspection", "Subject", "inspect_heads", "open_subject"]
