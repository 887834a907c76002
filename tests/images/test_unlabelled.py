import numpy as np
import pytest

from primaldual.errors import DataError
from primaldual.images.unlabelled import read_unlabelled
from tests.images.helpers import pixels, write_images


def test_folders_files_and_arrays(tmp_path):
    folder = write_images(tmp_path / "some", count=4)
    names, files = read_unlabelled(str(folder))
    assert names == ["bright/1.png", "bright/3.png", "dark/0.png", "dark/2.png"]
    assert [folder / name for name in names] == files
    assert read_unlabelled(str(files[0])) == (["1.png"], [files[0]])
    np.savez(tmp_path / "some.npz", X=pixels(3)[0], y=[0, 1, 2])
    names, images = read_unlabelled(str(tmp_path / "some.npz"))
    assert list(names) == [0, 1, 2]
    assert (images == pixels(3)[0]).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder1", "folder1: there is no such folder or file; did you mean folder"),
        ("empty", "holds no images"),
        ("words.txt", r"must be a folder of images, an image \(.*\) or an .npz file"),
        ("other.npz", "holds y; needed: X"),
        ("flat.npz", r"got shape \(4,\)"),
        ("broken.npz", r"cannot be read as an \.npz file"),
    ],
)
def test_what_holds_no_images_is_named(tmp_path, name, message):
    write_images(tmp_path / "folder", count=2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "broken.npz").write_text("words")
    np.savez(tmp_path / "other.npz", y=[1])
    np.savez(tmp_path / "flat.npz", X=[1, 2, 3, 4])
    with pytest.raises(DataError, match=message):
        read_unlabelled(str(tmp_path / name))


def test_an_empty_path_is_not_the_folder_that_one_is_in():
    with pytest.raises(DataError, match="path must name a file or a folder; got an empty one"):
        read_unlabelled("")
