"""The header of a ``.ts`` file: what it says about the lines that follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from primaldual.errors import DataError

Lines = Iterator[tuple[int, str]]
"""Numbers of lines, from 1, and what they hold."""

COMMENTS = ("#", "%")
"""What lines that say nothing begin with."""


@dataclass(frozen=True)
class TsHeader:
    """What the lines of a file must keep to; None = the header does not say.

    Args:
        timestamps: values are written as (time, value).
        univariate: one channel.
        dimensions: number of channels.
        equal_length: series have the same length.
        series_length: that length.
        classes: names of the classes; () = lines have no label.
        target: lines end in a number to be predicted.
    """

    timestamps: bool
    univariate: bool | None
    dimensions: int | None
    equal_length: bool | None
    series_length: int | None
    classes: tuple[str, ...]
    target: bool

    @property
    def labelled(self) -> bool:
        """Whether lines end in a label or a target."""
        return self.target or bool(self.classes)


def read_header(path: Path, lines: Lines) -> TsHeader:
    """Read up to ``@data``; other tags are passed over.

    Raises:
        DataError: a tag with a value that is not accepted, no word on labels, or no ``@data``.
    """
    found: dict[str, tuple[int, list[str]]] = {}
    for line, text in lines:
        if not text or text.startswith(COMMENTS):
            continue
        if not text.startswith("@") or text == "@":
            raise DataError(f"{path}, line {line}: the header holds {text[:40]!r}; a line @data ends it")
        tag, *values = text[1:].split()
        tag = tag.lower()
        if tag == "data":
            return _header(path, found)
        if tag != "problemname" and found.get(tag, (line, values))[1] != values:
            raise DataError(f"{path}, line {line}: @{tag} stands twice, with different values")
        found[tag] = (line, values)
    raise DataError(f"{path}: holds no cases; a .ts file has a line @data and the series after it")


def _header(path: Path, found: dict[str, tuple[int, list[str]]]) -> TsHeader:
    def boolean(tag: str) -> bool | None:
        if tag not in found:
            return None
        line, values = found[tag]
        word = values[0].lower() if values else ""
        if word not in {"true", "false"}:
            raise DataError(f"{path}, line {line}: @{tag} is {word or 'empty'}; accepted: true, false")
        return word == "true"

    def count(*tags: str) -> int | None:
        for tag in tags:
            if tag in found:
                line, values = found[tag]
                if not values or not values[0].isdecimal() or int(values[0]) < 1:
                    given = " ".join(values) or "empty"
                    raise DataError(f"{path}, line {line}: @{tag} is {given}; a whole number is needed")
                return int(values[0])
        return None

    labelled, target = boolean("classlabel"), boolean("targetlabel")
    if labelled is None and target is None:
        raise DataError(f"{path}: the header needs @classLabel true and the names of the classes, or false")
    classes = tuple(found["classlabel"][1][1:]) if labelled else ()
    if labelled and not classes:
        raise DataError(f"{path}, line {found['classlabel'][0]}: @classLabel true must name the classes")
    return TsHeader(
        bool(boolean("timestamps")),
        boolean("univariate"),
        count("dimensions", "dimension"),
        boolean("equallength"),
        count("serieslength"),
        classes,
        bool(target),
    )
