import torch

from primaldual.models.series_features import SeriesFeatures, differences

PADDING = torch.arange(30) >= torch.tensor([[30], [9], [1], [22]])


def drawn(with_differences=True):
    values = torch.randn(4, 30, 2, generator=torch.Generator().manual_seed(1))
    model = SeriesFeatures(2, 30, 10, with_differences)
    model.draw(values.masked_fill(PADDING.unsqueeze(-1), 0.0), PADDING, torch.Generator().manual_seed(0))
    return model, values


def test_differences_by_hand():
    values = torch.tensor([[1.0, 4.0, 9.0, 16.0], [1.0, 3.0, 7.0, 7.0]]).unsqueeze(-1)
    assert differences(values, None).squeeze(-1).tolist() == [[3, 5, 7, 0], [2, 4, 0, 0]]
    padding = torch.tensor([[False, False, False, True], [False, True, True, True]])
    assert differences(values, padding).squeeze(-1).tolist() == [[3, 5, 0, 0], [0, 0, 0, 0]]


def test_what_stands_at_padding_changes_nothing_not_even_nan():
    model, values = drawn()
    spoilt = values.masked_fill(PADDING.unsqueeze(-1), float("nan"))
    torch.testing.assert_close(model(spoilt, PADDING), model(values, PADDING))


def test_a_padded_series_gives_what_it_gives_alone():
    model, values = drawn()
    together = model(values, PADDING)
    for case, length in enumerate((~PADDING).sum(1).tolist()):
        torch.testing.assert_close(model(values[case : case + 1, :length]), together[case : case + 1])


def test_the_first_half_of_the_features_is_that_of_the_series_alone():
    (both, values), (alone, _) = drawn(), drawn(with_differences=False)
    assert both.width == 2 * alone.width
    torch.testing.assert_close(both(values, PADDING)[:, : alone.width], alone(values, PADDING))


def test_differences_are_brought_to_deviation_one():
    model, values = drawn()
    moves = differences(values.masked_fill(PADDING.unsqueeze(-1), 0.0), PADDING) / model.step
    assert torch.allclose(moves.square().sum((0, 1)) / (~PADDING).sum(), torch.ones(2))
