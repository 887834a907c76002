import pytest
import torch

from primaldual.errors import ArgumentError, DataError
from primaldual.language import Characters, read_corpus
from primaldual.language.corpus import check_length
from tests.language.helpers import write_text


def test_parts_lie_one_behind_the_other(tmp_path):
    path = write_text(tmp_path)
    corpus = read_corpus(path, validation=0.1, test=0.2)
    whole = torch.cat([corpus.training, corpus.validation, corpus.test])
    assert bytes(whole.tolist()) == path.read_bytes()
    assert [len(part) for part in (corpus.training, corpus.validation, corpus.test)] == [588, 84, 168]
    assert len(read_corpus(path, validation=0.0, test=0.0).training) == 840
    assert read_corpus(path).fingerprint != read_corpus(write_text(tmp_path, lines=21)).fingerprint


def test_characters_count_characters(tmp_path):
    (tmp_path / "text").write_text("äöü" * 10, encoding="utf-8")
    corpus = read_corpus(tmp_path / "text", "characters", validation=0.1, test=0.1)
    assert len(corpus.training) == 24
    assert corpus.alphabet.byte_count(corpus.test) == 6
    with pytest.raises(ArgumentError, match=r"text .* has 3 characters that the model does not know: 'ä'"):
        read_corpus(tmp_path / "text", "characters", alphabet=Characters("abc"))


@pytest.mark.parametrize(
    ("content", "given", "error", "message"),
    [
        (None, {}, DataError, "text .* cannot be read: No such file"),
        (b"", {}, DataError, "is empty"),
        (b"ab\xff", {"tokens": "characters"}, DataError, "is not valid UTF-8 at byte 2"),
        (b"ab", {"tokens": "words"}, ArgumentError, "tokens must be one of bytes, characters; got 'words'"),
        (b"ab", {"validation": 1.0}, ArgumentError, r"validation must lie in \[0, 1\); got 1.0"),
        (b"ab", {"validation": 0.5, "test": 0.5}, ArgumentError, "must leave something to train on"),
    ],
)
def test_bad_texts_are_refused(tmp_path, content, given, error, message):
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(error, match=message):
        read_corpus(tmp_path / "text", **given)


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_corpus(tmp_path)


def test_a_part_must_hold_a_window():
    check_length(torch.zeros(9), "test", 8)
    with pytest.raises(
        DataError, match="context 8 needs 9 tokens or more in the test part; this text has 8 there"
    ):
        check_length(torch.zeros(8), "test", 8)
