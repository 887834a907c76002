"""Which forms serve on this machine, found by asking for every word of specs, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import torch

from primaldual.errors import PrimalDualError
from primaldual.primal.forms.choice import FORMS
from primaldual.primal.forms.form import Form
from primaldual.primal.presets import preset
from primaldual.primal.words import PARTS, examples

SHAPE = 1, 4, 256, 64
"""Sequences, heads, length and width of a head that the question is asked for."""

USUAL_TYPE = {"cpu": torch.float32, "mps": torch.float32, "cuda": torch.bfloat16}
"""Types of numbers that people use on a device, and kernels are made for."""


@dataclass
class FormHere:
    """A form on this machine.

    Attributes:
        name: of the form.
        serves: specs that it computes, by device; "causal" stands before those that it computes under a causal mask alone.
        reason: why it serves none of them; "" if it serves one.
    """

    name: str
    serves: dict[str, list[str]] = field(default_factory=dict)
    reason: str = ""


def forms_here(devices: Sequence[str]) -> list[FormHere]:
    """Every form, the preferred ones first.

    Args:
        devices: types of devices that torch can use.

    Example:
        >>> softmax = next(form for form in forms_here(["cpu"]) if form.name == "softmax")
        >>> "bn" in softmax.serves["cpu"]
        True
    """
    found = {form.name: FormHere(form.name) for form in FORMS}
    reasons: dict[str, Counter[str]] = {form.name: Counter() for form in FORMS}
    for device, spec, causal in product(devices, _specs(), (False, True)):
        try:
            told = preset(spec).explain(SHAPE, is_causal=causal, dtype=USUAL_TYPE[device], device=device)
        except PrimalDualError:
            continue  # an example of another number of heads or positions
        for part in told.served:
            here = found.setdefault(part.form, FormHere(part.form)).serves.setdefault(device, [])
            shown = f"causal {spec}" if causal else spec
            if not {spec, shown} & {*here}:
                here.append(shown)
            for name, reason in part.refusals.items():
                reasons[name][reason] += 1
    for form in FORMS:
        if not found[form.name].serves:
            found[form.name].reason = _reason(form, devices, reasons[form.name])
    return [*found.values()]


def _specs() -> list[str]:
    """Examples of every word, the first of each before the others, then the last parts of all without the parts before."""
    stated = [examples(word) for word in PARTS]
    found = [specs[0] for specs in stated] + [spec for specs in stated for spec in specs[1:]]
    return [*dict.fromkeys([*found, *(spec.rpartition("+")[2] for spec in found)])]


def _reason(form: Form, devices: Sequence[str], reasons: Counter[str]) -> str:
    if form.device is not None and form.device not in devices:
        return f"runs on devices of type {form.device}, of which torch finds none"
    # the rarest reason is that of the attention for which the form is nearest to serving
    return min(reasons, key=reasons.__getitem__) if reasons else "another form comes first"
