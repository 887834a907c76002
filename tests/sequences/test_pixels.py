from __future__ import annotations

import tarfile

import numpy as np
import pytest
from PIL import Image

from primaldual.errors import DataError
from primaldual.sequences.pixels import pixel_parts
from tests.images.helpers import pixels, write_images


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "data" / "train", count=6)
    write_images(tmp_path / "data" / "test", count=4, seed=1)
    return tmp_path / "data"


def test_pictures_are_read_row_by_row_in_grey(folder, tmp_path):
    colours = np.zeros((8, 8, 3), dtype=np.uint8)
    colours[0, 1] = (100, 200, 50)
    Image.fromarray(colours).save(folder / "test" / "dark" / "0.png")
    parts = pixel_parts(tmp_path / "kept", folder)
    assert (len(parts.training), parts.validation, len(parts.test)) == (6, None, 4)
    shades, labels = pixels(6)
    order = np.argsort(labels, kind="stable")[::-1]
    found = [parts.training.sequence(case, 0) for case in range(6)]
    assert {one.tobytes() for one in found} == {shades[number].tobytes() for number in order}
    assert parts.training.classes == ("bright", "dark")
    dark = [parts.test.sequence(case, 0) for case in range(4) if parts.test.labels[case] == 1]
    assert dark[0][1] == round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)


def test_a_tar_file_is_the_folder_in_it(folder, tmp_path):
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for part in ("train", "test"):
            archive.add(folder / part, part)
    direct, packed = (pixel_parts(tmp_path / "kept", data) for data in (folder, tmp_path / "data.tar.gz"))
    assert direct.training.digest == packed.training.digest
    assert len(list((tmp_path / "kept").glob("pixels-*"))) == 2
    assert not list((tmp_path / "kept").glob(".unpacked*"))


def test_files_that_cannot_be_read_are_named_or_skipped(folder, tmp_path):
    (folder / "train" / "dark" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0.png cannot be read: 1 of 6 images; skip_bad"):
        pixel_parts(tmp_path / "kept", folder)
    parts = pixel_parts(tmp_path / "kept", folder, skip_bad=True)
    assert parts.left_out == ("train/dark/0.png",)
    assert len(parts.training) == 5


def test_bad_data_is_refused(folder, tmp_path):
    (tmp_path / "data.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match=r"data.tar is not a readable tar file"):
        pixel_parts(tmp_path / "kept", tmp_path / "data.tar")
    with pytest.raises(DataError, match="nowhere does not exist"):
        pixel_parts(tmp_path / "kept", tmp_path / "nowhere")
    write_images(folder / "test", count=2, size=9)
    with pytest.raises(
        DataError, match=r"image \w+/\d.png is 9 x 9 pixels, others are 8 x 8; all must have one"
    ):
        pixel_parts(tmp_path / "kept", folder)
