import torch
from torch import nn

from primaldual.training.compiling import compiled


def test_the_model_is_plain_again_after_an_error():
    layer = nn.Linear(2, 2)
    try:
        with compiled(layer):
            assert layer._compiled_call_impl is not None
            raise KeyError
    except KeyError:
        pass
    assert layer._compiled_call_impl is None
    assert layer(torch.ones(1, 2)).shape == (1, 2)
