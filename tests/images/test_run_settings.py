import pytest

from primaldual.errors import ArgumentError
from primaldual.images import RunSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "diet"}, "recipe must be one of deit, .*; got 'diet'; did you mean deit"),
        ({"validation": 1.0}, r"validation must lie in \[0, 1\)"),
        ({"image_size": 2}, "image_size must be at least 4"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ArgumentError, match=message):
        RunSettings(**changes)
