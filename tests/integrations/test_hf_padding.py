"""What a problem takes from the positions of its keys, read from its parts."""

import pytest

pytest.importorskip("transformers")

from primaldual import PrimalProblem, Subset, Transform, derive, preset
from primaldual.integrations.hf_padding import Positions
from primaldual.primal.head_groups import joined

OF = {
    "softmax": Positions(),
    "bn": Positions(),
    "window(2)": Positions(from_query=True),
    "sh(1,2)": Positions(from_start=True),
    "conv(3)": Positions(neighbours=True),
    "bn+conv(3)": Positions(neighbours=True),
    "conv(3,prefix=1)": Positions(from_start=True, neighbours=True),
    "conv(3,queries=true)": Positions(from_start=True, neighbours=True, mixes_queries=True),
}


@pytest.mark.parametrize("spec", OF)
def test_positions(spec):
    assert Positions.of(preset(spec), 2) == OF[spec]


def test_heads_that_differ_count_together():
    both = joined([(preset("window(2)"), [0]), (preset("conv(3)"), [1])])
    assert Positions.of(both, 2) == Positions(from_query=True, neighbours=True)


class Own(Transform):
    """States nothing but its definition."""

    def dense(self, query, keys, valid, heads):
        return query, keys


class Distances(Subset):
    """Every other key, and says that distances alone decide."""

    shift_equivariant = True

    def allowed(self, query_length, key_length, device):
        raise NotImplementedError


def test_parts_of_users():
    assert Positions.of(PrimalProblem(transform=Own()), 1) == Positions(from_start=True)
    assert Positions.of(PrimalProblem(subset=Distances()), 1) == Positions()
    assert Positions.of(derive(transform=abs), 1) == Positions()
    assert Positions.of(derive(subset=lambda i, j: j == 0), 1) == Positions(from_start=True)
