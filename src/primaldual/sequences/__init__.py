"""Train classifiers of long sequences with any attention: data of Long Range Arena's tasks, configurations, one run."""

from primaldual.sequences.listops import ListOps
from primaldual.sequences.token_sets import SequenceParts, TokenSet

__all__ = ["ListOps", "SequenceParts", "TokenSet"]
