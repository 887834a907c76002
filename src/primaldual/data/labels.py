"""Class labels as text: one class is one class in every file format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from primaldual.data.cells import is_number
from primaldual.errors import DataError

MISSING = frozenset({"", "nan", "nat", "none"})
"""What stands for a missing label, in lower case."""

_REGRESSION = "; AttentionRegressor, in Python, predicts numbers"

_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)(?:\.0*)?")


def label_text(label: object) -> str:
    """A label as text; whole numbers lose their fraction, bytes are decoded.

    Raises:
        DataError: a missing label, a real number, bytes that are not UTF-8, or something else than a label.

    Example:
        >>> [label_text(label) for label in (1, np.float64(1), b"1", "A ", np.datetime64("2020-05"))]
        ['1', '1', '1', 'A', '2020-05']
    """
    if isinstance(label, (float, np.floating)):
        if np.isnan(label):
            raise DataError("is NaN; every case needs a class label")
        if not float(label).is_integer():
            raise DataError(
                f"is {float(label):g}, a real number; class labels are whole numbers or text{_REGRESSION}"
            )
        return str(int(label))
    if isinstance(label, (complex, np.complexfloating, np.void)):
        raise DataError(f"is {label}; class labels are whole numbers or text")
    if isinstance(label, bytes):
        try:
            label = label.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"is {label!r}, bytes that are not UTF-8 text") from None
    text = str(label).strip()
    if text.lower() in MISSING:
        found = f"is missing: {text!r} is no name of a class" if text else "is missing"
        raise DataError(f"{found}; every case needs a class label")
    return text


def one_spelling(labels: Iterable[str], known: Sequence[str] = ()) -> list[str]:
    """Labels in which a class has one spelling: that of ``known``, else the first one that occurs.

    Example:
        >>> one_spelling(["1.0", "A", "a", "1"]), one_spelling(["2.0", "7"], known=["1", "2"])
        (['1.0', 'A', 'a', '1.0'], ['2', '7'])
    """
    spelling: dict[str, str] = {}
    for label in known:
        spelling.setdefault(_class_of(label), label)
    return [spelling.setdefault(_class_of(label), label) for label in labels]


def regression_hint(labels: Sequence[str]) -> str:
    """The end of a message about labels that look like numbers to predict: fractions, or hardly two cases alike.

    Example:
        >>> regression_hint(["0.5", "1.7", "0.5"]), regression_hint(["1", "2", "1", "2"])
        ('; AttentionRegressor, in Python, predicts numbers', '')
    """
    classes = set(labels)
    numbers = all(map(is_number, classes))
    unlike = len(classes) > len(labels) / 2 or not all(map(_WHOLE.fullmatch, classes))
    return _REGRESSION if numbers and unlike else ""


def _class_of(label: str) -> str:
    """What two spellings of a class have in common: the number, or the characters however they are composed."""
    if _WHOLE.fullmatch(label):
        return str(int(label.partition(".")[0]))
    return unicodedata.normalize("NFC", label)
