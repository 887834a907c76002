import inspect
import math

import pytest

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import finite, flag, whole
from primaldual.primal.words import PARTS

NONSENSE = [-1, 1.5, math.nan, math.inf, True, 10**10, 10**4000, 1e308, "x", [1], (), b"1", 1j, None]


@pytest.mark.parametrize("value", [-1, 1.0, math.nan, True, 10**4000, "1", None, (1,)])
def test_integers_within_bounds(value):
    with pytest.raises(ArgumentError, match="radius must be an integer 0 or more; got "):
        whole("radius", value)
    with pytest.raises(ArgumentError, match="order must be an integer from 1 to 4; got "):
        whole("order", value, 1, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -2e6, True, "1", None, 1j, 10**4000])
def test_numbers_within_bounds(value):
    with pytest.raises(ArgumentError, match=r"beta must be a number from -1e\+06 to 1e\+06; got "):
        finite("beta", value)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_switches(value):
    with pytest.raises(ArgumentError, match="causal must be True or False; got "):
        flag("causal", value)


def _arguments():
    for word, kind in PARTS.items():
        for parameter in list(inspect.signature(kind).parameters.values()):
            if parameter.name not in ("args", "kwargs"):
                yield pytest.param(kind, parameter, id=f"{word}-{parameter.name}")


@pytest.mark.parametrize(("kind", "parameter"), list(_arguments()))
def test_every_argument_of_every_part_is_used_or_refused_by_name(kind, parameter):
    """What is accepted is small: it takes no time and no memory to write down."""
    for value in NONSENSE:
        spec, refusal = _outcome(kind, parameter, value)
        if refusal:
            assert parameter.name in refusal
            assert len(refusal) < 300
        else:
            assert len(spec) < 100
            assert not isinstance(value, int) or abs(value) < 2**31 or parameter.name == "seed"


def _outcome(kind, parameter, value):
    """The spec of a part with an argument, or why it is refused."""
    given = (value,) if parameter.kind is parameter.VAR_POSITIONAL else ()
    named = {} if given else {parameter.name: value}
    try:
        return kind(*given, **named).spec(), ""
    except ArgumentError as error:
        return "", str(error)
