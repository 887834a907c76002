import shutil

import pytest

from primaldual.errors import DataError
from primaldual.images import read_folder
from primaldual.images.bad_files import without_bad_files
from tests.images.helpers import pixel_set, write_images


@pytest.fixture(params=[".png", ".jpg"])
def folder(request, tmp_path):
    write_images(tmp_path / "train", ending=request.param)
    write_images(tmp_path / "test", ending=request.param)
    return tmp_path, request.param


def damage(path, how):
    contents = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": contents[: len(contents) // 2], "text": b"no image"}[how])


@pytest.mark.parametrize("how", ["empty", "truncated", "text"])
def test_a_bad_file_is_named_or_left_out(folder, how):
    place, ending = folder
    bad = place / "train" / "bright" / f"3{ending}"
    damage(bad, how)
    images = read_folder(place).training
    with pytest.raises(DataError, match=f"file .*bright/3{ending} cannot be read: 1 of 8 images; skip_bad"):
        without_bad_files(images, skip_bad=False)
    kept, left_out = without_bad_files(images, skip_bad=True)
    assert left_out == [str(bad)]
    assert kept.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert str(bad.relative_to(place / "train")) not in kept.files


def test_good_files_and_pixels_stay(folder):
    images = read_folder(folder[0]).training
    for skip_bad in (False, True):
        assert without_bad_files(images, skip_bad) == (images, [])
    assert without_bad_files(pixel_set(), True)[1] == []


def test_a_file_with_the_wrong_ending_or_more_at_its_end_is_no_bad_file(tmp_path):
    write_images(tmp_path, ending=".png")
    shutil.move(tmp_path / "dark" / "0.png", tmp_path / "dark" / "0.jpg")
    with (tmp_path / "dark" / "2.png").open("ab") as file:
        file.write(b"\0" * 3000)
    assert without_bad_files(read_folder(tmp_path).training, False)[1] == []


def test_nothing_but_bad_files_is_an_error(tmp_path):
    write_images(tmp_path / "train")
    write_images(tmp_path / "test")
    for path in (tmp_path / "train").rglob("*.png"):
        damage(path, "text")
    with pytest.raises(DataError, match="none of 8 images can be read, the first is"):
        without_bad_files(read_folder(tmp_path).training, True)
