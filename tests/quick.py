"""Which cases of a test belong to the quick suite: the others repeat on more attentions what these show."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def one_in(step: int, cases: Iterable[Any], keep: Collection[Any] = ()) -> list[Any]:
    """Cases for ``pytest.mark.parametrize``, all but some of them ``long``.

    Args:
        step: of how many cases one is in the quick suite.
        cases: values, or tuples of values.
        keep: cases that are in the quick suite as well.
    """
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if number % step == 0 or case in keep else pytest.mark.long,
        )
        for number, case in enumerate(cases)
    ]
