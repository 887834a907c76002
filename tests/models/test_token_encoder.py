import pytest
import torch

from primaldual.errors import ArgumentError, ShapeError
from primaldual.models import TokenEncoder

SPECS = ["softmax", "bn", "sh(1,2)", "bn+sh(1,2)", "linear"]


def build(spec="softmax"):
    torch.manual_seed(0)
    return TokenEncoder(7, 10, embed_dim=8, num_heads=2, feedforward_dim=16, attention=spec).double().eval()


@pytest.mark.parametrize("spec", SPECS)
def test_tokens_at_padding_change_nothing(spec):
    encoder = build(spec)
    tokens = torch.randint(7, (3, 6))
    padded = torch.cat([tokens, torch.randint(7, (3, 4))], 1)
    mask = (torch.arange(10) >= 6).expand(3, 10)
    torch.testing.assert_close(encoder(padded, mask), encoder(tokens))


def test_it_is_the_mean_of_normalised_outputs():
    encoder = build()
    tokens = torch.randint(7, (2, 5))
    hidden = encoder.embedding.weight[tokens] + encoder.positions[:5]
    for block in encoder.encoder.layers:
        hidden = block(hidden)
    torch.testing.assert_close(encoder(tokens), encoder.norm(hidden).sum(1) / 5)


def test_the_order_of_tokens_matters():
    encoder = build()
    assert not torch.allclose(encoder(torch.tensor([[1, 2, 3]])), encoder(torch.tensor([[3, 2, 1]])))


def test_a_sequence_of_padding_alone_gives_zero_and_finite_gradients():
    encoder = build()
    mask = torch.tensor([[True] * 4, [False] * 4])
    out = encoder(torch.zeros(2, 4, dtype=torch.long), mask)
    assert out[0].abs().max() == 0
    out.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3, 1), None), r"tokens must be \(batch, length\); got \(2, 3, 1\)"),
        (((2, 11), None), "tokens must have a length of at most 10, .*; got 11"),
        (((2, 3), (2, 4)), r"padding_mask must be \(2, 3\) like tokens; got \(2, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    tokens, mask = shapes
    with pytest.raises(ShapeError, match=message):
        build()(
            torch.zeros(tokens, dtype=torch.long),
            None if mask is None else torch.zeros(mask, dtype=torch.bool),
        )


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="vocabulary must be an integer of at least 1; got 0"):
        TokenEncoder(0, 10)
    with pytest.raises(ArgumentError, match="embed_dim must be a multiple of num_heads; got 64 and 3"):
        TokenEncoder(7, 10, num_heads=3)


def test_sequences_without_a_token_give_0():
    assert (build()(torch.zeros(2, 0, dtype=torch.long)) == 0).all()
