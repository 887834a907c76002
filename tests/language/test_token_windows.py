import pytest
import torch

from primaldual.language import TokenWindows


def loaded(windows, seed=0):
    return next(windows.load([torch.arange(len(windows))], seed))


def test_windows_follow_one_another_and_predict_the_next_token():
    batch = loaded(TokenWindows(torch.arange(24, dtype=torch.uint8), context=5))
    assert torch.equal(batch.tokens.flatten(), torch.arange(20))
    assert torch.equal(batch.targets, batch.tokens + 1)
    assert batch.tokens.dtype == torch.long
    assert len(batch) == 4


def test_every_epoch_shifts_the_windows_by_its_seed():
    windows = TokenWindows(torch.arange(60), context=5, shifted=True)
    starts = {int(loaded(windows, seed).tokens[0, 0]) for seed in range(60)}
    assert starts == set(range(5))
    assert torch.equal(loaded(windows, 3).tokens, loaded(windows, 3).tokens)
    whole = loaded(windows, 3)
    some = next(windows.load([torch.tensor([4, 2])], 3))
    assert torch.equal(some.tokens, whole.tokens[[4, 2]])


@pytest.mark.parametrize("length", range(6, 17))
def test_short_texts_are_never_left(length):
    windows = TokenWindows(torch.arange(length), context=5, shifted=True)
    for seed in range(12):
        batch = loaded(windows, seed)
        assert len(batch) == len(windows) >= 1
        assert int(batch.targets.max()) < length


def test_other_tokens_or_windows_have_another_fingerprint():
    found = {
        TokenWindows(tokens, context).fingerprint()
        for tokens in (torch.arange(20), torch.arange(20) + 1)
        for context in (4, 5)
    }
    assert len(found) == 4
