import math
import random

import numpy as np
import pytest
import torch

from primaldual.errors import DataError
from primaldual.training import (
    Callback,
    Classification,
    Examples,
    Execution,
    Regression,
    TrainingSettings,
    train,
)
from tests.training.helpers import (
    toy_examples,
    toy_model,
    toy_run,
    toy_settings,
    without_seconds,
)


def test_learns_the_training_part():
    state = toy_run(epochs=40, learning_rate=2e-2, optimizer="adamw", validation=False)
    assert state.history[-1]["train_loss"] < 0.5 * state.history[0]["train_loss"]


def test_learns_a_regression():
    examples = toy_examples()
    targets = examples.values[:, 0, 0]
    examples = Examples(examples.values, examples.padding, targets, examples.weights)
    torch.manual_seed(0)
    model = toy_model()
    model.head.linear = torch.nn.Linear(8, 1)
    state = train(model, Regression(), toy_settings(epochs=40, learning_rate=2e-2), examples)
    assert state.history[-1]["train_loss"] < 0.5 * state.history[0]["train_loss"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, second, other = toy_run(), toy_run(), toy_run(seed=1)
    assert without_seconds(first.history) == without_seconds(second.history)
    assert without_seconds(first.history) != without_seconds(other.history)


def test_global_generators_are_left_alone():
    states = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    model = toy_model()
    torch.set_rng_state(states[0])
    train(model, Classification(), toy_settings(), toy_examples())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()
    assert states[2] == random.getstate()


def test_the_best_epoch_has_the_highest_metric_and_among_those_the_lowest_loss():
    state = toy_run(epochs=30, learning_rate=5e-2)
    ranks = [(record["validation_metric"], -record["validation_loss"]) for record in state.history]
    assert state.best_epoch == 1 + ranks.index(max(ranks))
    assert state.best_epoch < 30
    model = toy_model()
    model.load_state_dict(state.best_weights)
    held_out = toy_examples(12, seed=1)
    with torch.no_grad():
        outputs = model.eval()(held_out.values, held_out.padding)
    best = state.history[state.best_epoch - 1]
    loss = Classification().loss(outputs, held_out.targets).mean().item()
    accuracy = Classification().score(outputs, held_out.targets).mean().item()
    assert loss == pytest.approx(best["validation_loss"], rel=1e-4)
    assert accuracy == pytest.approx(best["validation_metric"])


def test_early_stopping_waits_for_its_patience():
    state = toy_run(epochs=200, learning_rate=5e-2, patience=5)
    assert state.stopped
    assert state.epoch == state.best_epoch + 5 < 200


def test_without_validation_the_last_weights_are_kept():
    state = toy_run(validation=False, patience=1)
    assert state.best_epoch == state.epoch == 4
    assert state.history[-1]["validation_loss"] is None
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, state.best_weights[name])


