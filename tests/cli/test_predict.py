from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest

from primaldual.cli import main
from tests.cli.helpers import TINY, run
from tests.cli.test_train import frame


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    frame(20).to_csv(folder / "a.csv", index=False)
    main(["train", str(folder / "a.csv"), "--out", str(folder / "m"), *TINY])
    return folder / "m"


def predictions(capsys, model, source, *more):
    code, out, err = run(capsys, "predict", model, source, *more)
    assert code == 0, err
    return list(csv.DictReader(io.StringIO(out)))


def test_cases_keep_their_names_and_channels_are_matched_by_name(capsys, model, tmp_path):
    expected = predictions(capsys, model, model.parent / "a.csv")
    assert [row["case"] for row in expected] == [f"s0c{number}" for number in range(20)]
    swapped = frame(20)[["temp", "label", "time", "pulse", "case"]]
    swapped.to_csv(tmp_path / "b.csv")
    assert predictions(capsys, model, tmp_path / "b.csv") == expected


def test_labels_are_not_needed(capsys, model, tmp_path):
    expected = predictions(capsys, model, model.parent / "a.csv")
    for labels in ([""] * 120, ["up", *[""] * 119], [str(number) for number in range(120)]):
        frame(20).assign(label=labels).to_csv(tmp_path / "b.csv", index=False)
        assert predictions(capsys, model, tmp_path / "b.csv") == expected
    frame(20).drop(columns="label").to_csv(tmp_path / "b.csv", index=False)
    assert predictions(capsys, model, tmp_path / "b.csv") == expected


def test_heads_are_looked_at_with_channels_matched_by_name(capsys, model, tmp_path):
    words = ["inspect", model, tmp_path / "b.csv", "--no-ablate", "--cases", 2, "--out", tmp_path / "out"]
    found = []
    for columns in (["case", "time", "label", "pulse", "temp"], ["temp", "label", "time", "pulse", "case"]):
        frame(20)[columns].to_csv(tmp_path / "b.csv", index=False)
        code, _, err = run(capsys, *words)
        assert code == 0, err
        found.append(json.loads((tmp_path / "out" / "head_report.json").read_text())["layers"])
    assert found[0] == found[1]
    frame(20).drop(columns="temp").to_csv(tmp_path / "b.csv", index=False)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "the channels needed are pulse, temp; the data lacks temp" in err


OTHER_NAMES = {"case": "patient", "time": "day", "label": "illness"}


@pytest.fixture(scope="module")
def renamed(tmp_path_factory):
    """A model trained on a file whose columns have names of their own, one of them no channel."""
    folder = tmp_path_factory.mktemp("renamed")
    frame(20).assign(ward=7).rename(columns=OTHER_NAMES).to_csv(folder / "a.csv", index=False)
    words = [f"--{meaning}={name}" for meaning, name in OTHER_NAMES.items()]
    words += ["--channels", "pulse,temp", "--out", str(folder / "m")]
    main(["train", str(folder / "a.csv"), *words, *TINY])
    return folder / "m"


@pytest.mark.parametrize("command", ["predict", "evaluate", "inspect"])
def test_a_saved_classifier_remembers_the_names_of_its_columns(capsys, renamed, tmp_path, command):
    def told(name, *more):
        out = ["--out", tmp_path / "out", "--no-ablate", "--cases", 2] if command == "inspect" else []
        code, text, err = run(capsys, command, renamed, tmp_path / name, "--json", *more, *out)
        assert code == 0, err
        found = json.loads(text)
        if command == "inspect":
            return found["layers"]
        return [row["probability_up"] for row in found] if command == "predict" else found["confusion"]

    given = frame(20).assign(ward=7).rename(columns=OTHER_NAMES)
    given[["ward", "temp", "illness", "day", "pulse", "patient"]].to_csv(tmp_path / "same.csv", index=False)
    frame(20).assign(ward="west").to_csv(tmp_path / "usual.csv", index=False)
    given.rename(columns={"patient": "person"}).to_csv(tmp_path / "other.csv", index=False)
    expected = told("same.csv")
    assert told("usual.csv") == expected
    assert told("other.csv", "--case", "person") == expected
    given.drop(columns="pulse").to_csv(tmp_path / "lacking.csv", index=False)
    code, _, err = run(capsys, command, renamed, tmp_path / "lacking.csv")
    assert code == 2
    assert "there is no channel pulse; accepted: temp, ward" in err


