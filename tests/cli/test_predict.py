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


def test_heads_are_looked_at_with_channels_in_order_only(capsys, model, tmp_path):
    words = ["inspect", model, tmp_path / "b.csv", "--no-ablate", "--cases", 2, "--out", tmp_path / "out"]
    frame(20).to_csv(tmp_path / "b.csv", index=False)
    assert run(capsys, *words)[0] == 0
    frame(20)[["temp", "label", "time", "pulse", "case"]].to_csv(tmp_path / "b.csv", index=False)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "in the order of the model, pulse, temp; the order here is temp, pulse" in err


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
    for damaged in ("", "[]", "{}", json.dumps({**json.loads(text), "cases": 3})):
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
