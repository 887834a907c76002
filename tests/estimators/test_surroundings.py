"""A fit depends on its arguments alone, and unusual data says no less than it should."""

import datetime
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from primaldual import AttentionClassifier, derive
from primaldual.errors import CheckpointError, DataError

TINY = {"embed_dim": 8, "num_layers": 1, "feedforward_dim": 8, "epochs": 2, "dropout": 0.3, "random_state": 0}
SERIES = np.random.default_rng(0).normal(size=(12, 2, 7))
LABELS = np.arange(12) % 2


def fitted(**options):
    return AttentionClassifier(**{**TINY, "num_heads": 2, **options}).fit(SERIES, LABELS)


@pytest.fixture
def defaults():
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(True)


def test_defaults_of_torch_change_nothing(defaults):
    expected = fitted().predict_proba(SERIES)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    found = fitted()
    assert next(found.model_.parameters()).dtype == torch.float32
    np.testing.assert_array_equal(found.predict_proba(SERIES), expected)
    assert torch.get_default_dtype() == torch.float64
    assert not torch.is_grad_enabled()


def test_fits_in_threads_equal_fits_alone():
    def outputs(seed):
        return fitted(random_state=seed).predict_proba(SERIES)

    alone = [outputs(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(outputs, range(4)))
    np.testing.assert_array_equal(together, alone)


def test_values_far_outside_give_probabilities():
    huge = SERIES.copy()
    huge[0, 0, 3] = 1e37
    assert np.isfinite(fitted().predict_proba(huge)).all()


def test_masked_values_are_gaps():
    model, masked = fitted(), np.ma.masked_array(SERIES, mask=SERIES > 1)
    expected = model.predict_proba(masked.filled(np.nan))
    np.testing.assert_array_equal(model.predict_proba(masked), expected)
    np.testing.assert_array_equal(model.predict_proba(list(masked)), expected)


@pytest.mark.parametrize("labels", [np.array([b"a", b"\xff"]), np.array(["2020", "2021"], "M8[Y]")])
def test_labels_of_bytes_and_dates_are_saved(tmp_path, labels):
    AttentionClassifier(**TINY, num_heads=2).fit(SERIES, labels[LABELS]).save(tmp_path / "m")
    loaded = AttentionClassifier.load(tmp_path / "m")
    assert loaded.classes_.dtype == labels.dtype
    assert loaded.classes_.tolist() == labels.tolist()


def test_labels_that_could_not_be_saved_are_refused_in_fit():
    days = np.array([datetime.date(2020, 1, 1 + label) for label in LABELS], dtype=object)
    with pytest.raises(DataError, match="y must hold strings, bytes, whole numbers or NumPy dates; got date"):
        AttentionClassifier(**TINY, num_heads=2).fit(SERIES, days)


def test_checkpoints_tell_settings_apart(tmp_path):
    one, two = (fitted(num_heads=heads, checkpoint_dir=tmp_path) for heads in (1, 2))
    assert one.history_[0]["train_loss"] != two.history_[0]["train_loss"]
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(CheckpointError, match="its spec does not rebuild it"):
        fitted(attention=derive(lambda inputs: inputs.relu() + 1), checkpoint_dir=tmp_path)


def test_the_same_run_twice_at_once_is_one_run(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: fitted(epochs=4, checkpoint_dir=tmp_path), range(2)))
    for run in runs:
        np.testing.assert_array_equal(run.predict_proba(SERIES), fitted(epochs=4).predict_proba(SERIES))
