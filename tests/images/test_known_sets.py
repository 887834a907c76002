import numpy as np
import pytest

from primaldual.errors import DataError
from primaldual.images.known_sets import read_parts


def test_digits_are_there_without_a_download():
    parts = read_parts("digits")
    assert np.bincount(parts.test.labels).min() > 30
    assert parts.training.image(0).size == (8, 8)
    assert parts.training.pixels.max() == 255
    assert read_parts("digits").test.fingerprint() == parts.test.fingerprint()


def test_a_download_that_fails_says_what_else_is_accepted(tmp_path, monkeypatch):
    from torchvision import datasets

    def refuse(*args, **kwargs):
        raise RuntimeError("Error downloading x")

    monkeypatch.setattr(datasets, "CIFAR10", refuse)
    with pytest.raises(DataError, match=r"data cifar10 is not in .* cannot be downloaded .*--data-dir"):
        read_parts("cifar10", tmp_path)


def test_sets_of_torchvision_keep_their_split(tmp_path, monkeypatch):
    from torchvision import datasets

    class Made:
        classes = ("a", "b")

        def __init__(self, folder, train, download):
            count = 6 if train else 2
            self.data, self.targets = np.zeros((count, 28, 28), np.uint8), [0, 1] * (count // 2)

    monkeypatch.setattr(datasets, "FashionMNIST", Made)
    parts = read_parts("fashion-mnist", tmp_path)
    assert (len(parts.training), len(parts.test), parts.validation) == (6, 2, None)


def test_another_name_is_taken_for_a_folder():
    with pytest.raises(
        DataError, match="data mnist is not a folder; accepted are a folder of images and the name"
    ):
        read_parts("mnist")
