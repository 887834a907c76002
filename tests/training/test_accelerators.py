import os

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.training import accelerators
from primaldual.training.accelerators import run_accelerator, usable_device
from tests.training.helpers import toy_run, without_seconds

VARIABLES = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "7",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "LOCAL_RANK": "0",
}


@pytest.fixture
def no_accelerator():
    """The state that every Accelerator of a process shares, empty before and after."""
    kinds = (AcceleratorState, PartialState, GradientState)
    for kind in kinds:
        kind._shared_state.clear()
    yield
    for kind in kinds:
        kind._shared_state.clear()


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_change_nothing_and_stay(name, monkeypatch, no_accelerator):
    expected = toy_run(epochs=2)
    monkeypatch.setenv(name, VARIABLES[name])
    found = toy_run(epochs=2)
    assert without_seconds(found.history) == without_seconds(expected.history)
    assert os.environ[name] == VARIABLES[name]


def test_an_accelerator_of_the_caller_changes_nothing_and_is_left_alone(no_accelerator):
    expected = toy_run(epochs=2)
    own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=3, cpu=True)
    found = toy_run(epochs=2)
    assert without_seconds(found.history) == without_seconds(expected.history)
    assert own.mixed_precision == "bf16"
    assert own.gradient_accumulation_steps == 3
    assert own.state.initialized


def test_a_run_that_fails_puts_everything_back(monkeypatch, no_accelerator):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(KeyError), run_accelerator("cpu"):
        raise KeyError
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert "ACCELERATE_TORCH_DEVICE" not in os.environ
    assert AcceleratorState._shared_state == {}


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_device_is_the_one_that_was_asked_for(device):
    with run_accelerator(device) as accelerator:
        assert accelerator.device == torch.device("cpu")


@pytest.mark.parametrize("device", ["nowhere", "cpu:x", "meta", 3, ["cpu"], True])
def test_devices_that_cannot_be_used_are_named(device):
    with pytest.raises(ArgumentError, match=r"device .* (cannot be used|holds no numbers)"):
        usable_device(device)


def test_several_processes_choose_their_own_devices(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ArgumentError, match="device must be None where several processes train"),
        run_accelerator("cpu"),
    ):
        pass


def test_division_of_weights_that_accelerate_would_leave_out_is_refused(monkeypatch, no_accelerator):
    monkeypatch.setattr(accelerators, "_processes", lambda: 2)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with (
        pytest.raises(UnsupportedError, match="FSDP needs accelerators; this launch trains on cpu"),
        run_accelerator(),
    ):
        pass


def test_accumulation_of_the_launch_is_refused(monkeypatch, no_accelerator):
    monkeypatch.setattr(accelerators, "_processes", lambda: 2)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with (
        pytest.raises(
            ArgumentError, match=r"gradient accumulation must be left to accumulation.* for 4 steps"
        ),
        run_accelerator(),
    ):
        pass
