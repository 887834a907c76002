"""Precisions by name."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

Precision = Callable[[torch.device], AbstractContextManager[object]]
"""Device -> context for the forward pass."""


def full(device: torch.device) -> AbstractContextManager[object]:
    """Leave the precision to the weights (and, of several processes, to ``accelerate launch --mixed_precision``)."""
    del device
    return nullcontext()


def bfloat16(device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in bfloat16, reductions and weights in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


PRECISIONS: Mapping[str, Precision] = {"no": full, "bf16": bfloat16}
"""Precisions by the names that Accelerate uses.

Autocast is entered here and not by ``Accelerator(mixed_precision=...)``, which would fix one precision for
the whole process and so forbid a grid search over it.
"""
