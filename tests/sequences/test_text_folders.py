from __future__ import annotations

import pytest

from primaldual.errors import DataError
from primaldual.sequences.text_folders import read_text_folder
from tests.sequences.helpers import write_texts


def test_the_layout_of_acl_imdb_is_read_and_its_unlabelled_texts_are_left_out(tmp_path):
    write_texts(tmp_path / "train", ("neg", "pos"), 6)
    write_texts(tmp_path / "train", ("unsup",), 3)
    write_texts(tmp_path / "test", ("neg", "pos"), 4)
    (tmp_path / "imdb.vocab").write_text("the")
    found = read_text_folder(tmp_path, skip_bad=False)
    assert found.classes == ("neg", "pos")
    assert found.counts == {"training": 6, "test": 4}
    assert found.notes == ("train/unsup holds texts without labels and is left out",)
    assert bytes(found.tokens[: found.lengths[0, 0]]) == b"0 neg "
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]


def test_class_folders_alone_give_a_fifth_to_the_test_part(tmp_path):
    write_texts(tmp_path, count=20)
    found, again = (read_text_folder(tmp_path, skip_bad=False) for _ in range(2))
    assert found.counts == {"training": 16, "test": 4}
    assert sorted(found.labels[16:]) == [0, 0, 1, 1]
    assert (found.tokens == again.tokens).all()
    assert "20 % of every class" in found.notes[0]


def test_bytes_are_kept_as_they_are(tmp_path):
    write_texts(tmp_path, count=4)
    (tmp_path / "good" / "0.txt").write_bytes(bytes(range(256)))
    found = read_text_folder(tmp_path, skip_bad=False)
    assert bytes(range(256)) in found.tokens.tobytes()


def test_files_that_cannot_be_read_are_named_or_skipped(tmp_path):
    write_texts(tmp_path, count=8)
    (tmp_path / "good" / "0.txt").write_bytes(b"")
    (tmp_path / "bad" / "x.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"x.txt, .*0.txt cannot be read or is empty: 2 of 9 texts; skip_bad"):
        read_text_folder(tmp_path, skip_bad=False)
    found = read_text_folder(tmp_path, skip_bad=True)
    assert len(found.labels) == 7
    assert [name.rpartition("/")[2] for name in found.left_out] == ["x.txt", "0.txt"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (["train/good/0.txt"], "holds train but no test or testing"),
        (
            ["train/good/0.txt", "test/odd/0.txt"],
            "the test part has class 'odd', which the training part lacks",
        ),
        (["train/0.txt", "test/odd/0.txt"], "train holds no folders of classes"),
        (["train/good/0.md", "test/good/0.txt"], r"good holds no texts \(.txt\)"),
        (["0.txt"], "holds no folders of classes"),
    ],
)
def test_other_layouts_are_refused(tmp_path, made, message):
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("words")
    with pytest.raises(DataError, match=message):
        read_text_folder(tmp_path, skip_bad=False)
