from __future__ import annotations

import pytest

from primaldual.errors import ArgumentError
from primaldual.sequences import RunSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": "torch"}, "config must be one of pytorch, jax; got 'torch'; did you mean pytorch"),
        ({"validation": 1.0}, r"validation must lie in \[0, 1\); got 1.0"),
        ({"steps": 0}, "steps must be an integer of at least 1; got 0"),
        ({"heads": True}, "heads must be an integer of at least 1; got True"),
    ],
)
def test_values_out_of_range_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        RunSettings("listops", **given)
