import copy
import pickle

import pytest
import torch

from primaldual.errors import ArgumentError, ShapeError, SpecError
from primaldual.models import HEADS, TimeSeriesTransformer

SPECS = ["softmax", "bn", "sh(1,2)", "bn+sh(1,2)"]


def build(spec="softmax", head="mean"):
    torch.manual_seed(0)
    return TimeSeriesTransformer(
        3, 10, 2, embed_dim=8, num_heads=2, feedforward_dim=16, attention=spec, head=head
    ).eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("filler", [0.0, 1e6, float("nan"), float("inf")])
def test_padding_changes_nothing(spec, head, filler):
    model = build(spec, head)
    values = torch.randn(4, 6, 3)
    padded = torch.cat([values, torch.full((4, 3, 3), filler)], 1).requires_grad_()
    mask = (torch.arange(9) >= 6).expand(4, 9)
    out = model(padded, mask)
    torch.testing.assert_close(out, model(values), rtol=1e-4, atol=1e-5)
    out.sum().backward()
    assert padded.grad[:, 6:].abs().max() == 0
    assert all(
        parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None
    )


@pytest.mark.parametrize("spec", SPECS)
def test_a_series_alone_is_the_series_in_its_batch(spec):
    model = build(spec)
    values, lengths = torch.randn(3, 10, 3), [10, 4, 1]
    mask = torch.arange(10) >= torch.tensor(lengths)[:, None]
    together = model(values, mask)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            together[row : row + 1], model(values[row : row + 1, :length]), rtol=1e-4, atol=1e-5
        )


def test_the_order_of_time_points_matters():
    model = build()
    values = torch.randn(1, 6, 3)
    assert not torch.allclose(model(values), model(values.flip(1)), atol=1e-6)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_compute_the_same(clone):
    model = build("bn+sh(1,2)")
    values = torch.randn(2, 6, 3)
    torch.testing.assert_close(clone(model)(values), model(values))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embed_dim": 0}, "embed_dim must be an integer of at least 1; got 0"),
        ({"num_layers": 1.5}, "num_layers must be an integer of at least 1; got 1.5"),
        ({"embed_dim": 9}, "embed_dim must be a multiple of num_heads; got 9 and 2"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\); got 1.0"),
        ({"head": "max"}, "head must be one of mean, flatten; got 'max'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        TimeSeriesTransformer(3, 10, 2, **{"embed_dim": 8, "num_heads": 2, **arguments})


def test_unknown_attention_is_named():
    with pytest.raises(SpecError, match="nonsense"):
        TimeSeriesTransformer(3, 10, 2, attention="nonsense")


@pytest.mark.parametrize("scales", ["sh(1,2,4)", "sh(1,0)"])
def test_scales_that_do_not_fit_the_heads_raise(scales):
    with pytest.raises((ArgumentError, SpecError)):
        TimeSeriesTransformer(3, 10, 2, embed_dim=8, num_heads=2, attention=scales)


def test_wrong_shapes_are_named():
    model = build()
    with pytest.raises(ShapeError, match="3 channels"):
        model(torch.randn(2, 5, 4))
    with pytest.raises(ShapeError, match="at most 10 time points"):
        model(torch.randn(2, 11, 3))
    with pytest.raises(ShapeError, match="padding_mask"):
        model(torch.randn(2, 5, 3), torch.zeros(2, 4, dtype=torch.bool))
