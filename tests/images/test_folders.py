import pytest

from primaldual.errors import DataError
from primaldual.images import read_folder
from tests.images.helpers import write_images


def test_train_beside_val_is_the_layout_of_imagenet(tmp_path):
    write_images(tmp_path / "train", ("n01", "n02"), 6, ending=".JPEG")
    write_images(tmp_path / "val", ("n01", "n02"), 4, ending=".JPEG")
    parts = read_folder(tmp_path)
    assert parts.validation is None
    assert (len(parts.training), len(parts.test)) == (6, 4)
    assert parts.training.classes == parts.test.classes == ("n01", "n02")
    assert parts.training.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert parts.training.image(0).mode == "RGB"


def test_a_validation_part_beside_a_test_part_is_used_as_such(tmp_path):
    for name, count in (("train", 8), ("valid", 4), ("test", 2)):
        write_images(tmp_path / name, count=count)
    parts = read_folder(tmp_path)
    assert [len(part) for part in (parts.training, parts.validation, parts.test)] == [8, 4, 2]


def test_class_folders_alone_are_split_the_same_way_every_time(tmp_path):
    write_images(tmp_path, count=20)
    parts = read_folder(tmp_path)
    assert (len(parts.training), len(parts.test)) == (16, 4)
    assert sorted(parts.test.labels.tolist()) == [0, 0, 1, 1]
    assert set(parts.training.files).isdisjoint(parts.test.files)
    assert read_folder(tmp_path).test.files == parts.test.files
    assert "20 % of every class" in parts.notes[0]


def test_classes_of_the_test_part_keep_their_numbers(tmp_path):
    write_images(tmp_path / "train", ("a", "b"))
    write_images(tmp_path / "test", ("b",), 3)
    assert read_folder(tmp_path).test.labels.tolist() == [1, 1, 1]


def test_layouts_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no folders of classes"):
        read_folder(tmp_path)
    write_images(tmp_path / "train")
    with pytest.raises(DataError, match="holds train but no val or"):
        read_folder(tmp_path)
    write_images(tmp_path / "test", ("dark", "other"))
    with pytest.raises(DataError, match="has class 'other', which the training part lacks"):
        read_folder(tmp_path)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no images \(.bmp"):
        read_folder(tmp_path)
