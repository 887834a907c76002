"""A state is saved and loaded, and nothing else is taken for one."""

import copy
import io

import pytest
import torch
from tests.primal.decoding.helpers import KINDS, decode, started, state_of
from torch.testing import assert_close

from primaldual import preset
from primaldual.errors import CheckpointError


@pytest.mark.parametrize("spec", KINDS)
def test_saved_and_loaded(spec):
    problem, state, later = started(spec, capacity=500)
    buffer = io.BytesIO()
    torch.save(state.state_dict(), buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    assert sum(tensor.nbytes for tensor in saved.values()) < state.nbytes + 200
    other = state_of(problem, kv_heads=2).load_state_dict(saved)
    assert other.lengths == [7, 7]
    out = decode(copy.deepcopy(problem), other, later, [1] * 6)
    assert_close(out, decode(problem, state, later, [1] * 6), rtol=0, atol=0)


def test_safetensors_hold_a_state(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    problem, state, later = started("bn+sh(1,2,3,4)")
    safetensors.save_file(state.state_dict(), tmp_path / "state.safetensors")
    other = state_of(problem, kv_heads=2).load_state_dict(
        safetensors.load_file(tmp_path / "state.safetensors")
    )
    assert_close(
        decode(problem, other, later, [1] * 6), decode(problem, state, later, [1] * 6), rtol=0, atol=0
    )


def test_what_does_not_fit_is_not_loaded():
    problem, state, _ = started("bn")
    saved = state.state_dict()
    with pytest.raises(CheckpointError, match="the state is of 'softmax'; got tensors of 'bn'"):
        state_of(preset("softmax"), kv_heads=2).load_state_dict(saved)
    with pytest.raises(CheckpointError, match=r"lengths must be \(3,\)"):
        state_of(problem, batch=3, kv_heads=2).load_state_dict(saved)
    with pytest.raises(CheckpointError, match=r"must be .*float32; got .*float64"):
        state_of(problem, kv_heads=2, dtype=torch.float32).load_state_dict(saved)
    with pytest.raises(CheckpointError, match="needs the tensors"):
        state_of(problem, kv_heads=2).load_state_dict({"spec": saved["spec"]})
    with pytest.raises(CheckpointError, match="got tensors of None"):
        state_of(problem, kv_heads=2).load_state_dict({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": torch.tensor([-1, 7])}, "lengths must be .* all 0 or more; .* down to -1"),
        ({"lengths": torch.tensor([7.0, 7.0])}, "lengths must be"),
        ({"lengths": torch.tensor([9, 7])}, r"lengths of \[9, 7\] need 9 keys and values; got 7"),
        ({"spec": torch.zeros(2, 2, dtype=torch.uint8)}, "got tensors of ''"),
        ({"spec": torch.full((3,), 300)}, "got tensors of ''"),
        ({"0.keys": torch.nan}, "0.keys must be finite; got 1 numbers that are not"),
    ],
)
def test_damaged_states_are_refused_and_change_nothing(change, message):
    problem, state, _ = started("softmax")
    saved = state.state_dict()
    for name, value in change.items():
        if isinstance(value, float):
            saved[name][0, 0, 0, 0] = value
        else:
            saved[name] = value
    other = state_of(problem, kv_heads=2)
    with pytest.raises(CheckpointError, match=message):
        other.load_state_dict(saved)
    assert other.lengths == [0, 0]
