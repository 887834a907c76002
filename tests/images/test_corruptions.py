import numpy as np
import pytest

from primaldual.errors import ArgumentError
from primaldual.images.corruptions import CORRUPTIONS, corrupted
from tests.images.helpers import pixel_set


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_more_severe_corruptions_change_more_and_are_the_same_every_time(kind):
    image = pixel_set(size=32).image(0)
    whole = np.asarray(image).astype(float)
    changes = []
    for severity in range(1, 6):
        changed = corrupted(kind, severity)(image, 7)
        assert (changed.mode, changed.size) == ("RGB", (32, 32))
        assert np.array_equal(np.asarray(changed), np.asarray(corrupted(kind, severity)(image, 7)))
        changes.append(np.abs(np.asarray(changed) - whole).mean())
    assert changes == sorted(changes)
    assert changes[0] > 0


@pytest.mark.parametrize(("kind", "severity"), [("fog", 1), ("noise", 0), ("noise", 6)])
def test_unknown_ones_are_named(kind, severity):
    with pytest.raises(ArgumentError, match=r"(kind must be one of noise, .*'fog'|severity must be 1 to 5)"):
        corrupted(kind, severity)
