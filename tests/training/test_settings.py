import dataclasses

import pytest

from primaldual.errors import ArgumentError
from primaldual.training import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs must be an integer of at least 1; got 0"),
        ("epochs", True, "epochs must be an integer of at least 1; got True"),
        ("epochs", None, "epochs must be an integer of at least 1; got None"),
        ("batch_size", 2.5, "batch_size must be an integer of at least 1; got 2.5"),
        ("warmup_steps", -1, "warmup_steps must be an integer of at least 0; got -1"),
        ("warmup_epochs", -1, "warmup_epochs must be an integer of at least 0; got -1"),
        ("seed", 2**64, "seed must be an integer from 0 to 2\\*\\*64 - 1; got 18446744073709551616"),
        ("seed", -1, "seed must be an integer from 0 to 2\\*\\*64 - 1; got -1"),
        ("patience", 0, "patience must be an integer of at least 1; got 0"),
        ("learning_rate", 0.0, "learning_rate must be a positive number; got 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be a positive number; got nan"),
        ("learning_rate", "fast", "learning_rate must be a positive number; got 'fast'"),
        ("gradient_clip", -1.0, "gradient_clip must be a positive number; got -1.0"),
        ("weight_decay", -0.1, "weight_decay must be a number of at least 0; got -0.1"),
        ("optimizer", "sgd", "optimizer must be one of radam, adamw, adamw_matrices; got 'sgd'"),
        ("schedule", "step", "schedule must be one of cosine, constant, linear; got 'step'"),
        ("mixed_precision", "fp16", "mixed_precision must be one of no, bf16; got 'fp16'"),
    ],
)
def test_bad_values_are_named(name, value, message):
    with pytest.raises(ArgumentError, match=message):
        TrainingSettings(**{"epochs": 1, name: value})


def test_none_means_never_where_it_makes_sense():
    settings = TrainingSettings(epochs=1, patience=None, gradient_clip=None)
    assert settings.patience is settings.gradient_clip is None


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingSettings(epochs=1).epochs = 2
