import pytest
import torch

from primaldual.errors import ArgumentError
from primaldual.language import generate_tokens
from primaldual.language.generation import draw
from tests.language.helpers import model


def recomputed(decoder, prompt, length, temperature, top_k, seed):
    """The same tokens, each from a forward pass over all that the decoder sees."""
    generator, seen, found = torch.Generator().manual_seed(seed), prompt.tolist()[-decoder.context :], []
    for _ in range(length):
        if len(seen) > decoder.context:
            seen = seen[-decoder.context // 2 :]
        logits = decoder(torch.tensor([seen]))[0, -1].detach()
        if temperature == 0:
            token = int(logits.argmax())
        else:
            kept = logits.argsort(descending=True)[: top_k or len(logits)]
            shares = torch.zeros(len(logits), dtype=logits.dtype)
            shares[kept] = (logits[kept] / temperature).softmax(0)
            token = int(torch.multinomial(shares.float(), 1, generator=generator))
        seen.append(token)
        found.append(token)
    return found


@pytest.mark.parametrize(
    ("attention", "temperature", "top_k"),
    [("softmax", 0.7, None), ("bn+sh(1,2,4,4)", 1.3, 5), ("window(2)", 0, None), ("linear", 1.0, 300)],
)
def test_states_give_what_full_recomputation_gives(attention, temperature, top_k):
    decoder = model(attention=attention, kv_heads=2).decoder.double()
    torch.nn.init.normal_(decoder.head.weight, std=2.0)
    for prompt in (torch.tensor([7]), torch.arange(8), torch.arange(20)):
        found = list(generate_tokens(decoder, prompt, 14, temperature, top_k, seed=3))
        assert found == recomputed(decoder, prompt, 14, temperature, top_k, 3)


def test_seeds_decide_and_the_callers_generator_stays():
    decoder, prompt, before = model().decoder, torch.tensor([1]), torch.get_rng_state()
    first, again, other = (list(generate_tokens(decoder, prompt, 12, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_top_k_leaves_the_likeliest():
    logits, generator = torch.tensor([0.0, 3.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    assert {draw(logits, 5.0, 2, generator) for _ in range(60)} == {1, 3}
    assert {draw(logits, 1e-30, None, generator) for _ in range(9)} == {1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": torch.tensor([], dtype=torch.long)}, "prompt must have one token or more; got none"),
        ({"prompt": [1, 2]}, r"prompt must be a tensor \(tokens,\); got list"),
        (
            {"prompt": torch.zeros(1, 2, dtype=torch.long)},
            r"prompt must be a tensor \(tokens,\); got shape \(1, 2\)",
        ),
        ({"length": -1}, "length must be an integer 0 or more; got -1"),
        ({"length": 2.5}, "length must be an integer 0 or more; got 2.5"),
        ({"temperature": "hot"}, "temperature must be a finite number of at least 0; got 'hot'"),
        ({"top_k": 1.5}, "top_k must be an integer 1 or more; got 1.5"),
        ({"seed": 0.5}, "seed must be an integer of 64 bits at most; got 0.5"),
        ({"temperature": -0.5}, "temperature must be a finite number of at least 0; got -0.5"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"top_k": 0}, "top_k must be an integer 1 or more; got 0"),
    ],
)
def test_bad_values_are_refused_before_the_first_token(given, message):
    with pytest.raises(ArgumentError, match=message):
        generate_tokens(model().decoder, **{"prompt": torch.tensor([1]), "length": 1, **given})


def test_of_equal_logits_no_more_than_top_k_are_drawn():
    generator = torch.Generator().manual_seed(0)
    assert len({draw(torch.zeros(5), 1.0, 2, generator) for _ in range(50)}) == 2


def test_the_smallest_temperature_takes_the_likeliest_token():
    logits = torch.tensor([1.0, 3.0, 2.0])
    assert draw(logits, 5e-324, None, torch.Generator()) == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_refused(temperature):
    with pytest.raises(ArgumentError, match="logits that are numbers; got NaN"):
        draw(torch.tensor([1.0, torch.nan]), temperature, None, torch.Generator())


@pytest.mark.parametrize("prompt", [torch.tensor([256]), torch.tensor([-1]), torch.tensor([1.5])])
def test_tokens_that_the_decoder_does_not_know_are_refused(prompt):
    with pytest.raises(ArgumentError, match="prompt must be integers from 0 to 255; got"):
        generate_tokens(model().decoder, prompt, length=1)


def test_seeds_of_more_than_64_bits_are_refused():
    with pytest.raises(
        ArgumentError, match="seed must be an integer of 64 bits at most; got 18446744073709551616"
    ):
        generate_tokens(model().decoder, torch.tensor([1]), length=1, seed=2**64)
