"""ListOps: nested operations on digits, generated many trees at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from primaldual.errors import ArgumentError

Whole = npt.NDArray[np.int64]

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
WORDS = (*"0123456789", *OPERATORS, "]")
"""What the tokens stand for."""

_OPENING, _CLOSING = 10, 14


@dataclass(frozen=True)
class ListOps:
    """Trees of operators on digits, written as ``[MAX 4 [MIN 2 7 ] 0 ]``.

    The root has depth 1. A node below the largest depth is an operator with probability 1/4, with 2 to 10 arguments, each
    number as likely as the others, and otherwise a digit. An operator counts 2 tokens, itself and its bracket, a digit 1.
    Operators are the smallest and the largest argument, the integer part of the median, and the sum modulo 10. A tree is
    kept if ``max_length // 4 < length < max_length``: for 2000, between 500 and 2000 as in Long Range Arena.

    Args:
        max_length: trees have fewer tokens.
        max_depth: where all nodes are digits.
        max_arguments: of an operator.

    Raises:
        ArgumentError: a value out of range.

    Reference: Nangia and Bowman, "ListOps", NAACL 2018; Tay et al., "Long Range Arena", ICLR 2021.

    Example:
        >>> batch = ListOps(max_length=40).draw(np.random.default_rng(0), 100)
        >>> first = batch.tokens[: batch.lengths[0]]
        >>> written(first)
        '[SM [MIN 2 3 ] 6 4 [MAX 3 8 3 8 ] 1 8 ]'
    """

    max_length: int = 2000
    max_depth: int = 10
    max_arguments: int = 10

    def __post_init__(self) -> None:
        for name, least in {"max_length": 16, "max_depth": 2, "max_arguments": 2}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(f"{name} must be an integer of at least {least}; got {value!r}")

    @property
    def min_length(self) -> int:
        """Trees have more tokens."""
        return self.max_length // 4

    def draw(self, generator: np.random.Generator, count: int) -> Trees:
        """The trees that are kept of ``count`` drawn ones, whose root is an operator.

        Args:
            generator: draws.
            count: how many are drawn.
        """
        levels = self._arguments(generator, count)
        content = [_content(generator, arguments) for arguments in levels]
        return _trees(levels, content)

    def _arguments(self, generator: np.random.Generator, count: int) -> list[Whole]:
        """The number of arguments of every node, 0 for digits: an array for each depth, children in order of parents."""
        levels, trees = [], np.arange(count)
        lengths = np.zeros(count, dtype=np.int64)
        is_operator = np.ones(count, dtype=bool)
        for depth in range(1, self.max_depth + 1):
            arguments = generator.integers(2, self.max_arguments + 1, len(trees)) * is_operator
            lengths += np.bincount(trees, 1 + is_operator, count).astype(np.int64)
            arguments[lengths[trees] >= self.max_length] = 0  # left out below, so spare their children
            levels.append((trees, arguments))
            trees = np.repeat(trees, arguments)
            is_operator = generator.random(len(trees)) < 0.25
            is_operator &= depth + 1 < self.max_depth
        kept = (lengths > self.min_length) & (lengths < self.max_length)
        return [arguments[kept[trees]] for trees, arguments in levels]


@dataclass(frozen=True)
class Trees:
    """Trees one after the other.

    Attributes:
        tokens: of all trees, uint8; numbers of `WORDS`.
        lengths: (trees,).
        values: (trees,): what they evaluate to.
    """

    tokens: npt.NDArray[np.uint8]
    lengths: Whole
    values: Whole


def written(tokens: npt.NDArray[np.uint8]) -> str:
    """Tokens as text.

    Example:
        >>> written(np.array([13, 9, 2, 14], dtype=np.uint8))
        '[SM 9 2 ]'
    """
    return " ".join(WORDS[token] for token in tokens)


def _content(generator: np.random.Generator, arguments: Whole) -> Whole:
    """The digit of every leaf, the number of the operator of every other node."""
    return np.where(
        arguments == 0,
        generator.integers(0, 10, len(arguments)),
        generator.integers(0, len(OPERATORS), len(arguments)),
    )


def _trees(levels: list[Whole], content: list[Whole]) -> Trees:
    lengths, values = _up(levels, content)
    if not len(values):
        return Trees(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64), values)
    tokens = np.empty(lengths[0].sum(), dtype=np.uint8)
    places = np.cumsum(lengths[0]) - lengths[0]
    for depth, (arguments, numbers) in enumerate(zip(levels, content, strict=True)):
        inner = arguments > 0
        tokens[places] = np.where(inner, _OPENING + numbers, numbers)
        tokens[(places + lengths[depth] - 1)[inner]] = _CLOSING
        if inner.any():
            before = np.cumsum(lengths[depth + 1]) - lengths[depth + 1]
            starts = _starts(arguments[inner])
            places = np.repeat(places[inner] + 1 - before[starts], arguments[inner]) + before
        else:
            break
    return Trees(tokens, lengths[0], values)


def _up(levels: list[Whole], content: list[Whole]) -> tuple[list[Whole], Whole]:
    """Tokens of the tree below every node, by depth, and the values of the roots."""
    below_lengths, below_values = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lengths = []
    for arguments, numbers in zip(reversed(levels), reversed(content), strict=True):
        inner = arguments > 0
        values, counted = numbers.copy(), np.ones_like(arguments)
        if inner.any():
            starts = _starts(arguments[inner])
            values[inner] = _values(numbers[inner], arguments[inner], starts, below_values)
            counted[inner] = 2 + np.add.reduceat(below_lengths, starts)
        lengths.append(counted)
        below_lengths, below_values = counted, values
    return lengths[::-1], below_values


def _values(operators: Whole, arguments: Whole, starts: Whole, children: Whole) -> Whole:
    """What every operator makes of its children, which lie together."""
    parents = np.repeat(np.arange(len(arguments)), arguments)
    ordered = np.sort(10 * parents + children) % 10
    middle = (ordered[starts + (arguments - 1) // 2] + ordered[starts + arguments // 2]) // 2
    total = np.add.reduceat(children, starts) % 10
    return np.choose(operators, (ordered[starts], ordered[starts + arguments - 1], middle, total))


def _starts(counts: Whole) -> Whole:
    return np.cumsum(counts) - counts
