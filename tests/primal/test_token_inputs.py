"""What parts need of every token: taken by name, checked, cut and kept like the tokens themselves."""

import pytest
import torch
from torch.testing import assert_close

from primaldual import Chain, Identity, PairWeights, PrimalProblem, TokenInput, preset
from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.masks import read_mask
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.token_inputs import HEAD_DIM, QUERIES, neutral_where_unattended
from primaldual.testing.decoding import check_decoding
from primaldual.testing.heads import check_keep_heads
from primaldual.testing.inputs import prepared
from primaldual.testing.outputs import check_dense, check_prefix_rule

HEADS, LENGTH, WIDTH = 4, 7, 6


class Tilt(PairWeights):
    """log w_ij = j mean(tilt_i) / 50, with a vector for each query."""

    name = "tilt"
    uneven = True
    token_inputs = (TokenInput("tilt", "slopes over positions", tokens=QUERIES, width=HEAD_DIM),)

    def log_weights(self, heads, count, queries, keys, inputs):
        tilt = inputs["tilt"][:, heads.members]
        rows = queries.long() - len(keys) + tilt.shape[2]
        return tilt.mean(-1)[..., rows, None].to(keys.dtype) * keys / 50


class OtherGate(Identity):
    token_inputs = (TokenInput("log_gate", "something else"),)


def tensors(dtype=torch.float64):
    return (
        torch.randn(3, 2, HEADS, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))
        .to(dtype)
        .unbind(0)
    )


def gates():
    return -torch.rand(2, HEADS, LENGTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("check", [check_dense, check_decoding, check_prefix_rule, check_keep_heads])
def test_a_part_of_ones_own_has_vectors_for_queries(check):
    check(prepared(PrimalProblem(pair_weights=Tilt()), HEADS, WIDTH), HEADS, WIDTH, 13, False)


ACCEPTED = r"accepted are inputs with log_gate: .*, \(batch, heads, keys\) = \(2, 4, 7\)"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, ArgumentError, f"forget needs the input 'log_gate'; got none; {ACCEPTED}"),
        ({"gate": gates()}, ArgumentError, f"forget knows no input 'gate'; {ACCEPTED}"),
        (
            {"log_gate": gates()[:1]},
            ShapeError,
            r"must be \(batch, heads, keys\) = \(2, 4, 7\); got \(1, 4, 7\)",
        ),
        ({"log_gate": gates().long()}, ArgumentError, "log_gate must be a floating tensor; got torch.int64"),
        ({"log_gate": 0.0}, ArgumentError, "log_gate must be a floating tensor; got float"),
    ],
)
@pytest.mark.parametrize("form", ["attend", "dense", "compute"])
def test_what_does_not_fit_is_refused(form, given, error, message):
    with pytest.raises(error, match=message):
        getattr(preset("forget"), form)(*tensors(), inputs=given)


def test_other_calls_refuse_too():
    query, key, value = tensors()
    with pytest.raises(
        ArgumentError, match="softmax knows no input 'log_gate'; it takes no inputs per token"
    ):
        preset("softmax").attend(query, key, value, inputs={"log_gate": gates()})
    for call in (preset("forget").weights, preset("forget").attention_map):
        with pytest.raises(ArgumentError, match="needs the input 'log_gate'"):
            call(query, key)
    problem = preset("forget")
    state = problem.init_state(2, HEADS, WIDTH, dtype=torch.float64)
    with pytest.raises(ShapeError, match="log_gate must be"):
        problem.step(state, query, key, value, inputs={"log_gate": gates()[:, :2]})
    assert state.lengths == [0, 0]


def test_names_stand_for_one_thing():
    with pytest.raises(ArgumentError, match="one name stands for two inputs per token"):
        PrimalProblem(transform=Chain(OtherGate()), pair_weights=preset("forget").pair_weights)
    with pytest.raises(ArgumentError, match="an input needs an identifier as name"):
        TokenInput("log gate", "numbers")


def test_groups_of_heads_get_their_own():
    query, key, value = tensors()
    inputs = {"log_gate": gates()}
    groups = HeadGroups([(preset("forget"), [0, 2]), (preset("bn"), [3, 1])])
    out = groups.attend(query, key, value, is_causal=True, inputs=inputs)
    alone = preset("forget").attend(query, key, value, is_causal=True, inputs=inputs)
    assert_close(out[:, [0, 2]], alone[:, [0, 2]])
    assert_close(groups.attention_map(query, key, is_causal=True, inputs=inputs) @ value, out)
    with pytest.raises(ShapeError, match=r"log_gate must be .* = \(2, 4, 7\); got \(2, 2, 7\)"):
        groups.attend(query, key, value, inputs={"log_gate": gates()[:, :2]})


def test_keys_that_nobody_attends_are_neutral():
    pairs = torch.ones(2, 1, LENGTH, LENGTH, dtype=torch.bool)
    pairs[1, :, :, 4] = False
    pairs[0, :, 3:, 3] = False  # under the causal condition, nobody before attends it either
    needs = preset("forget").token_inputs
    found = neutral_where_unattended(
        needs, {"log_gate": gates()}, read_mask(pairs, True, 2, HEADS, LENGTH, LENGTH)
    )["log_gate"]
    wanted = gates()
    wanted[1, :, 4] = wanted[0, :, 3] = 0.0
    assert_close(found, wanted)


def test_neutral_inputs_change_nothing_and_explain_names_them():
    query, key, value = tensors()
    problem = preset("forget")
    out = problem.attend(query, key, value, inputs=problem.neutral_inputs(query, key, value))
    assert_close(out, preset("softmax").attend(query, key, value))
    assert "needs log_gate: natural logarithms of gates" in str(problem.explain((2, HEADS, LENGTH, WIDTH)))
