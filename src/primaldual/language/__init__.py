"""Train a small causal decoder on any text file: data, one run, scores, generation, conversion."""

from primaldual.language.alphabets import Bytes, Characters
from primaldual.language.conversion import converted
from primaldual.language.corpus import Corpus, read_corpus
from primaldual.language.generation import generate_tokens
from primaldual.language.language_model import LanguageModel
from primaldual.language.next_token import NextToken, TextScores, token_losses
from primaldual.language.run_settings import TextSettings
from primaldual.language.runs import PreparedTextRun, TextRun
from primaldual.language.scale_choice import with_cache_share
from primaldual.language.token_windows import TokenWindows

__all__ = [
    "Bytes",
    "Characters",
    "Corpus",
    "LanguageModel",
    "NextToken",
    "PreparedTextRun",
    "TextRun",
    "TextScores",
    "TextSettings",
    "TokenWindows",
    "converted",
    "generate_tokens",
    "read_corpus",
    "token_losses",
    "with_cache_share",
]
