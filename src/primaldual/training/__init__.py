"""Train a network: settings, one explicit loop, callbacks, checkpoints."""

from primaldual.training.batches import Batch, Data
from primaldual.training.callbacks import Callback, Record, TrainingInterrupted, TrainingState
from primaldual.training.examples import Examples
from primaldual.training.execution import Execution
from primaldual.training.loop import train
from primaldual.training.objectives import Classification, Objective, Regression
from primaldual.training.optimizers import OPTIMIZERS
from primaldual.training.precision import PRECISIONS
from primaldual.training.progress import ProgressBar
from primaldual.training.schedules import SCHEDULES
from primaldual.training.settings import TrainingSettings
from primaldual.training.termination import TrainingTerminated
from primaldual.training.trackers import Trackers

__all__ = [
    "OPTIMIZERS",
    "PRECISIONS",
    "SCHEDULES",
    "Batch",
    "Callback",
    "Classification",
    "Data",
    "Examples",
    "Execution",
    "Objective",
    "ProgressBar",
    "Record",
    "Regression",
    "Trackers",
    "TrainingInterrupted",
    "TrainingSettings",
    "TrainingState",
    "TrainingTerminated",
    "train",
]
