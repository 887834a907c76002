"""Alphabets: from text to numbers of tokens and back."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from primaldual.errors import ArgumentError, DataError


class Alphabet(Protocol):
    """Tokens of text.

    Attributes:
        name: "bytes" or "characters".
        size: number of tokens.
    """

    name: str
    size: int

    @classmethod
    def of(cls, content: bytes, source: str) -> Self:
        """The alphabet of a text; ``source`` names it in errors."""

    def tokens(self, content: bytes) -> Tensor:
        """(tokens,), of the bytes of a text that the alphabet was made of."""

    def encode(self, text: str, name: str = "text") -> Tensor:
        """int64 (tokens,), of any text; ``name`` stands for it in errors."""

    def decode(self, tokens: Iterable[int]) -> Iterator[str]:
        """A piece of text for every token, "" where a character is not whole yet; what is left at the end."""

    def byte_count(self, tokens: Tensor) -> int:
        """Bytes of the tokens in UTF-8."""

    def description(self) -> dict[str, str]:
        """What `read_alphabet` reads."""

    @classmethod
    def read(cls, description: Mapping[str, str]) -> Self:
        """The alphabet of a description."""


class Bytes:
    """Every byte is a token, so any file is a text.

    Example:
        >>> Bytes().encode("é").tolist(), "".join(Bytes().decode([195, 169]))
        ([195, 169], 'é')
    """

    name = "bytes"
    size = 256

    @classmethod
    def of(cls, content: bytes, source: str) -> Self:
        """The same for every text."""
        del content, source
        return cls()

    def tokens(self, content: bytes) -> Tensor:
        """uint8 (bytes,)."""
        return torch.frombuffer(bytearray(content), dtype=torch.uint8)

    def encode(self, text: str, name: str = "text") -> Tensor:
        """The bytes of the text in UTF-8.

        Raises:
            ArgumentError: half of a surrogate pair, which stands for no character and no byte.
        """
        try:
            content = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ArgumentError(
                f"{name} cannot be written in UTF-8: {text[error.start]!r} is not a character"
            ) from None
        return torch.tensor(list(content), dtype=torch.long)

    def decode(self, tokens: Iterable[int]) -> Iterator[str]:
        """Characters as soon as their last byte is there; bytes that are not UTF-8 become U+FFFD."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            yield decoder.decode(bytes([token]))
        yield decoder.decode(b"", final=True)

    def byte_count(self, tokens: Tensor) -> int:
        """One for every token."""
        return len(tokens)

    def description(self) -> dict[str, str]:
        """Nothing but the name."""
        return {"tokens": self.name}

    @classmethod
    def read(cls, description: Mapping[str, str]) -> Self:
        """The same for every description."""
        del description
        return cls()


class Characters:
    """Every character (Unicode code point) of a text is a token, in the order of code points.

    Args:
        characters: each once, sorted.

    Example:
        >>> letters = Characters.of(b"abracadabra", "spell")
        >>> letters.size, letters.encode("cab").tolist()
        (5, [2, 0, 1])
        >>> letters.encode("xyz")
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: text has 3 characters that the model does not know: 'x', 'y', 'z'
    """

    name = "characters"

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.size = len(characters)
        self._numbers = {character: number for number, character in enumerate(characters)}

    @classmethod
    def of(cls, content: bytes, source: str) -> Self:
        """The characters of a text.

        Raises:
            DataError: bytes that are not UTF-8.
        """
        try:
            return cls("".join(sorted(set(content.decode("utf-8")))))
        except UnicodeDecodeError as error:
            raise DataError(
                f"text {source} is not valid UTF-8 at byte {error.start}; tokens = bytes reads any file"
            ) from error

    def tokens(self, content: bytes) -> Tensor:
        """int32 (characters,)."""
        points = np.frombuffer(content.decode("utf-8").encode("utf-32-le"), dtype="<u4")
        known = np.array([ord(character) for character in self.characters], dtype="<u4")
        return torch.from_numpy(np.searchsorted(known, points).astype(np.int32))

    def encode(self, text: str, name: str = "text") -> Tensor:
        """The numbers of the characters.

        Raises:
            ArgumentError: characters that are not in the alphabet.
        """
        unknown = sorted(set(text) - self._numbers.keys())
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise ArgumentError(
                f"{name} has {len(unknown)} character{'s' * (len(unknown) > 1)} that the model does not know: "
                f"{', '.join(map(repr, unknown[:5]))}{more}"
            )
        return torch.tensor([self._numbers[character] for character in text], dtype=torch.long)

    def decode(self, tokens: Iterable[int]) -> Iterator[str]:
        """One character for every token."""
        for token in tokens:
            yield self.characters[token]

    def byte_count(self, tokens: Tensor) -> int:
        """Bytes of the characters in UTF-8."""
        sizes = torch.tensor([len(character.encode()) for character in self.characters])
        return int((torch.bincount(tokens, minlength=self.size) * sizes).sum())

    def description(self) -> dict[str, str]:
        """The name and the characters."""
        return {"tokens": self.name, "characters": self.characters}

    @classmethod
    def read(cls, description: Mapping[str, str]) -> Self:
        """The alphabet of its characters.

        Raises:
            ArgumentError: something other than sorted characters, each once.
        """
        characters = description["characters"]
        if (
            not isinstance(characters, str)
            or list(characters) != sorted(set(characters))
            or any("\ud800" <= character <= "\udfff" for character in characters)
        ):
            raise ArgumentError(
                f"characters must be a text of Unicode characters, each once and sorted; got {characters!r:.80}"
            )
        return cls(characters)


ALPHABETS: Mapping[str, type[Bytes] | type[Characters]] = {"bytes": Bytes, "characters": Characters}
"""Alphabets by name."""


def read_alphabet(description: Mapping[str, str]) -> Alphabet:
    """The alphabet that a `description` tells of.

    Example:
        >>> read_alphabet(Characters("ab").description()).size
        2
    """
    return ALPHABETS[description["tokens"]].read(description)
