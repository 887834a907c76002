import pytest

from primaldual.errors import ArgumentError
from primaldual.training import Execution


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulation": 0}, "accumulation must be an integer of at least 1; got 0"),
        ({"accumulation": True}, "accumulation must be an integer of at least 1; got True"),
        ({"checkpoint_dir": "x", "checkpoint_every": 0.5}, "checkpoint_every must be an integer"),
        ({"checkpoint_every": 5}, "checkpoint_every needs a checkpoint_dir"),
        ({"compile": "yes"}, "compile must be True or False; got 'yes'"),
        ({"activation_checkpointing": 1}, "activation_checkpointing must be True or False; got 1"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        Execution(**options)
