"""Looking at the heads of a model that somebody has: loading it, measuring, figures, page."""

from primaldual.experiments.inspection.measuring import Inspection, inspect_heads
from primaldual.experiments.inspection.opening import open_subject
from primaldual.experiments.inspection.subject import Subject

__all__ = ["Inspection", "Subject", "inspect_heads", "open_subject"]
