"""The gate: nothing is timed unless its outputs and gradients are right."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from benchmarks.performance.contenders import reference
from benchmarks.performance.families import Contender
from benchmarks.performance.settings import Setting
from primaldual.errors import PrimalDualError

OURS_LENGTH = 161
"""Longest sequence on which ours meets its definition, in float64; odd, so that blocks and pools end ragged."""

PEER_LENGTH = 1024
"""Longest sequence on which a peer meets ours, in the format that is timed."""

TOLERANCES = {"fp64": 1e-9, "fp32": 1e-4, "bf16": 5e-2}
"""Largest norm of a difference by the norm of the reference: between a peer and ours, and between ours and its
definition in float64."""


class GateError(PrimalDualError, RuntimeError):
    """Outputs or gradients are wrong, so nothing is timed."""


@dataclass(frozen=True)
class Check:
    """A passed check.

    Attributes:
        contender: what was checked.
        against: its reference.
        setting: on what.
        error: norm of the difference by the norm of the reference, the largest of output and gradients.
        gradients: whether gradients were compared as well.
    """

    contender: str
    against: str
    setting: Setting
    error: float
    gradients: bool


def checks(one: Contender, setting: Setting) -> tuple[Setting, ...]:
    """Sizes on which a contender is checked before it is timed on ``setting``.

    Ours: in float64, where nothing but a wrong formula can differ, and in the format that is timed.
    """
    if not one.family.ours:
        return (setting.shortened(PEER_LENGTH),)
    short = setting.shortened(OURS_LENGTH)
    return replace(short, dtype="fp64"), short


def check(one: Contender, setting: Setting) -> Check:
    """Compare outputs and gradients with the reference's, on the sizes given; a definition is taken in float64.

    Raises:
        GateError: they differ, or something is not finite.

    Example:
        >>> from benchmarks.performance.contenders import contender
        >>> check(contender("bn"), Setting(20, heads=2, head_dim=4, dtype="fp64")).against
        'definition bn'
    """
    other = reference(one)
    backward = one.family.backward
    found = one.build(setting).checked(backward)
    exact = replace(setting, dtype="fp64") if one.family.ours else setting
    expected = other.build(exact).checked(backward)
    names = ["output", "gradient of the queries", "gradient of the keys", "gradient of the values"]
    if len(found) == 2:
        names[1] = "gradient of the inputs"
    worst, limit = 0.0, TOLERANCES[setting.dtype]
    for name, ours, theirs in zip(names[: len(found)], found, expected, strict=True):
        error = _difference(ours, theirs)
        if not error <= limit:
            raise GateError(
                f"{one} fails the gate: its {name} differs from that of {other} by {error:.1e} of its norm; accepted "
                f"is at most {limit:.0e} ({setting}); nothing was timed"
            )
        worst = max(worst, error)
    return Check(str(one), str(other), setting, worst, backward)


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        raise GateError(f"shapes differ: {tuple(found.shape)} and {tuple(expected.shape)}; nothing was timed")
    found, expected = found.detach().double(), expected.detach().double()
    error = float((found - expected).norm() / expected.norm().clamp(min=1e-30))
    return error if math.isfinite(error) else math.inf
