"""Which form computes an attention: the first of a table that does not refuse."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from primaldual.errors import SlowAttentionWarning
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph, in_transform, portable
from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.checks import check_mixing
from primaldual.primal.choices import Choices
from primaldual.primal.forms.biased import Biased
from primaldual.primal.forms.decayed import Decayed
from primaldual.primal.forms.dense import Dense
from primaldual.primal.forms.factored import Factored
from primaldual.primal.forms.form import Form
from primaldual.primal.forms.local_linear import LocalLinearForm
from primaldual.primal.forms.merged import Merged
from primaldual.primal.forms.per_query import PerQuery
from primaldual.primal.forms.pieces import Pieces
from primaldual.primal.forms.ridge import FactoredRidge, KernelRidge
from primaldual.primal.forms.scores import Scores
from primaldual.primal.forms.sink import WithSink
from primaldual.primal.forms.softmax import Band, Softmax
from primaldual.primal.forms.triton import AllScales, NormalizedQueries, Windowed
from primaldual.primal.forms.triton_factored import TritonFactored
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import EAGER, GRAPH, TRANSFORM, Question
from primaldual.primal.sources import KeyValueSource, RememberedSource
from primaldual.primal.subsets import restrict
from primaldual.primal.token_inputs import Inputs, read_inputs, with_values

FORMS: tuple[Form, ...] = (
    NormalizedQueries(),
    AllScales(),
    Windowed(),
    Pieces(),
    Band(),
    Softmax(),
    WithSink(),
    Decayed(),
    Biased(),
    LocalLinearForm(),
    TritonFactored(),
    Factored(),
    Merged(),
    Scores(),
    FactoredRidge(),
    KernelRidge(),
    PerQuery(),
    Dense(),
)
"""The forms, the preferred ones first; the last refuses nothing."""


MANY_NUMBERS = 2**25
"""Queries times keys times features from which a slow form is worth a warning."""


def choose(choices: Choices, sets: list[HeadSet], question: Question) -> list[Form]:
    """For every set of heads the first form that serves it."""
    for form in FORMS:
        if form.joint and all(form.refusal(choices, heads, question) is None for heads in sets):
            return [form] * len(sets)
    alone = [form for form in FORMS if not form.joint]
    return [next(form for form in alone if form.refusal(choices, heads, question) is None) for heads in sets]


def run(
    choices: Choices,
    query: Tensor,
    source: KeyValueSource,
    attendable: Attendable,
    dropout_p: float,
    inputs: Inputs | None = None,
) -> Tensor:
    """The attention by the forms that serve it: (batch, heads, Nq, Dv).

    Args:
        choices: the parts.
        query: (batch, heads, Nq, D).
        source: keys and values, finite where nobody attends.
        attendable: the masks.
        dropout_p: probability of dropping a weight.
        inputs: what the parts need of every token, by name.

    Raises:
        ArgumentError: inputs that are missing or unknown, or no floating tensors.
        ShapeError: inputs of another shape.
    """
    length = query.shape[2]
    choices = choices.for_length(source.length)
    if choices.subset.by_scores:
        source = RememberedSource(source)
        choices = choices.of_call(query, source.take(list(range(query.shape[1])))[0], attendable)
    sets = choices.subset.head_sets(query.shape[1])
    if choices.transform.mixes_queries:
        with own_precision(query.device):
            query = _mixed(choices, sets, query, source, attendable)
    if length == 1 and attendable.is_causal:
        attendable = Attendable(attendable.keys, attendable.pairs)
    key, value = source.tensors or (query, query)
    needs = choices.token_inputs
    if any(need.of_value for need in needs):
        value = source.take(list(range(query.shape[1])))[1]
        inputs = with_values(needs, inputs, query.shape[1], value)
    given = read_inputs(choices, needs, inputs, query, source.length, value.shape[3], attendable)
    choices = choices.with_inputs(given)
    question = asked(query, key, value, source.length, len(sets), attendable, dropout_p)
    chosen = choose(choices, sets, question)
    call = Call(choices, query, source, attendable, dropout_p, given)
    if question.mode == EAGER and is_long(question):
        _warn(choices, sets, chosen, question)
    return run_chosen(call, sets, chosen)


def run_chosen(call: Call, sets: list[HeadSet], chosen: list[Form]) -> Tensor:
    """The outputs of all heads, (batch, heads, Nq, Dv), each set by its form."""
    outputs: list[Tensor] = []
    order: list[HeadSet] = []
    for form in dict.fromkeys(chosen):
        served = [alike for alike, other in zip(sets, chosen, strict=True) if other is form]
        outputs += form.run(call, served)
        order += served
    if len(outputs) == 1:
        return outputs[0]
    return in_order(outputs, [alike.members for alike in order])


def asked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    length: int,
    groups: int,
    attendable: Attendable,
    dropout_p: float,
) -> Question:
    """The facts of a call."""
    batch, heads, queries, head_dim = query.shape
    mode = GRAPH if in_graph() else TRANSFORM if in_transform() or query.is_meta else EAGER
    return Question(
        batch, heads, key.shape[1], queries, length, head_dim, value.shape[3], groups,
        attendable.keys is not None, attendable.pairs is not None, attendable.is_causal, dropout_p > 0,
        query.dtype, query.device.type, mode, portable(),
    )  # fmt: skip


def is_long(question: Question) -> bool:
    """Whether what is slow about a call is worth saying."""
    return question.elements > MANY_NUMBERS


def _warn(choices: Choices, sets: list[HeadSet], chosen: list[Form], question: Question) -> None:
    """Say what is slow about a long call; Python shows the same words once."""
    for form, heads in zip(chosen, sets, strict=True):
        if caution := form.caution(choices, heads, question):
            warnings.warn(caution, SlowAttentionWarning, stacklevel=2)


def in_order(outputs: list[Tensor], members: list[list[int]]) -> Tensor:
    """The outputs of groups of heads as one, heads last in memory, each copied once."""
    place = {head: (group, local) for group, heads in enumerate(members) for local, head in enumerate(heads)}
    runs: list[list[int]] = []
    for head in range(len(place)):
        group, local = place[head]
        if runs and runs[-1][0] == group and runs[-1][2] == local:
            runs[-1][2] += 1
        else:
            runs.append([group, local, local + 1])
    return torch.cat(
        [outputs[group].transpose(1, 2)[:, :, start:stop] for group, start, stop in runs], 2
    ).transpose(1, 2)


def _mixed(
    choices: Choices, sets: list[HeadSet], query: Tensor, source: KeyValueSource, attendable: Attendable
) -> Tensor:
    """The queries after what they take from one another, if they stand where the keys do."""
    pattern = choices.subset.allowed(query.shape[2], source.length, query.device)
    if pattern is not None:
        attendable = restrict(attendable, pattern)
    check_mixing(choices.transform, attendable, query.shape[2], source.length)
    if query.shape[2] != source.length:
        attendable = Attendable()
    mixed = [
        choices.transform.mix_queries(query[:, alike.members], attendable.select(alike.members), alike)
        for alike in sets
    ]
    return in_order(mixed, [alike.members for alike in sets])
