import pytest
import torch

from primaldual.training.examples import BUCKET, Examples, shard, shuffled_batches, sorted_batches


def ragged(lengths):
    lengths = torch.tensor(lengths)
    values = torch.arange(len(lengths)).float()[:, None, None].expand(-1, int(lengths.max()), 2)
    padding = torch.arange(values.shape[1]) >= lengths[:, None]
    return Examples(values, padding, torch.arange(len(lengths)), torch.ones(len(lengths)))


def test_take_cuts_to_the_longest_and_drops_a_mask_that_says_nothing():
    examples = ragged([3, 5, 3])
    short = examples.take(torch.tensor([0, 2]))
    assert short.values.shape == (2, 3, 2)
    assert short.padding is None
    mixed = examples.take(torch.tensor([0, 1]))
    assert mixed.lengths.tolist() == [3, 5]
    assert mixed.targets.tolist() == [0, 1]


def test_lengths_without_a_mask_are_full():
    examples = Examples(torch.zeros(2, 4, 1), None, torch.zeros(2), torch.ones(2))
    assert examples.lengths.tolist() == [4, 4]
    assert examples.take(torch.tensor([1])).padding is None


@pytest.mark.parametrize("cases", [1, 7, 8, 9, 100])
def test_every_case_is_in_exactly_one_batch_of_even_size(cases):
    lengths = torch.randint(1, 50, (cases,), generator=torch.Generator().manual_seed(0))
    batches = shuffled_batches(lengths, 8, torch.Generator().manual_seed(1))
    assert sorted(torch.cat(batches).tolist()) == list(range(cases))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat(sorted_batches(lengths, 8)).tolist()) == list(range(cases))


def test_batches_follow_the_generator():
    lengths = torch.full((20,), 5)
    first, again, other = (
        torch.cat(shuffled_batches(lengths, 4, torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_buckets_spare_padding():
    lengths = torch.randint(1, 100, (BUCKET * 8 * 4,), generator=torch.Generator().manual_seed(0))

    def padded(batches):
        return sum(int(lengths[batch].max()) * len(batch) for batch in batches)

    random_batches = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(1)).split(8)
    assert padded(shuffled_batches(lengths, 8, torch.Generator().manual_seed(1))) < 0.8 * padded(
        random_batches
    )


def test_processes_share_the_batches_in_equal_numbers():
    batches = [torch.tensor([index]) for index in range(5)]
    shares = [shard(batches, process, 2) for process in range(2)]
    assert [len(share) for share in shares] == [3, 3]
    counted = [batch.item() for share in shares for batch, counts in share if counts]
    assert sorted(counted) == [0, 1, 2, 3, 4]
