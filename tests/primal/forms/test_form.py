"""Second derivatives are right or refused where attention runs by operations that have them, as in float64 on a GPU."""

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel

from primaldual.primal.presets import preset
from primaldual.testing.functional import check_second_derivatives
from primaldual.testing.inputs import prepared


@pytest.mark.parametrize("spec", ["bn+window(3)", "bn+conv(3)", "sink(0.3)+bn(beta=0.7)", "bn+sh(1,1,2,4)"])
def test_without_a_fused_kernel(spec):
    with sdpa_kernel(SDPBackend.MATH):
        check_second_derivatives(prepared(preset(spec), 4, 6), 4, 6, 13, False)
