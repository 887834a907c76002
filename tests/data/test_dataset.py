from __future__ import annotations

import numpy as np

from primaldual.data.dataset import build
from primaldual.data.pair import Parts

NAMES = ("pulse", "temp")


def part(cases, length=4, labels=("1", "2"), prefix="c"):
    series = [np.full((2, length), float(number)) for number in range(cases)]
    texts = [labels[number % 2] for number in range(cases)]
    named = tuple(f"{prefix}{number}" for number in range(cases))
    return build("toy", series, texts, "made up", channel_names=NAMES, case_names=named)


def test_names_follow_the_cases():
    chosen = part(4).take([2, 0])
    assert (chosen.case_names, chosen.channel_names) == (("c2", "c0"), NAMES)
    both = part(2).followed_by(part(1, length=3, prefix="d"))
    assert both.case_names == ("c0", "c1", "d0")
    assert [series.shape for series in both.X] == [(2, 4), (2, 4), (2, 3)]
    assert both.y.tolist() == ["1", "2", "1"]
    nameless = build("toy", [np.zeros((2, 4))], ["1"], "")
    assert part(2).followed_by(nameless).case_names is None


def test_channels_of_series_of_unequal_length_are_put_in_order():
    both = part(2).followed_by(part(1, length=3))
    both.X[0][1] = 7
    swapped = both.with_channels(("temp", "pulse"))
    assert swapped.X[0][0].tolist() == [7] * 4
    assert swapped.channel_names == ("temp", "pulse")
    assert both.with_channels(NAMES) is both


def test_fingerprints_of_cases_are_those_of_their_values():
    first, second, again = (
        part(2).case_fingerprints()[:2],
        part(3).case_fingerprints(),
        part(2).case_fingerprints(),
    )
    assert first == again == second[:2]
    assert len({*second}) == 3
    assert part(2, labels=("a", "b")).case_fingerprints() == first


def test_the_training_part_of_a_file_and_of_a_pair():
    whole = Parts({"all": part(10)})
    assert not whole.is_split
    assert len(whole.training().X) == 6
    assert len(whole.training(hold_out=False).X) == 10
    pair = Parts({"train": part(4), "test": part(2, labels=("1.0", "2.0"))})
    assert pair.is_split
    assert len(pair.training().X) == len(pair.training(hold_out=False).X) == 4
    assert pair.split()[1].y.tolist() == ["1", "2"]
    assert pair.whole().class_names == ("1", "2")
