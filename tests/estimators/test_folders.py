import json
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from primaldual.errors import CheckpointError
from primaldual.estimators import AttentionClassifier, AttentionRegressor
from primaldual.primal.feature_maps import Exponential
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from tests.estimators.helpers import classifier, labels, ragged, regressor, series


@pytest.fixture(scope="module")
def fitted():
    return classifier(attention="bn+sh(1,2)", class_weight={"left": 2.0}).fit(ragged(), labels())


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_loaded_classifier_is_the_saved_one(fitted, saved):
    loaded = AttentionClassifier.load(saved)
    assert (loaded.predict_proba(ragged()) == fitted.predict_proba(ragged())).all()
    assert loaded.predict(ragged()).dtype == fitted.predict(ragged()).dtype
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    assert loaded.best_epoch_ == fitted.best_epoch_
    with pytest.raises(ValueError, match="channels"):
        loaded.predict(series(channels=5))


@pytest.mark.parametrize("y", [np.arange(24) % 3, np.arange(24) % 2 == 0, np.arange(24) % 3 / 1.0])
def test_labels_keep_their_type(y, tmp_path):
    classifier().fit(series(), y).save(tmp_path / "model")
    assert AttentionClassifier.load(tmp_path / "model").classes_.dtype == y.dtype


def test_a_loaded_regressor_is_the_saved_one(tmp_path):
    fitted = regressor().fit(series(), np.arange(24.0))
    fitted.save(tmp_path / "model")
    assert (AttentionRegressor.load(tmp_path / "model").predict(series()) == fitted.predict(series())).all()


def test_a_problem_object_is_saved_as_its_spec(tmp_path):
    fitted = classifier(attention=preset("bn(beta=0.5)")).fit(series(), labels())
    fitted.save(tmp_path / "model")
    loaded = AttentionClassifier.load(tmp_path / "model")
    assert loaded.attention == "bn(beta=0.5)"
    assert (loaded.predict_proba(series()) == fitted.predict_proba(series())).all()


def test_a_problem_without_a_spec_cannot_be_saved(tmp_path):
    class Shifted(Exponential):
        pass

    fitted = classifier(attention=PrimalProblem(feature_map=Shifted())).fit(series(), labels())
    with pytest.raises(CheckpointError, match="its spec does not rebuild it; use pickle"):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_holds_safetensors_and_json_only(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert "positions" in load_file(saved / "model.safetensors")
    assert json.loads((saved / "config.json").read_text())["estimator"] == "AttentionClassifier"


def test_saving_again_replaces_and_leaves_nothing_behind(saved):
    other = classifier(epochs=1).fit(series(), labels())
    other.save(saved)
    assert AttentionClassifier.load(saved).epochs == 1
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_other_peoples_folders_and_files_are_left_alone(fitted, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(CheckpointError, match="exists and is not a saved estimator"):
            fitted.save(target)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_write_leaves_the_old_model(saved, fitted, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("primaldual.estimators.folders.save_described", full)
    with pytest.raises(CheckpointError, match="cannot be written: the disk is full"):
        fitted.save(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    AttentionClassifier.load(saved)


def test_the_wrong_class_is_named(saved):
    with pytest.raises(CheckpointError, match="holds an AttentionClassifier; AttentionReg"):
        AttentionRegressor.load(saved)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "corrupt or does not fit"),
        ("config.json", b"[]", "has format None"),
        ("config.json", b'{"format": "other"}', "has format 'other'"),
        ("config.json", b'{"format": "primaldual estimator 1"}', "corrupt or does not fit: KeyError"),
        ("model.safetensors", b"nonsense", "corrupt or does not fit"),
    ],
)
def test_corrupt_files_are_one_clear_line(saved, name, content, message):
    (saved / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        AttentionClassifier.load(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


def test_a_config_that_was_edited_is_noticed(saved):
    config = json.loads((saved / "config.json").read_text())
    config["model"]["attention"] = "linear"
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError, match=r"does not fit: its config was changed since model\.safetensors"
    ):
        AttentionClassifier.load(saved)


def test_weights_of_another_model_are_refused(saved, tmp_path):
    classifier(embed_dim=16).fit(series(), labels()).save(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(saved / "model.safetensors")
    with pytest.raises(CheckpointError, match="corrupt or does not fit"):
        AttentionClassifier.load(saved)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a saved estimator: it has no config.json"):
        AttentionClassifier.load(tmp_path / "nowhere")


def test_saved_files_are_readable_by_others_as_usual(saved):
    assert saved.stat().st_mode & stat.S_IXUSR
    assert (saved / "config.json").stat().st_mode & stat.S_IRUSR
