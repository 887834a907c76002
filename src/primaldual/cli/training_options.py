"""Options of ``train`` alone: embedding, head, augmentation, and what the loss weighs."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from primaldual.cli.options import MODEL
from primaldual.errors import ArgumentError

_WEIGHT = re.compile(r'(?:"[^"]*"|[^,"])+')

Head = Annotated[
    str | None,
    typer.Option(
        help="flatten for series that start together, mean for series shifted against each other.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
Embedding = Annotated[
    str | None,
    typer.Option(
        help="convolution, or linear to let attention alone see time points together.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
Augmentation = Annotated[
    str | None,
    typer.Option(
        help="series to shift, scale and disturb series in training, or none.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
ClassWeight = Annotated[
    str | None,
    typer.Option(
        help='balanced, or weights of labels such as "ill=5,well=1".',
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        help="Share of the target spread over all classes, 0 to below 1.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]


def class_weights(given: str) -> str | dict[str, float]:
    """What --class-weight says, as AttentionClassifier takes it.

    Raises:
        ArgumentError: neither balanced nor label=weight, comma-separated.

    Example:
        >>> class_weights("balanced"), class_weights('ill=5,"a,b"=0.5')
        ('balanced', {'ill': 5.0, 'a,b': 0.5})
    """
    if "=" not in given:
        if given != "balanced":
            raise ArgumentError(
                f"class_weight must be balanced or label=weight, comma-separated; got {given!r}"
            )
        return given
    weights = {}
    for part in (found.group() for found in _WEIGHT.finditer(given)):
        label, _, number = part.rpartition("=")
        try:
            weights[label.strip().strip('"')] = float(number)
        except ValueError:
            raise ArgumentError(f"class_weight must give a number for every label; got {part!r}") from None
    return weights
