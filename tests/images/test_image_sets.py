import numpy as np
import pytest

from primaldual.errors import DataError
from primaldual.images import PixelSet
from tests.images.helpers import pixel_set


def test_parts_keep_images_and_labels_together():
    whole = pixel_set()
    part = whole.part(np.array([3, 0]))
    assert part.labels.tolist() == [1, 0]
    assert np.array_equal(np.asarray(part.image(0)), np.asarray(whole.image(3)))


def test_fingerprints_tell_images_labels_and_classes_apart():
    one = pixel_set()
    others = [
        pixel_set(seed=1),
        one.part(np.arange(10)),
        PixelSet(one.name, ("a", "b"), one.labels, one.pixels),
        PixelSet(one.name, one.classes, 1 - one.labels, one.pixels),
    ]
    assert one.fingerprint() == pixel_set().fingerprint()
    assert one.fingerprint() not in {other.fingerprint() for other in others}


def test_one_class_is_refused():
    with pytest.raises(DataError, match="the only class of the training images is 'dark'; two are needed"):
        pixel_set().part(np.array([0, 2])).check_trainable()
