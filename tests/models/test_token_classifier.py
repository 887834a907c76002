import pytest
import torch

from primaldual.errors import ArgumentError
from primaldual.models import TokenClassifier, TokenPairClassifier

SIZES = {"embed_dim": 8, "num_heads": 2, "feedforward_dim": 16}


def test_the_head_reads_the_vector_of_the_sequence():
    model = TokenClassifier(7, 10, 3, **SIZES).eval()
    tokens = torch.randint(7, (2, 5))
    hidden = torch.nn.functional.gelu(model.head[0](model.encoder(tokens)))
    torch.testing.assert_close(model(tokens), model.head[2](hidden))


def test_both_sequences_of_a_pair_go_through_one_encoder_and_may_differ_in_length():
    model = TokenPairClassifier(7, 10, 2, **SIZES).eval()
    first, second = torch.randint(7, (2, 5)), torch.randint(7, (2, 9))
    mask = (torch.arange(9) >= 6).expand(2, 9)
    one, other = model.encoder(first), model.encoder(second[:, :6])
    features = torch.cat([one, other, one * other, one - other], 1)
    torch.testing.assert_close(model(first, None, second, mask), model.head(features), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(first, None, second, mask), model(second, mask, first, None))


@pytest.mark.parametrize("kind", [TokenClassifier, TokenPairClassifier])
def test_outputs_are_checked(kind):
    with pytest.raises(ArgumentError, match="outputs must be an integer of at least 1; got 0"):
        kind(7, 10, 0)
