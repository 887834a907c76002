from __future__ import annotations

import pytest
import torch
from torch import nn

from primaldual.analysis import interleaved_latency, peak_memory
from primaldual.errors import UnsupportedError


def test_every_task_runs_in_every_round_in_turn():
    calls = []
    tasks = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = interleaved_latency(tasks, repeats=4, warmup=1)
    assert calls == ["a", "b"] * 5
    for timing in timings.values():
        assert timing.repeats == 4
        assert 0 <= timing.lower <= timing.median <= timing.upper


def test_peak_memory_sees_the_activations_and_gradients():
    model = nn.Sequential(nn.Linear(500, 4000), nn.ReLU(), nn.Linear(4000, 500))
    needed = 2000 * 4000 * 4
    assert peak_memory(model, torch.zeros(2000, 500)) > needed


def test_peak_memory_of_a_failing_model_is_one_line():
    with pytest.raises(UnsupportedError, match="could not be measured") as caught:
        peak_memory(nn.Linear(3, 2), torch.zeros(4, 5))
    assert "\n" not in str(caught.value)
