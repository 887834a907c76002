from types import SimpleNamespace

import pytest
from torch import nn

from primaldual.images.evaluation import Evaluation
from primaldual.images.run_numbers import numbers_of
from tests.images.helpers import pixel_set


def test_throughput_and_loading_are_of_training_alone():
    record = {"seconds": 9.0, "training_seconds": 4.0, "loading_seconds": 1.0}
    state = SimpleNamespace(history=[record, record], steps=3, last_step=5, best_epoch=2)
    parts = SimpleNamespace(training=pixel_set(12), validation=None, test=pixel_set(4), notes=())
    run = SimpleNamespace(
        config={},
        state=state,
        parts=parts,
        model=nn.Linear(3, 2),
        left_out=(),
        evaluation=Evaluation(4, {}, 1.0, 0, {}),
    )
    numbers = numbers_of(run)
    assert numbers["parameters"] == 8
    assert numbers["images"] == {"training": 12, "validation": 0, "test": 4}
    assert numbers["training"] == pytest.approx(
        {"seconds": 8.0, "images_per_second": 5 * 4 / 8, "loading_share": 0.25}
    )
