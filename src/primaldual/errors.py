"""Errors of the library: one base class, each kind also the built-in that callers expect."""

import difflib
from collections.abc import Iterable


class PrimalDualError(Exception):
    """Base of every error that primaldual raises on purpose."""


class ArgumentError(PrimalDualError, ValueError):
    """An argument has a value that is not accepted."""


class ShapeError(PrimalDualError, ValueError):
    """Tensors or arrays do not fit together."""


class SpecError(PrimalDualError, ValueError):
    """An attention spec such as ``"bn+sh(1,2)"`` cannot be read."""


class DataError(PrimalDualError, ValueError):
    """A data set, file or label cannot be used as given."""


class CheckpointError(PrimalDualError, ValueError):
    """A saved model is corrupt, foreign or does not fit."""


class UnsupportedError(PrimalDualError, NotImplementedError):
    """A combination that is well defined but not offered."""


class ConvergenceError(PrimalDualError, RuntimeError):
    """A solver stopped before it reached its tolerance.

    Attributes:
        solution: the best that was found, with the gap that it has.
    """

    def __init__(self, message: str, solution: object) -> None:
        super().__init__(message)
        self.solution = solution


class SlowAttentionWarning(UserWarning):
    """An attention takes far more work than softmax attention on the same tensors; the message says why."""


def did_you_mean(given: str, accepted: Iterable[str]) -> str:
    """A hint to end an error message with: the accepted words closest to a given one, "" if none is.

    Example:
        >>> did_you_mean("softmx", ["softmax", "linear"]), did_you_mean("x", ["softmax"])
        ('; did you mean softmax?', '')
    """
    by_case = {word.lower(): word for word in accepted}
    close = difflib.get_close_matches(given.lower(), by_case, n=2, cutoff=0.65)
    return f"; did you mean {' or '.join(by_case[word] for word in close)}?" if close else ""
