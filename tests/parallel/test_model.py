import pytest
import torch
from torch import distributed as dist
from torch.testing import assert_close

import primaldual as pdl
from primaldual.parallel import ShardedAttention, sharded
from primaldual.primal.attention import Attention


@pytest.fixture
def group_of_one():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def attentions(model):
    return [type(module) for module in model.modules() if isinstance(module, Attention)]


@pytest.mark.usefixtures("group_of_one")
def test_layers_of_a_converted_model_are_sharded_within_the_context_alone():
    layer = torch.nn.TransformerEncoderLayer(16, 4, batch_first=True, dropout=0.0)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    pdl.convert(model, "bn+sh(1,1,2,4)", verbose=False)
    tokens, names = torch.randn(2, 9, 16), list(model.state_dict())
    expected, before = model(tokens), attentions(model)
    with sharded(model) as same:
        assert same is model
        assert attentions(model).count(ShardedAttention) == 2
        assert_close(model(tokens), expected)
    assert attentions(model) == before
    assert list(model.state_dict()) == names


@pytest.mark.usefixtures("group_of_one")
def test_an_error_inside_the_context_leaves_the_model_as_it_was():
    layer = pdl.MultiheadAttention(8, 2, batch_first=True)
    with pytest.raises(RuntimeError, match="mine"), sharded(layer):
        raise RuntimeError("mine")
    assert ShardedAttention not in attentions(layer)


@pytest.mark.usefixtures("group_of_one")
def test_training_mode_is_that_of_the_model():
    layer = pdl.MultiheadAttention(8, 2, batch_first=True, attention="bn(running=true)").eval()
    with sharded(layer):
        assert not layer.problem.training
        assert not layer.problem.attention.training
