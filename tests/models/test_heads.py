import pytest
import torch

from primaldual.models.heads import HEADS, FlattenHead, MeanHead


def test_mean_head_averages_what_is_not_padded():
    head = MeanHead(3, 2, 1)
    head.linear.weight.data = torch.tensor([[1.0, 10.0]])
    head.linear.bias.data = torch.tensor([0.5])
    hidden = torch.tensor([[[1.0, 0.0], [3.0, 1.0], [100.0, 100.0]]])
    mask = torch.tensor([[False, False, True]])
    assert head(hidden, mask).item() == 1 * 2.0 + 10 * 0.5 + 0.5


def test_flatten_head_gives_each_position_its_weights():
    head = FlattenHead(3, 1, 1)
    head.linear.weight.data = torch.tensor([[1.0, 10.0, 100.0]])
    head.linear.bias.data = torch.tensor([0.0])
    hidden = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert head(hidden).item() == 321.0
    assert head(hidden, torch.tensor([[False, False, True]])).item() == 21.0
    assert head(hidden[:, :2]).item() == 21.0


@pytest.mark.parametrize("name", HEADS)
def test_no_mask_is_an_empty_mask_and_padding_may_be_nan(name):
    head = HEADS[name](6, 4, 3)
    hidden = torch.randn(2, 4, 4)
    empty = torch.zeros(2, 4, dtype=torch.bool)
    torch.testing.assert_close(head(hidden), head(hidden, empty))
    padded = torch.cat([hidden, torch.full((2, 2, 4), torch.nan)], 1)
    mask = (torch.arange(6) >= 4).expand(2, 6)
    torch.testing.assert_close(head(padded, mask), head(hidden))


@pytest.mark.parametrize("name", HEADS)
def test_a_sequence_of_padding_alone_is_finite(name):
    out = HEADS[name](4, 4, 3)(torch.randn(1, 4, 4), torch.ones(1, 4, dtype=torch.bool))
    assert out.isfinite().all()
