"""Check of identity: what a problem is called, and that nothing else is."""

from __future__ import annotations

import copy
import inspect

from primaldual.errors import ArgumentError, SpecError
from primaldual.primal.parts import Part
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.words import PARTS
from primaldual.testing.comparing import close
from primaldual.testing.fed_problem import fed
from primaldual.testing.inputs import tensors

DEFAULTS = tuple(type(part) for part in PrimalProblem().parts())
"""The parts that a spec leaves out."""


def check_identity(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """A spec belongs to one problem: no other has it, and where it can be read it rebuilds the problem."""
    spec = problem.spec()
    assert spec, f"{type(problem).__name__}: spec() is empty"
    assert spec in repr(problem), f"{spec}: repr must contain the spec; got {problem!r}"
    default = tuple(type(part) for part in problem.parts()) == DEFAULTS and not any(
        part.spec() for part in problem.parts()
    )
    assert (spec == "softmax") == default, f"{spec}: 'softmax' names the default problem and no other"
    for part in problem.parts():
        _check_part(part)
    try:
        twin = fed(preset(spec))
    except SpecError:
        twin = None
    if twin is not None:
        twin = twin.bind(heads, head_dim).to(device)
        shown = repr(problem).replace(type(problem).__name__, type(twin).__name__, 1)
        assert repr(twin) == shown, f"{spec}: the spec rebuilds another problem, {twin!r}; got {problem!r}"
        twin.load_state_dict(problem.state_dict())
        inputs = tensors(heads, head_dim, length, device=device)
        found = twin.train(problem.training).attend(*inputs)
        close(found, problem.attend(*inputs), f"{spec}, rebuilt from its spec")
    _check_state(problem, heads, head_dim, device)


def _check_part(part: Part) -> None:
    """A part that is not a default has a spec, its word is its own, and its arguments show."""
    kind = type(part)
    word = part.spec()
    assert word or kind in DEFAULTS, (
        f"{kind.__name__}: spec() is empty, which stands for a default part; give the class a name"
    )
    if part.name in PARTS:
        builder = PARTS[part.name]
        assert kind is builder, f"{kind.__name__}: the name {part.name!r} is taken by {builder.__name__}"
    for name in inspect.signature(kind.__init__).parameters:
        changed = _changed(getattr(part, name, None))
        if changed is None:
            continue
        other = copy.deepcopy(part)
        try:
            setattr(other, name, changed)
        except AttributeError:  # a property follows from something else
            continue
        assert other.spec() != word or not word, (
            f"{word}: {name} = {getattr(part, name)!r} and {changed!r} have one spec; a positional argument is "
            f"returned by arguments(), the others are keyword-only"
        )


def _changed(value: object) -> object:
    """Another value of the same kind, or None for what has no obvious other."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple) and value and all(isinstance(part, int) for part in value):
        return (value[0] + 1, *value[1:])
    return None


def _check_state(problem: PrimalProblem, heads: int, head_dim: int, device: str) -> None:
    """Steps refuse the DecodingState of a problem with another spec."""
    other = preset("softmax(scale=0.123)")
    try:
        states = [each.init_state(1, heads, head_dim, device=device) for each in (problem, other)]
    except NotImplementedError:
        return
    token = [tensor.detach().float() for tensor in tensors(heads, head_dim, 1, batch=1, device=device)]
    for stepping, state in zip((other, problem), states, strict=True):
        try:
            stepping.step(state, *token)
        except ArgumentError:
            continue
        raise AssertionError(f"{stepping.spec()}: step accepts the DecodingState of {state.spec}")