def test_a_record_without_columns_is_read_as_before(capsys, model, tmp_path):
    record = model / "training.json"
    text = record.read_text()
    expected = predictions(capsys, model, model.parent / "a.csv")
    record.write_text(json.dumps({key: value for key, value in json.loads(text).items() if key != "reading"}))
    assert predictions(capsys, model, model.parent / "a.csv") == expected
    record.write_text(text)


def test_other_channels_are_named(capsys, model, tmp_path):
    for change, told in (
        ({"columns": {"temp": "height"}}, "the data lacks temp and has height besides"),
        ({"columns": {"temp": "time2"}}, "lacks temp and has time2 besides"),
    ):
        frame(20).rename(**change).to_csv(tmp_path / "b.csv", index=False)
        code, out, err = run(capsys, "predict", model, tmp_path / "b.csv")
        assert (code, out) == (2, "")
        assert told in err
        assert "the channels needed are pulse, temp" in err
    frame(20).assign(weight=70.0).to_csv(tmp_path / "b.csv", index=False)
    assert "the data has weight besides" in run(capsys, "predict", model, tmp_path / "b.csv")[2]
    assert predictions(capsys, model, tmp_path / "b.csv", "--channels", "temp,pulse") == predictions(
        capsys, model, model.parent / "a.csv"
    )


def test_files_without_names_are_read_in_order_and_counted(capsys, model, tmp_path):
    long = frame(20)
    values = long[["pulse", "temp"]].to_numpy().reshape(20, 6, 2).transpose(0, 2, 1)
    np.savez(tmp_path / "b.npz", X=values)
    found = predictions(capsys, model, tmp_path / "b.npz")
    expected = predictions(capsys, model, model.parent / "a.csv")
    assert [row.pop("case") for row in found] == [str(number) for number in range(20)]
    assert found == [{key: value for key, value in row.items() if key != "case"} for row in expected]


def test_a_damaged_record_is_one_line(capsys, model, tmp_path):
    record = model / "training.json"
    text = record.read_text()
    for damaged in (
        "",
        "[]",
        "{}",
        json.dumps({**json.loads(text), "cases": 3}),
        text.replace('"reading": {', '"reading": 3, "x": {'),
    ):
        record.write_text(damaged)
        code, _, err = run(capsys, "predict", model, model.parent / "a.csv")
        assert code == 2
        assert "training.json is corrupt" in err
    record.write_text(text)


@pytest.mark.parametrize("command", ["predict", "evaluate", "inspect"])
def test_settings_that_make_no_sense_together_are_one_line(capsys, model, tmp_path, command):
    for part, name, value in (
        ("targets", "values", "u"),
        ("targets", "values", ["up"]),
        ("preparation", "length", -1),
        ("preparation", "length", 0),
        ("preparation", "mean", [None, 0]),
        ("model", "length", 3),
    ):
        damaged = shutil.copytree(model, tmp_path / f"{part}-{name}-{value}")
        config = json.loads((damaged / "config.json").read_text())
        config[part][name] = value
        (damaged / "config.json").write_text(json.dumps(config))
        code, _, err = run(capsys, command, damaged, model.parent / "a.csv")
        assert code == 2
        assert err.count("\n") == 1
        assert "damaged" in err or "corrupt" in err


def test_an_output_replaces_earlier_predictions_and_nothing_else(capsys, model, tmp_path):
    data = tmp_path / "a.csv"
    frame(20).to_csv(data, index=False)
    before = data.read_text()
    for target in (tmp_path / "p.csv", tmp_path / "p.json"):
        for _ in range(2):
            code, _, err = run(capsys, "predict", model, data, "--out", target)
            assert code == 0, err
    code, out, err = run(capsys, "predict", model, data, "--out", data)
    assert (code, out) == (2, "")
    assert "exists and is not a table of predictions; it is left alone: give another name" in err
    assert data.read_text() == before


def test_a_classifier_is_saved_in_an_empty_folder_and_in_no_other(capsys, tmp_path):
    source = tmp_path / "a.csv"
    frame(20).to_csv(source, index=False)
    place = tmp_path / "m"
    place.mkdir()
    for _ in range(2):
        code, _, err = run(capsys, "train", source, "--out", place, *TINY)
        assert code == 0, err
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"mine": 1}')
    code, _, err = run(capsys, "train", source, "--out", other, *TINY)
    assert code == 2
    assert "exists and is not a saved classifier; give a new folder or an empty one" in err
    assert [path.name for path in other.iterdir()] == ["config.json"]
