import pytest
import torch
from torch.nn.functional import batch_norm, conv1d, gelu
from torch.testing import assert_close

from primaldual.errors import ArgumentError
from primaldual.models import ConvolutionalEmbedding, TimeSeriesTransformer
from primaldual.models.embeddings import PointNorm


def embedding():
    torch.manual_seed(0)
    return ConvolutionalEmbedding(3, 8)


def test_it_is_two_convolutions_with_batch_normalisation():
    layer, values = embedding(), torch.randn(2, 11, 3)
    hidden = values.transpose(1, 2)
    for convolution in layer.convolutions:
        hidden = gelu(batch_norm(conv1d(hidden, convolution.weight, padding=3), None, None, training=True))
    assert_close(layer(values), hidden.transpose(1, 2))


def test_padding_changes_nothing_in_training_or_after():
    values, padding = torch.randn(2, 9, 3), torch.zeros(2, 12, dtype=torch.bool)
    padding[:, 9:] = True
    longer = torch.cat([values, torch.zeros(2, 3, 3)], 1)
    alone, padded = embedding(), embedding()
    assert_close(padded(longer, padding)[:, :9], alone(values))
    for one, other in zip(alone.buffers(), padded.buffers(), strict=True):
        assert_close(one, other)
    assert_close(padded.eval()(longer, padding)[:, :9], alone.eval()(values))


def test_a_batch_of_one_time_point_has_no_variance_and_trains():
    norm = PointNorm(4).train()
    rows = torch.randn(1, 1, 4)
    assert_close(norm(rows), rows, atol=1e-4, rtol=1e-4)
    assert torch.equal(norm.running_mean, torch.zeros(4))


def test_the_model_refuses_an_unknown_embedding():
    with pytest.raises(ArgumentError, match="embedding must be one of linear, convolution; got 'spline'"):
        TimeSeriesTransformer(2, 5, 2, embedding="spline")
