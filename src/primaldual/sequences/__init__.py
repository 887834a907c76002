"""Train classifiers of long sequences with any attention: the tasks of Long Range Arena, configurations, one run."""

from primaldual.sequences.configs import CONFIGS, Config
from primaldual.sequences.listops import ListOps
from primaldual.sequences.run_settings import RunSettings
from primaldual.sequences.runs import PreparedRun, SequenceRun
from primaldual.sequences.tasks import TASKS, parts_of
from primaldual.sequences.token_data import TokenData
from primaldual.sequences.token_sets import SequenceParts, TokenSet

__all__ = [
    "CONFIGS",
    "TASKS",
    "Config",
    "ListOps",
    "PreparedRun",
    "RunSettings",
    "SequenceParts",
    "SequenceRun",
    "TokenData",
    "TokenSet",
    "parts_of",
]
