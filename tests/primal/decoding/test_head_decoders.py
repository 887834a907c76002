"""Every problem gets the smallest memory that is exact, by the facts that its parts state."""

import pytest
import torch
from tests.primal.decoding.helpers import HEADS, decode, problem_of, state_of, tensors
from torch.testing import assert_close

from primaldual import (
    BatchNormalization,
    MaskedKeys,
    PooledHeads,
    PrimalProblem,
    Transform,
    Window,
    derive,
    preset,
)
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.primal.chain import Chain
from primaldual.primal.decoding.feature_sums import FeatureSums
from primaldual.primal.decoding.history import History
from primaldual.primal.decoding.incremental import PointByPoint
from primaldual.primal.decoding.pair_cache import PairCache
from primaldual.primal.subsets import Subset
from primaldual.primal.transforms import Identity


@pytest.mark.parametrize(
    "problem",
    [
        PrimalProblem(subset=MaskedKeys(torch.ones(5, 5, dtype=torch.bool))),
        PrimalProblem(subset=PooledHeads(1, 2, 2, 2, grid=(4, 4))),
        preset("conv2d(3)"),
    ],
    ids=lambda problem: problem.spec(),
)
def test_fixed_numbers_of_positions_are_refused(problem):
    with pytest.raises(UnsupportedError, match="requires a fixed length and cannot be decoded step by step"):
        problem.init_state(1, HEADS, 6)


def test_scales_must_match_the_heads():
    with pytest.raises(ArgumentError, match="scales must be one integer, or one for each"):
        preset("sh(1,2)").init_state(1, HEADS, 6)


def test_grouped_heads_share_what_is_cached():
    state = preset("sh(2,2,2,2)").init_state(1, 4, 64, kv_heads=2)
    assert state.memories[0]["keys"].shape[1] == 2


def test_parts_of_your_own():
    """A pattern by positions, a pointwise transform, a subset and a transform that state their definition only."""

    class Even(Subset):
        def allowed(self, query_length, key_length, device):
            return (torch.arange(key_length, device=device) % 2 == 0)[None].expand(query_length, key_length)

    class Doubled(Transform):
        def dense(self, query, keys, valid, heads):
            return 2 * query, 2 * keys

    problems = [
        derive(lambda x: x.relu() + 1, transform=torch.tanh),
        derive(subset=lambda i, j: (i - j) % 3 == 0),
        PrimalProblem(subset=Even()),
        PrimalProblem(transform=Doubled()),
    ]
    for problem in problems:
        inputs = tensors(14, 2, 0)
        out = decode(problem, state_of(problem, kv_heads=2), inputs, [4] + [1] * 10)
        assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("spec", "decoder"),
    [
        ("bn", PairCache),
        ("conv(3,causal=true)+bn", PairCache),
        ("sh(1,2,2,2,prefix=1)", PairCache),
        ("bn(running=true)+linear", FeatureSums),
        ("taylor(2)", FeatureSums),
        ("bn+linear", History),
        ("constant", History),
        ("conv(3)", History),
        ("window(3)", History),
        ("sh(1,2,2,2,weighted=true)", History),
        ("sh(1,2,2,2,suffix=1)", History),
        ("anchored(1,2,2,2)", History),
    ],
)
def test_the_decoder_follows_from_the_parts(spec, decoder):
    state = state_of(problem_of(spec))
    assert {type(heads.decoder) for heads in state.decoders_for(state._problem)} == {decoder}


def test_a_part_of_your_own_states_its_facts():
    class Recent(Subset):
        """The query's own key and those 2 and 4 before it."""

        reach = 4

        def allowed(self, query_length, key_length, device):
            queries = torch.arange(query_length, device=device)[:, None] + key_length - query_length
            distance = queries - torch.arange(key_length, device=device)
            return (distance >= 0) & (distance <= 4) & (distance % 2 == 0)

    class Pairwise(PooledHeads):
        """Scaled heads under another name."""

    class Scaled(Transform):
        shift_equivariant = True

        def dense(self, query, keys, valid, heads):
            return 3 * query, 3 * keys

        def incremental(self, heads, exact):
            return PointByPoint(lambda inputs: 3 * inputs)

    for problem, slots in (
        (PrimalProblem(transform=Scaled(), subset=Recent()), 2 * 4 + 16),
        (PrimalProblem(transform=Scaled(), subset=Pairwise(2, 2, 2, 2)), 40),
        (PrimalProblem(transform=Chain(Scaled(), BatchNormalization())), 40),
    ):
        inputs, state = tensors(60, 2, 0), state_of(problem, kv_heads=2, capacity=40)
        out = decode(problem, state, inputs, [4] + [1] * 26 + [20] + [1] * 10)
        assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)
        assert not isinstance(problem.subset, Recent) or state.memories[0]["keys"].shape[2] <= slots


def test_a_changed_definition_states_its_facts_anew():
    """A subclass that changes what a part is does not inherit how that part decodes."""

    class Negated(Identity):
        def dense(self, query, keys, valid, heads):
            return -query, keys

        def into_query(self, query, training, heads):
            return -query, training

    class Gained(BatchNormalization):
        def dense(self, query, keys, valid, heads):
            query, keys = super().dense(query, keys, valid, heads)
            return 2 * query, keys

        def into_query(self, query, training, heads):
            query, training = super().into_query(query, training, heads)
            return 2 * query, training

    class Dilated(Window):
        def allowed(self, query_length, key_length, device):
            return super().allowed(query_length, key_length, device) | (torch.arange(key_length) == 0)

    for problem in (
        PrimalProblem(transform=Negated()),
        PrimalProblem(transform=Gained()),
        PrimalProblem(subset=Dilated(2)),
        PrimalProblem(transform=Negated(), subset=Dilated(2)),
    ):
        inputs, state = tensors(24, 2, 0), state_of(problem, kv_heads=2)
        assert isinstance(state.decoders_for(problem)[0].decoder, History)
        out = decode(problem, state, inputs, [4] + [1] * 20)
        assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)
        assert_close(out, problem.dense(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)


def test_heads_with_their_own_facts():
    """Where one head set has no windows, all heads keep the history."""

    class Odd(PooledHeads):
        def windows(self, heads):
            return super().windows(heads) if heads.scale == 1 else None

    problem, inputs = PrimalProblem(subset=Odd(1, 1, 2, 2)), tensors(12, 4, 0)
    state = state_of(problem)
    assert [type(heads.decoder) for heads in state.decoders_for(problem)] == [History]
    out = decode(problem, state, inputs, [1] * 12)
    assert_close(out, problem.attend(*inputs, is_causal=True), rtol=1e-9, atol=1e-9)