def test_a_callback_sees_every_epoch_and_can_stop():
    class Watch(Callback):
        def __init__(self):
            self.seen = []

        def on_train_begin(self, state):
            self.seen.append(("begin", state.epoch))

        def on_epoch_end(self, state):
            self.seen.append(("epoch", state.epoch))
            if state.epoch == 2:
                state.stop()

        def on_train_end(self, state):
            self.seen.append(("end", state.epoch))

    watch = Watch()
    assert toy_run([watch]).epoch == 2
    assert watch.seen == [("begin", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]


def test_callbacks_are_told_of_the_end_when_training_is_interrupted():
    class Interrupt(Callback):
        ended = False

        def on_epoch_end(self, state):
            raise KeyboardInterrupt

        def on_train_end(self, state):
            self.ended = True

    interrupt = Interrupt()
    with pytest.raises(KeyboardInterrupt):
        toy_run([interrupt])
    assert interrupt.ended


def test_cosine_learning_rates_are_recorded():
    rates = [record["learning_rate"] for record in toy_run(epochs=5, warmup_epochs=1).history]
    assert rates[0] == pytest.approx(1e-2)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    by_steps = toy_run(epochs=2, warmup_epochs=1, warmup_steps=1000).history
    assert by_steps[1]["learning_rate"] == pytest.approx(2 * by_steps[0]["learning_rate"])
    constant = toy_run(epochs=2, schedule="constant").history
    assert [record["learning_rate"] for record in constant] == [1e-2, 1e-2]


def test_bfloat16_learns_nearly_the_same_and_keeps_float32_weights():
    full, half = toy_run(epochs=2), toy_run(epochs=2, mixed_precision="bf16")
    assert half.history[-1]["train_loss"] == pytest.approx(full.history[-1]["train_loss"], rel=0.05)
    assert half.history[-1]["train_loss"] != full.history[-1]["train_loss"]
    assert {tensor.dtype for tensor in half.best_weights.values()} == {torch.float32}


def test_weights_of_zero_remove_cases():
    examples = toy_examples(16)
    weights = torch.ones(16)
    weights[8:] = 0
    silent = Examples(examples.values, examples.padding, (examples.targets + weights.long()) % 2, weights)
    settings = toy_settings(epochs=1, batch_size=16)
    kept = silent.take(torch.arange(8))
    all_cases = train(toy_model(dropout=0.0), Classification(), settings, silent)
    some_cases = train(toy_model(dropout=0.0), Classification(), settings, kept)
    assert all_cases.history[0]["train_loss"] == pytest.approx(some_cases.history[0]["train_loss"], rel=1e-5)


def test_gradients_are_clipped():
    free = toy_run(epochs=1, gradient_clip=None)
    clipped = toy_run(epochs=1, gradient_clip=1e-12)
    moved = [
        max(
            (state.best_weights[name] - start).abs().max().item()
            for name, start in toy_model().state_dict().items()
        )
        for state in (clipped, free)
    ]
    assert moved[0] < 0.1 * moved[1]


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_learning_rate():
    examples = toy_examples()
    broken = Examples(examples.values * float("inf"), None, examples.targets, examples.weights)
    with pytest.raises(
        DataError, match=r"training loss is nan after 0 finished epochs; a learning_rate below 0.01"
    ):
        train(toy_model(), Classification(), toy_settings(), broken)


@pytest.mark.parametrize("cases", [1, 2])
def test_one_or_two_cases_are_enough(cases):
    state = train(toy_model(), Classification(), TrainingSettings(epochs=1), toy_examples(cases))
    assert state.epoch == 1


@pytest.mark.parametrize("accumulation", [2, 3, 40])
def test_pieces_of_a_batch_add_up_to_the_batch(accumulation):
    whole = toy_run(epochs=2, dropout=0.0, batch_size=10, learning_rate=1e-3)
    execution = Execution(accumulation=accumulation)
    parts = toy_run(epochs=2, dropout=0.0, batch_size=10, learning_rate=1e-3, execution=execution)
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
    for name, tensor in whole.best_weights.items():
        torch.testing.assert_close(parts.best_weights[name], tensor, atol=1e-5, rtol=0)


def test_steps_end_training_and_the_schedule():
    state = toy_run(epochs=4, steps=7, batch_size=8)
    assert [record["epoch"] for record in state.history] == [1, 2, 3]
    longer = toy_run(epochs=4, batch_size=8)
    assert state.history[0]["learning_rate"] < longer.history[0]["learning_rate"]
    assert state.history[2]["learning_rate"] == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * 6 / 7)))


def test_callbacks_hear_of_every_step():
    class Count(Callback):
        def __init__(self):
            self.steps = []

        def on_step_end(self, state):
            self.steps.append(state.total_steps)

    count = Count()
    toy_run([count], epochs=2, batch_size=8)
    assert count.steps == [1, 2, 3, 4, 5, 6]


def test_the_average_of_the_weights_is_evaluated_and_kept():
    plain = toy_run(epochs=3, validation=False)
    state = toy_run(epochs=3, ema_decay=0.9, validation=False)
    expected = dict(toy_model().state_dict())

    class Follow(Callback):
        def on_step_end(self, state):
            decay = min(0.9, (1 + state.total_steps) / (10 + state.total_steps))
            for name, tensor in state.model.state_dict().items():
                expected[name] = decay * expected[name] + (1 - decay) * tensor

    assert state.history[-1]["train_loss"] == plain.history[-1]["train_loss"]
    toy_run([Follow()], epochs=3, validation=False)
    for name, tensor in expected.items():
        torch.testing.assert_close(state.best_weights[name], tensor)
        assert torch.equal(state.model.state_dict()[name], plain.best_weights[name])


def test_activations_computed_again_change_nothing():
    plain = toy_run(epochs=2)
    again = toy_run(epochs=2, execution=Execution(activation_checkpointing=True))
    assert without_seconds(again.history) == without_seconds(plain.history)


def test_a_compiled_model_learns_the_same_and_is_plain_afterwards(monkeypatch):
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compile_module(model, backend="eager"))
    plain = toy_run(epochs=1, validation=False)
    state = toy_run(epochs=1, validation=False, execution=Execution(compile=True))
    assert state.history[0]["train_loss"] == pytest.approx(plain.history[0]["train_loss"], abs=1e-5)
    assert state.best_weights.keys() == plain.best_weights.keys()
    assert state.model._compiled_call_impl is None


def test_augmentation_changes_what_training_sees_and_nothing_else():
    plain, changed, again = (
        toy_run(augmentation=kind, epochs=2).history for kind in ("none", "series", "series")
    )
    assert without_seconds(changed) == without_seconds(again)
    assert changed[0]["train_loss"] != plain[0]["train_loss"]
    assert changed[0]["learning_rate"] == plain[0]["learning_rate"]


def test_validation_data_are_not_augmented():
    """With no step to speak of, the validation loss is that of the first weights."""
    losses = [
        toy_run(augmentation=kind, epochs=1, learning_rate=1e-12).history[0]["validation_loss"]
        for kind in ("none", "series")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
