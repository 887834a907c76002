import pytest
import torch

from primaldual.errors import ArgumentError, DataError
from primaldual.language.alphabets import Bytes, Characters, read_alphabet

TEXT = "naïve €\n"


@pytest.mark.parametrize("kind", [Bytes, Characters])
def test_a_text_goes_there_and_back(kind):
    content = TEXT.encode()
    alphabet = kind.of(content, "text")
    tokens = alphabet.tokens(content)
    assert torch.equal(tokens.long(), alphabet.encode(TEXT))
    assert "".join(alphabet.decode(tokens.tolist())) == TEXT
    assert alphabet.byte_count(tokens) == len(content)
    again = read_alphabet(alphabet.description())
    assert torch.equal(again.encode(TEXT), alphabet.encode(TEXT))
    assert again.size == alphabet.size


def test_bytes_show_a_character_when_it_is_whole_and_stand_anything():
    euro = "€".encode()
    assert list(Bytes().decode(euro)) == ["", "", "€", ""]
    assert list(Bytes().decode(b"a\xe2")) == ["a", "", "\ufffd"]
    assert Bytes().encode("\udcff").tolist() == [
        255
    ]  # how a byte that is not UTF-8 comes from a command line


def test_characters_know_their_text_alone():
    with pytest.raises(
        DataError, match="text poem is not valid UTF-8 at byte 2; tokens = bytes reads any file"
    ):
        Characters.of(b"ab\xff", "poem")
    with pytest.raises(ArgumentError, match="prompt has 1 character that the model does not know: 'c'"):
        Characters("ab").encode("cab", "prompt")
    with pytest.raises(ArgumentError, match=r"7 characters .*'g' and 2 more"):
        Characters("ab").encode("cdefghi")


def test_half_of_a_surrogate_pair_is_refused():
    with pytest.raises(
        ArgumentError, match=r"prompt cannot be written in UTF-8: '\\ud800' is not a character"
    ):
        Bytes().encode("a\ud800", "prompt")


@pytest.mark.parametrize("characters", ["ba", "aab", ["a", "b"], "a\ud800"])
def test_characters_of_a_changed_file_are_refused(characters):
    """Out of order, the same text would get other numbers from a file than from a prompt."""
    with pytest.raises(
        ArgumentError, match="characters must be a text of Unicode characters, each once and sorted"
    ):
        read_alphabet({"tokens": "characters", "characters": characters})
