"""Values of ListOps trees by a stack: shares no code with the generator."""

from __future__ import annotations

from statistics import median

from primaldual.sequences.listops import WORDS

_CLOSING = WORDS.index("]")
_MEANINGS = {
    WORDS.index("[MIN"): min,
    WORDS.index("[MAX"): max,
    WORDS.index("[MED"): lambda values: int(median(values)),
    WORDS.index("[SM"): lambda values: sum(values) % 10,
}


def value_of(tokens: bytes) -> int:
    """What a tree evaluates to.

    Args:
        tokens: numbers of `WORDS`.

    Example:
        >>> value_of(bytes(map(WORDS.index, "[SM 9 [MED 2 5 ] 8 ]".split())))
        0
    """
    stack: list[list[int]] = [[]]
    operators: list[int] = []
    for token in tokens:
        if token < 10:
            stack[-1].append(token)
        elif token == _CLOSING:
            values = stack.pop()
            stack[-1].append(_MEANINGS[operators.pop()](values))
        else:
            operators.append(token)
            stack.append([])
    [[value]] = stack
    return value
