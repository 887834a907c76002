import pytest
import torch
from torch import nn

from primaldual.errors import UnsupportedError
from primaldual.nn.encoder import Encoder
from primaldual.training.activations import recomputed_blocks


class Count(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(4, 4), 0

    def forward(self, inputs):
        self.calls += 1
        return self.linear(inputs).tanh()


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_blocks_run_again_in_the_backward_pass_with_the_same_gradients(kind):
    blocks = [Count(), Count()]
    model = nn.Sequential(*blocks) if kind is nn.Sequential else nn.Module()
    if kind is nn.ModuleList:
        model.layers = nn.ModuleList(blocks)
        model.forward = lambda inputs: blocks[1](blocks[0](inputs))
    inputs = torch.randn(2, 4)
    model.forward(inputs).sum().backward()
    plain = [block.linear.weight.grad.clone() for block in blocks]
    with recomputed_blocks(model):
        model.zero_grad()
        model.forward(inputs).sum().backward()
    assert [block.calls for block in blocks] == [3, 3]
    for block, gradient in zip(blocks, plain, strict=True):
        torch.testing.assert_close(block.linear.weight.grad, gradient)
        assert "forward" not in vars(block)


def test_dropout_draws_the_same_numbers_again():
    model = Encoder(2, 8, 2, 16, dropout=0.5)
    inputs, gradients = torch.randn(2, 5, 8), []
    for checkpointed in (False, True):
        model.zero_grad()
        torch.manual_seed(0)
        if checkpointed:
            with recomputed_blocks(model):
                model(inputs).square().sum().backward()
        else:
            model(inputs).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_running_statistics_are_updated_once():
    model = Encoder(1, 8, 2, 16, attention="bn(running=true)")
    with recomputed_blocks(model):
        model(torch.randn(2, 5, 8)).sum().backward()
    [averages] = [tensor for name, tensor in model.named_buffers() if name.endswith("batches")]
    assert averages.tolist() == [1, 1]


def test_a_model_without_blocks_is_refused():
    with pytest.raises(UnsupportedError, match="Linear has none"), recomputed_blocks(nn.Linear(2, 2)):
        pass
