from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from aeon.datasets import load_classification

from primaldual.data import load, load_pair
from primaldual.errors import DataError

GENERATOR_SEED = 7


def _series(lengths, channels=2):
    generator = np.random.default_rng(GENERATOR_SEED)
    return [generator.normal(size=(channels, length)).round(3) for length in lengths]


def _write_long_csv(path, series, labels, splits=None):
    rows = ["case,time," + ("label," if labels else "") + ("split," if splits else "") + "first,second"]
    for index, values in enumerate(series):
        for time in reversed(range(values.shape[1])):
            cells = [f"c{index}", str(time)]
            cells += [labels[index]] if labels else []
            cells += [splits[index]] if splits else []
            cells += ["" if np.isnan(value) else repr(float(value)) for value in values[:, time]]
            rows.append(",".join(cells))
    path.write_text("\n".join(rows) + "\n")


def _write_ts(path, series, labels):
    lines = ["@problemName toy", "@univariate false", "@equalLength true", "@classLabel true a b", "@data"]
    for values, label in zip(series, labels, strict=True):
        lines.append(":".join([*(",".join(map(repr, channel.tolist())) for channel in values), label]))
    path.write_text("\n".join(lines) + "\n")


def _same(dataset, series, labels):
    assert len(dataset.X) == len(series)
    for got, expected in zip(dataset.X, series, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert dataset.y.tolist() == labels


@pytest.mark.parametrize("name", ["JapaneseVowels", "BasicMotions"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_embedded_names_agree_with_aeon(name, split):
    expected, labels = load_classification(name, split=split, load_equal_length=False, load_no_missing=False)
    found = load(name, split)
    # aeon's reader writes labels in small letters.
    _same(dataclasses.replace(found, y=np.char.lower(found.y)), list(expected), labels.tolist())


def test_all_is_train_then_test():
    train, test = load_pair("JapaneseVowels")
    whole = load("JapaneseVowels", "all")
    assert len(whole.X) == len(train.X) + len(test.X)
    assert whole.y.tolist() == [*train.y, *test.y]


def test_data_dir_is_looked_at_before_the_wheel(tmp_path):
    folder = tmp_path / "JapaneseVowels"
    folder.mkdir()
    series = _series([5, 5])
    for part in ("TRAIN", "TEST"):
        _write_ts(folder / f"JapaneseVowels_{part}.ts", series, ["a", "b"])
    _same(load("JapaneseVowels", "train", tmp_path), series, ["a", "b"])


@pytest.mark.parametrize("lengths", [[6, 6, 6, 6], [6, 3, 4, 5]])
def test_csv_round_trip(tmp_path, lengths):
    series = _series(lengths)
    series[1][0, 1] = np.nan
    path = tmp_path / "toy.csv"
    _write_long_csv(path, series, ["a", "b", "a", "b"])
    dataset = load(path, "all")
    _same(dataset, series, ["a", "b", "a", "b"])
    assert isinstance(dataset.X, np.ndarray) == (len(set(lengths)) == 1)


def test_csv_split_column_makes_the_parts(tmp_path):
    series = _series([4, 4, 4, 4])
    path = tmp_path / "toy.csv"
    _write_long_csv(path, series, ["a", "b", "a", "b"], ["train", "train", "test", "test"])
    train, test = load_pair(path)
    _same(train, series[:2], ["a", "b"])
    _same(test, series[2:], ["a", "b"])


def test_csv_without_labels_can_be_predicted_but_not_split(tmp_path):
    path = tmp_path / "toy.csv"
    _write_long_csv(path, _series([4, 4]), None)
    assert load(path, "all").y is None
    with pytest.raises(DataError, match="no labels"):
        load(path, "train")


@pytest.mark.parametrize("labels", [["1", "2"], [1, 2], [1.0, 2.0]])
def test_npz_round_trip_with_lengths(tmp_path, labels):
    series = _series([5, 3])
    padded = np.full((2, 2, 5), np.nan)
    for index, values in enumerate(series):
        padded[index, :, : values.shape[1]] = values
    path = tmp_path / "toy.npz"
    np.savez(path, X=padded, y=np.array(labels), lengths=[5, 3])
    _same(load(path, "all"), series, ["1", "2"])


def test_npz_with_both_parts(tmp_path):
    train, test = np.stack(_series([4, 4])), np.stack(_series([4, 4, 4]))
    path = tmp_path / "toy.npz"
    np.savez(path, X_train=train, y_train=["a", "b"], X_test=test, y_test=["a", "b", "b"])
    first, second = load_pair(path)
    _same(first, list(train), ["a", "b"])
    _same(second, list(test), ["a", "b", "b"])


def test_npz_univariate_gets_a_channel(tmp_path):
    path = tmp_path / "toy.npz"
    np.savez(path, X=np.zeros((3, 7)), y=[0, 1, 0])
    assert load(path, "all").X.shape == (3, 1, 7)


def test_ts_pair_is_found_from_either_file_and_all_is_the_named_file(tmp_path):
    train, test = np.stack(_series([4, 4])), np.stack(_series([4, 4, 4]))
    _write_ts(tmp_path / "toy_TRAIN.ts", train, ["a", "b"])
    _write_ts(tmp_path / "toy_TEST.ts", test, ["a", "b", "b"])
    for ending in ("TRAIN", "TEST"):
        first, second = load_pair(tmp_path / f"toy_{ending}.ts")
        _same(first, list(train), ["a", "b"])
        _same(second, list(test), ["a", "b", "b"])
    _same(load(tmp_path / "toy_TEST.ts", "all"), list(test), ["a", "b", "b"])


def test_single_file_split_is_stratified_disjoint_and_the_same_every_time(tmp_path):
    path = tmp_path / "toy.npz"
    np.savez(path, X=np.arange(40.0)[:, None, None] * np.ones((40, 1, 3)), y=np.repeat(["a", "b"], [30, 10]))
    train, test = load_pair(path)
    assert sorted([*train.X[:, 0, 0], *test.X[:, 0, 0]]) == list(range(40))
    assert [(test.y == label).sum() for label in "ab"] == [9, 3]
    np.testing.assert_array_equal(load(path, "test").X, test.X)


def test_fingerprint_sees_every_value_and_label():
    train = load("BasicMotions")
    changed = train.X.copy()
    changed[3, 2, 1] += 1e-9
    labels = train.y.copy()
    labels[0] = "other"
    same = type(train)("other name", train.X, train.y, "")
    assert train.fingerprint() == same.fingerprint()
    assert train.fingerprint() != type(train)("", changed, train.y, "").fingerprint()
    assert train.fingerprint() != type(train)("", train.X, labels, "").fingerprint()


def test_folders_and_texts_are_refused_with_the_command_that_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").mkdir()
    (tmp_path / "poem.txt").write_text("Shall I")
    for folder in ("reviews", tmp_path / "reviews"):
        with pytest.raises(DataError, match=r"primaldual train lra --task text --data FOLDER"):
            load(folder)
    with pytest.raises(DataError, match=r"reviews is a folder; accepted: \.ts"):
        load(tmp_path / "reviews")
    with pytest.raises(DataError, match=r"has ending \.txt; accepted: .* by primaldual train text FILE"):
        load("poem.txt")
    with pytest.raises(DataError, match=r"data file .*missing does not exist"):
        load(tmp_path / "missing")
