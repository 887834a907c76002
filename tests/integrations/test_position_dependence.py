"""What a problem takes from the positions of its keys, read from its parts."""

import pytest

from primaldual import PrimalProblem, Subset, Transform, derive, preset
from primaldual.integrations.position_dependence import PositionDependence
from primaldual.primal.head_groups import joined

OF = {
    "softmax": PositionDependence(),
    "bn": PositionDependence(),
    "window(2)": PositionDependence(from_query=True),
    "alibi": PositionDependence(from_query=True),
    "window(2)|sh(1,2)": PositionDependence(from_start=True, from_query=True),
    "sh(1,2)": PositionDependence(from_start=True),
    "conv(3)": PositionDependence(neighbours=True),
    "bn+conv(3)": PositionDependence(neighbours=True),
    "conv(3,prefix=1)": PositionDependence(from_start=True, neighbours=True),
    "boost(2)": PositionDependence(mixes_queries=True, nested=True),
    "scaled(0.1)": PositionDependence(nested=True),
    "conv(3,queries=true)": PositionDependence(from_start=True, neighbours=True, mixes_queries=True),
}


@pytest.mark.parametrize("spec", OF)
def test_positions(spec):
    assert PositionDependence.of(preset(spec), 2) == OF[spec]


def test_heads_that_differ_count_together():
    both = joined([(preset("window(2)"), [0]), (preset("conv(3)"), [1])])
    assert PositionDependence.of(both, 2) == PositionDependence(from_query=True, neighbours=True)


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
    assert PositionDependence.of(PrimalProblem(transform=Own()), 1) == PositionDependence(from_start=True)
    assert PositionDependence.of(PrimalProblem(subset=Distances()), 1) == PositionDependence()
    assert PositionDependence.of(derive(transform=abs), 1) == PositionDependence()
    assert PositionDependence.of(derive(subset=lambda i, j: j == 0), 1) == PositionDependence(from_start=True)
