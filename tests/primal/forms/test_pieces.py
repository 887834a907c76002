"""Problems whose heads are attended piece by piece, cut as finely as possible."""

import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close

from primaldual import MultiheadAttention, preset
from primaldual.kernels import pieces
from primaldual.primal.forms import choice
from primaldual.primal.forms import pieces as form


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", 100)
    pieces.cut.cache_clear()
    yield
    pieces.cut.cache_clear()


def count_pieces(monkeypatch):
    found = []
    former = form.attend_in_pieces

    def counting(prepare, parts, *rest):
        found.append(len(parts))
        return former(prepare, parts, *rest)

    monkeypatch.setattr(form, "attend_in_pieces", counting)
    return found


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(
    "spec", ["sh(1,2,2,4)", "bn+sh(2,1,2,1)", "bn(learnable=true,beta=0.7)+sh(1,1,3,2)", "sh(3,3,3,3)"]
)
def test_equals_definition(monkeypatch, spec, kv_heads, is_causal):
    counted = count_pieces(monkeypatch)
    torch.manual_seed(0)
    problem = preset(spec).bind(4, 6).double()
    mask = torch.rand(3, 1, 1, 11) > 0.3
    sizes = [(3, heads, 11, 6) for heads in (4, kv_heads, kv_heads)]
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    leaves = [*inputs, *problem.parameters()]
    for chosen in (None, mask):
        out, wanted = problem.attend(*inputs, chosen, is_causal), problem.dense(*inputs, chosen, is_causal)
        assert_close(out, wanted)
        gradient = torch.randn_like(out)
        grads = (torch.autograd.grad(result, leaves, gradient) for result in (out, wanted))
        for found, expected in zip(*grads, strict=True):
            assert_close(found, expected, rtol=1e-6, atol=1e-8)
    one_softmax = spec == "sh(3,3,3,3)" and not is_causal
    assert counted == [] if one_softmax else len(counted) == 2 and min(counted) >= 3


@pytest.mark.parametrize("is_causal", [False, True])
def test_layer_by_pieces_equals_layer_at_once(monkeypatch, is_causal):
    torch.manual_seed(0)
    layer = MultiheadAttention(24, 4, batch_first=True, attention="bn+sh(4,1,2,4)").double()
    inputs = torch.randn(3, 9, 24, dtype=torch.float64)
    padding = torch.arange(9) >= torch.tensor([[9], [6], [4]])
    results = []
    for forms in (choice.FORMS, choice.FORMS[1:]):
        monkeypatch.setattr(choice, "FORMS", forms)
        out = layer(inputs, inputs, inputs, padding, need_weights=False, is_causal=is_causal)[0]
        results.append((out, *torch.autograd.grad(out.square().sum(), list(layer.parameters()))))
    for found, wanted in zip(*results, strict=True):
        assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_parameters_swapped_for_a_call_get_the_gradient_of_that_call():
    problem = preset("bn(learnable=true)+sh(1,2)").bind(2, 4).double()
    inputs = [torch.randn(1, 2, 9, 4, dtype=torch.float64) for _ in range(3)]
    swapped = torch.tensor([0.2, 0.3], dtype=torch.float64, requires_grad=True)

    class Attend(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.problem = problem

        def forward(self, name):
            return getattr(self.problem, name)(*inputs)

    module = Attend()
    grads = []
    for name in ("attend", "dense"):
        out = functional_call(module, {"problem.transform.head_beta": swapped}, (name,))
        grads.append(torch.autograd.grad(out.square().sum(), swapped)[0])
    assert_close(grads[0], grads[1])


def test_switching_to_evaluation_before_the_backward_changes_nothing():
    problem = preset("bn(running=true)+sh(1,2)").bind(2, 4).double()
    inputs = [torch.randn(2, 2, 9, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    wanted = torch.autograd.grad(problem.dense(*inputs).square().sum(), inputs)
    out = problem.attend(*inputs)
    problem.eval()
    for found, expected in zip(torch.autograd.grad(out.square().sum(), inputs), wanted, strict=True):
        assert_close(found, expected)
