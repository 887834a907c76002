import pytest
import torch

from primaldual.training.batches import pieces


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_pieces_of_all_processes_are_the_batches(processes, accumulation):
    batches = [torch.tensor([4, 1, 3, 0, 2]), torch.tensor([5])]
    weights = torch.arange(6.0)
    found = [pieces(batches, weights, process, processes, accumulation) for process in range(processes)]
    assert {len(mine) for mine in found} == {2 * accumulation}
    for step, batch in enumerate(batches):
        parts = [mine[step * accumulation + turn] for mine in found for turn in range(accumulation)]
        counted = [case for piece in parts if piece.counts for case in piece.cases.tolist()]
        assert sorted(counted) == sorted(batch.tolist())
        assert all(len(piece.cases) > 0 for piece in parts)
        assert {piece.weight for piece in parts} == {float(batch.sum())}
