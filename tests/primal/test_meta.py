"""Shapes alone pass through an attention on the device ``meta``, as tools that plan memory ask."""

import pytest
import torch
from tests.contract_specs import SPECS

from primaldual.errors import UnsupportedError
from primaldual.primal.presets import preset


@pytest.mark.parametrize("is_causal", [False, True])
def test_every_attention_gives_its_shape(is_causal):
    tensors = torch.empty(3, 1, 4, 13, 8, device="meta").unbind(0)
    served, specs = 0, SPECS[is_causal::2]
    for spec in specs:
        problem = preset(spec).bind(4, 8).to("meta")
        inputs = problem.neutral_inputs(*tensors) or None
        try:
            out = problem.attend(*tensors, is_causal=is_causal, inputs=inputs)
        except UnsupportedError:  # as on every device
            continue
        assert (out.device.type, out.shape) == ("meta", tensors[0].shape), spec
        served += 1
    assert served > len(specs) / 2
