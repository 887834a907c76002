import pytest

from primaldual.training import Callback, TrainingState
from tests.training.helpers import toy_model, toy_settings


def test_stop_is_remembered():
    state = TrainingState(toy_model(), toy_settings())
    assert not state.stopped
    state.stop()
    assert state.stopped


def test_a_callback_does_nothing_by_itself():
    state = TrainingState(toy_model(), toy_settings())
    callback = Callback()
    callback.on_train_begin(state)
    callback.on_epoch_end(state)
    callback.on_train_end(state)
    assert (state.epoch, state.history, state.stopped) == (0, [], False)


def record(epoch, metric, loss):
    return {"epoch": epoch, "validation_metric": metric, "validation_loss": loss}


@pytest.mark.parametrize(
    ("best", "newest", "expected"),
    [
        ((0.5, 1.0), (0.6, 2.0), True),
        ((0.5, 1.0), (0.5, 0.9), True),
        ((0.5, 1.0), (0.5, 1.0), False),
        ((0.5, 1.0), (0.4, 0.1), False),
        ((None, None), (None, None), True),
    ],
)
def test_better_is_a_higher_metric_and_then_a_lower_loss(best, newest, expected):
    state = TrainingState(toy_model(), toy_settings())
    state.history.append(record(1, *best))
    assert state.newest_is_best()
    state.best_epoch = 1
    state.history.append(record(2, *newest))
    assert state.newest_is_best() is expected
