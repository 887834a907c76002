"""The kernels of linear attention behind ``attend``, in Triton's interpreter where there is no GPU."""

import itertools
import subprocess
import sys

import pytest
import torch
from tests.quick import one_in
from torch.testing import assert_close

from primaldual import preset
from primaldual.kernels.gpu import availability

pytest.importorskip("triton")
SPECS = [
    "linear",
    "linear+bn",
    "linear+sh(1,2)",
    "linear+sh(1,2,weighted=true)",
    "linear+conv(3)",
    "random(8)",
]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def available(monkeypatch):
    monkeypatch.setattr(availability, "available", lambda device: True)


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize(("spec", "is_causal"), one_in(3, itertools.product(SPECS, (False, True))))
def test_it_is_the_definition(spec, is_causal):
    torch.manual_seed(0)
    problem = preset(spec).bind(2, 6).to(DEVICE)
    served = "factored by Triton" in problem.explain((2, 2, 20, 6), is_causal=is_causal, device=DEVICE).forms
    assert served or is_causal
    if not served:
        return
    tensors = [torch.randn(2, 2, 20, 6, device=DEVICE, requires_grad=True) for _ in range(3)]
    mask = torch.rand(2, 1, 1, 20, device=DEVICE) > 0.3
    out, wanted = problem.attend(*tensors, mask, is_causal), problem.dense(*tensors, mask, is_causal)
    assert_close(out, wanted, atol=1e-5, rtol=1e-5)
    leaves = [*tensors, *problem.parameters()]
    grads = (torch.autograd.grad(each.sin().sum(), leaves, allow_unused=True) for each in (out, wanted))
    for found, expected in zip(*grads, strict=True):
        if expected is not None:
            assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize("is_causal", [False, True])
def test_masks_of_heads_that_share_keys(is_causal):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 9, 5, device=DEVICE) for heads in (4, 2, 2))
    mask = torch.rand(2, 4, 1, 9, device=DEVICE) > 0.3
    for allowed in (mask, mask[:, :1], mask[:1], None):
        problem = preset("linear")
        assert problem.explain(query.shape, key.shape, allowed, is_causal, device=DEVICE).forms == [
            "factored by Triton"
        ]
        wanted = problem.dense(query, key, value, allowed, is_causal)
        assert_close(problem.attend(query, key, value, allowed, is_causal), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays(dtype):
    tensors = [torch.randn(1, 2, 20, 6, device=DEVICE).to(dtype) for _ in range(3)]
    for spec in ("linear", "linear+sh(2,2)", "random(8)"):
        problem = preset(spec).bind(2, 6).to(DEVICE)
        out, wanted = problem.attend(*tensors), problem.dense(*(tensor.double() for tensor in tensors))
        assert out.dtype == dtype
        assert_close(out.double(), wanted, atol=0.03, rtol=0.03)


@pytest.mark.usefixtures("available")
def test_what_it_refuses_falls_to_another_form():
    linear = preset("linear")

    def reason(problem=linear, shape=(1, 2, 8, 16), keys=None, **options):
        explained = problem.explain(shape, keys, device="cuda", **options)
        assert explained.forms[0] != "factored by Triton"
        return explained.served[0].refusals["factored by Triton"]

    assert "as many queries as keys" in reason(keys=(1, 2, 9, 16), is_causal=True)
    assert "values of up to" in reason(shape=(1, 2, 8, 160))
    assert "bfloat16" in reason(dtype=torch.float64)
    assert "sum of kernels" in reason(preset("linear+constant"))
    assert "finite feature map" in reason(preset("bn+constant"))


def test_importing_the_library_imports_no_triton():
    code = "import sys, torch, primaldual; t = torch.randn(3, 1, 2, 4, 8); primaldual.preset('linear').attend(*t)"
    code += "; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
