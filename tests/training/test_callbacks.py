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
