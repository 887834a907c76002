"""By how much another attention changes what the heads and the whole of a model give."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.integrations.attention_hooks import (
    AttentionCall,
    attending,
    call,
    evaluating,
    output_tensor,
    watching,
)
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.layer_stacks import stacks_of
from primaldual.integrations.previous_values import Stack
from primaldual.integrations.transaction import placed
from primaldual.primal.attention import Attention


def output_changes(
    model: nn.Module, sites: Sequence[AttentionSite], problems: Sequence[Attention], sample: Any
) -> tuple[list[float], float]:
    """|| new - old || / || old || with other problems in some layers of a model, which is not changed.

    Returns:
        The change of every layer's heads on its present inputs, 0 for a layer that is not called; and the change
        of the model's output.
    """
    stacks = stacks_of(sites)
    others = {
        site.path: _Other(deepcopy(new), stacks[site.path]) for site, new in zip(sites, problems, strict=True)
    }

    def look(seen: AttentionCall) -> None:
        others[seen.site.path].compare(seen)

    with evaluating(model):
        before = output_tensor(call(model, sample))
        with attending(model, lambda site: site.path in others) as present, watching(present, look):
            for stack in stacks.values():
                stack.enter(model)
            call(model, sample)
        with placed(sites, [deepcopy(new) for new in problems]):
            after = output_tensor(call(model, sample))
    return [others[site.path].change() for site in sites], relative_change(after, before)


class _Other:
    """The change by another problem in place of a layer's own, summed over all calls of the layer."""

    def __init__(self, problem: Attention, stack: Stack) -> None:
        self.problem = problem.eval()
        self.stack = stack
        self.difference = self.own = 0.0

    def compare(self, seen: AttentionCall) -> None:
        problem = self.problem.to(seen.query.device, seen.query.dtype)
        value = (seen.source.tensors or seen.source.take(list(range(seen.query.shape[1]))))[1]
        known = self.stack.inputs(seen.site.module, problem, value)
        new, own = seen.attend_with(problem, known).double(), seen.outputs.double()
        self.difference += float((new - own).square().sum())
        self.own += float(own.square().sum())

    def change(self) -> float:
        return math.sqrt(self.difference / max(self.own, sys.float_info.min))


def relative_change(new: Tensor, old: Tensor) -> float:
    """|| new - old || / || old ||."""
    return float(
        (new.double() - old.double()).norm() / old.double().norm().clamp_min(torch.finfo(torch.double).tiny)
    )
