"""A text as tokens, in three parts by position."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from primaldual.errors import ArgumentError, DataError
from primaldual.language.alphabets import ALPHABETS, Alphabet, Characters


@dataclass(frozen=True)
class Corpus:
    """A text as tokens.

    Attributes:
        alphabet: what the tokens are.
        training: (tokens,), the first ones.
        validation: (tokens,), those behind.
        test: (tokens,), the last ones.
        fingerprint: the same for the same bytes.
    """

    alphabet: Alphabet
    training: Tensor
    validation: Tensor
    test: Tensor
    fingerprint: str


def read_corpus(
    file: str | Path,
    tokens: str = "bytes",
    validation: float = 0.05,
    test: float = 0.05,
    alphabet: Alphabet | None = None,
) -> Corpus:
    """Read a file and cut it, by position: first the training part, then validation, the test part last.

    Neighbouring passages of a text are alike, so parts drawn at random would tell of one another.

    Args:
        file: any file for bytes, UTF-8 for characters.
        tokens: "bytes", or "characters" for those that occur anywhere in the file.
        validation: share of the tokens, 0 = none.
        test: share of the tokens, 0 = none.
        alphabet: of a model that is trained further, in place of the file's own.

    Raises:
        ArgumentError: tokens or shares that are not accepted, characters that the given alphabet lacks.
        DataError: no such file, an empty one, or bytes that are not UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w") as text:
        ...     _ = text.write("to be or not to be, that is the question")
        ...     text.flush()
        ...     corpus = read_corpus(text.name, "characters", validation=0.1, test=0.1)
        >>> len(corpus.training), len(corpus.validation), len(corpus.test), corpus.alphabet.size
        (32, 4, 4, 14)
    """
    if tokens not in ALPHABETS:
        raise ArgumentError(f"tokens must be one of {', '.join(ALPHABETS)}; got {tokens!r}")
    for name, share in {"validation": validation, "test": test}.items():
        if not 0 <= share < 1:
            raise ArgumentError(f"{name} must lie in [0, 1); got {share!r}")
    if validation + test >= 1:
        raise ArgumentError(
            f"validation and test must leave something to train on; got {validation} and {test}"
        )
    content = _content(Path(file).expanduser())
    if alphabet is None:
        found: Alphabet = ALPHABETS[tokens].of(content, str(file))
    else:
        found = alphabet
        other = ALPHABETS[alphabet.name].of(content, str(file))
        if isinstance(other, Characters):
            found.encode(other.characters, f"text {file}")
    numbers = found.tokens(content)
    counts = [round(share * len(numbers)) for share in (validation, test)]
    first, second = len(numbers) - sum(counts), len(numbers) - counts[1]
    return Corpus(
        found,
        numbers[:first],
        numbers[first:second],
        numbers[second:],
        hashlib.sha256(content).hexdigest()[:16],
    )


def check_length(part: Tensor, name: str, context: int) -> None:
    """Refuse a part that has no whole window.

    Raises:
        DataError: fewer tokens than context + 1.
    """
    if len(part) < context + 1:
        raise DataError(
            f"context {context} needs {context + 1} tokens or more in the {name} part; this text has {len(part)} there"
        )


def _content(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"text {file} cannot be read: {error.strerror}") from error
    if not content:
        raise DataError(f"text {file} is empty")
    return content
