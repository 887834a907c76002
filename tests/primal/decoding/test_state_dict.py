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
