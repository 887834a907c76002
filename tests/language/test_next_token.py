import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import DataError
from primaldual.language import Bytes, Characters, NextToken, token_losses
from primaldual.language.next_token import scores_of
from tests.language.helpers import model


def test_the_loss_is_the_mean_over_a_window():
    logits, targets = torch.randn(2, 3, 5, dtype=torch.float64), torch.tensor([[0, 4, 2], [1, 1, 3]])
    shares = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = [
        -sum(math.log(shares[case, place, targets[case, place]]) for place in range(3)) / 3
        for case in range(2)
    ]
    assert_close(NextToken().loss(logits, targets), torch.tensor(expected, dtype=torch.float64))
    assert_close(NextToken().score(logits, targets) * math.log(2), -NextToken().loss(logits, targets))


@pytest.mark.parametrize("length", [2, 8, 9, 10, 40])
def test_every_token_but_the_first_is_predicted_once_from_its_window(length):
    decoder, tokens = model().decoder.double(), torch.randint(256, (length,))
    expected = []
    for place in range(1, length):
        start = (place - 1) // 8 * 8
        logits = decoder(tokens[None, start:place])[0, -1]
        expected.append(-logits.log_softmax(-1)[tokens[place]])
    found = token_losses(decoder.train(), tokens.to(torch.uint8), batch_size=2)
    assert_close(found.double(), torch.stack(expected).detach(), atol=1e-5, rtol=1e-5)
    assert decoder.training


def test_one_token_predicts_none():
    with pytest.raises(DataError, match="text must have 2 tokens or more to predict one; got 1"):
        token_losses(model().decoder, torch.tensor([1]))


def test_bits_per_byte_do_not_depend_on_what_a_token_is():
    text = "aäa"
    letters = Characters.of(text.encode(), "text")
    as_characters = scores_of(torch.tensor([2.0, 1.0]), letters.encode(text), letters)
    as_bytes = scores_of(torch.tensor([1.5, 0.5, 1.0]), Bytes().encode(text), Bytes())
    assert (as_characters.tokens, as_bytes.tokens) == (2, 3)
    assert as_characters.bits_per_byte == as_bytes.bits_per_byte == pytest.approx(1 / math.log(2))
    assert as_characters.perplexity == pytest.approx(math.exp(1.5))
