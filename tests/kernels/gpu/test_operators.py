"""Operators of torch.library: what they promise compilers, and compiled attentions against eager ones and the definition."""

import pytest
import torch
from tests.quick import one_in
from torch.library import opcheck
from torch.utils._pytree import tree_map_only

from primaldual import MultiheadAttention, preset
from primaldual.errors import UnsupportedError
from primaldual.kernels.gpu import availability
from primaldual.kernels.gpu.operators import linear, scaled_heads, window
from primaldual.kernels.masks import Attendable
from primaldual.primal.forms import triton
from primaldual.primal.forms.choice import asked, choose
from primaldual.primal.question import GRAPH

ATTENTIONS = [
    ("bn(learnable=true)", False, "normalized by Triton"),
    ("bn(gain=0.2)", True, "normalized by Triton"),
    ("bn(learnable=true)+sh(1,2)", False, "all scales by Triton"),
    ("sh(1,2)", True, "all scales by Triton"),
    ("bn(learnable=true,gain=0.2)+sh(1,2)", True, "all scales by Triton"),
    ("bn(learnable=true)+sh(1,2,grid=3x6,prefix=2)", False, "all scales by Triton"),
    ("window(3)", True, "window by Triton"),
    ("linear", True, "factored by Triton"),
]


@pytest.fixture(autouse=True)
def served(monkeypatch):
    """Forms for GPUs everywhere, in float32, which the interpreter multiplies as it is."""
    monkeypatch.setattr(availability, "available", lambda device: True)
    monkeypatch.setattr(triton, "DTYPES", (torch.float32,))
    torch.compiler.reset()


def tensors(device, length=9, heads=(2, 2, 2)):
    torch.manual_seed(0)
    return [torch.randn(2, count, length, 6, device=device, requires_grad=True) for count in heads]


def operators(device):
    """Every operator with arguments of its own."""
    query, key, value = tensors(device)
    few_keys, few_values = tensors(device, heads=(1, 1))
    turned = query.detach().mT.contiguous().mT.requires_grad_()
    beta = torch.rand(2, device=device, requires_grad=True)
    gain = torch.rand(2, 1, device=device, requires_grad=True)
    mask = torch.rand(2, 1, 9, device=device) > 0.3
    return {
        "normalized": (
            scaled_heads,
            (
                query,
                few_keys,
                few_values,
                mask[:, 0, None],
                0.3,
                None,
                None,
                0,
                False,
                True,
                0.0,
                1e-2,
                beta,
                gain,
            ),
            slice(1),
        ),
        "causal": (
            scaled_heads,
            (turned, few_keys, few_values, None, 0.3, None, None, 0, True, True, 0.5, None, None, None),
            slice(1),
        ),
        "scales": (
            scaled_heads,
            (query, key, value, None, 0.3, [1, 4], None, 0, True, True, 0.0, 1e-2, beta, gain),
            slice(1),
        ),
        "plain scales": (
            scaled_heads,
            (turned, key, value, None, 0.3, [2, 2], None, 0, False, False, 0.0, None, None, None),
            slice(1),
        ),
        "patches": (
            scaled_heads,
            (
                query,
                key,
                value,
                mask.expand(-1, 2, -1),
                0.3,
                [1, 2],
                [2, 4],
                1,
                False,
                True,
                0.0,
                1e-2,
                beta,
                gain,
            ),
            slice(1),
        ),
        "window": (window, (query, few_keys, few_values, mask[:, 0, None], 0.3, False, [2, 2]), slice(1)),
        "linear": (linear, (query, few_keys, few_values, mask, False, "elu+1"), slice(1)),
        "causal linear": (linear, (turned, key, value, None, True, "identity"), slice(1)),
    }


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # opcheck reads it of its copies
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name == "scales")) for name in operators("cpu")]
)
def test_operators_keep_their_promises(name, device):
    module, arguments, _ = operators(device)[name]
    cheap = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(
        module.forward,
        arguments,
        test_utils=(*cheap, "test_aot_dispatch_dynamic") if name == "scales" else cheap,
    )


@pytest.mark.parametrize("name", one_in(2, operators("cpu")))
def test_backwards_are_operators_that_keep_theirs(name, device, monkeypatch):
    module, arguments, differentiable = operators(device)[name]
    seen = []
    backward = module.backward
    monkeypatch.setattr(module, "backward", lambda *given: seen.append(given) or backward(*given))
    outputs = module.forward(*arguments)
    assert [out.requires_grad for out in outputs[differentiable]] == [True] * len(outputs[differentiable])
    assert not any(out.requires_grad for out in outputs[differentiable.stop :])
    sum(out.sin().sum() for out in outputs[differentiable]).backward()
    (given,) = seen
    detached = tree_map_only(torch.Tensor, torch.Tensor.detach, given)
    opcheck(backward, detached, test_utils=("test_schema", "test_faketensor"))


def gradients(out, leaves):
    return torch.autograd.grad(out.sin().sum(), leaves)


def distance(found, wanted):
    return ((found.double() - wanted.double()).norm() / wanted.double().norm()).item()


@pytest.mark.parametrize(("spec", "is_causal", "form"), one_in(3, ATTENTIONS))
def test_compiled_attentions_are_eager_ones_and_the_definition(spec, is_causal, form, device):
    problem = preset(spec).bind(2, 6).to(device)
    inputs = tensors(device, length=20)
    leaves = [*inputs, *problem.parameters()]
    sets = problem.parts().subset.head_sets(2)
    question = asked(*inputs, 20, len(sets), Attendable(is_causal=is_causal), 0.0)
    for mode in (question.mode, GRAPH):
        assert {each.name for each in choose(problem.parts(), sets, question._replace(mode=mode))} == {form}

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(query, key, value):
        return problem.attend(query, key, value, is_causal=is_causal)

    out, eager = compiled(*inputs), problem.attend(*inputs, is_causal=is_causal)
    assert torch.equal(out, eager)
    found = gradients(out, leaves)
    assert all(map(torch.equal, found, gradients(eager, leaves)))
    exact = preset(spec).bind(2, 6).double().to(device)
    exact.load_state_dict(problem.state_dict())
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wanted = exact.dense(*wide, is_causal=is_causal)
    assert distance(out, wanted) < 1e-5
    for got, wish in zip(found, gradients(wanted, [*wide, *exact.parameters()]), strict=True):
        assert distance(got, wish) < 1e-3


@pytest.mark.parametrize("spec", ["bn", "sh(1,2)"])
def test_one_graph_serves_all_sizes(spec, device):
    problem, graphs = preset(spec).bind(2, 6), []

    def backend(graph, _):
        graphs.append([str(node.target) for node in graph.graph.nodes if "primaldual" in str(node.target)])
        return graph

    compiled = torch.compile(problem.attend, fullgraph=True, dynamic=True, backend=backend)
    for length in (20, 37):
        inputs = tensors(device, length=length)
        assert torch.equal(compiled(*inputs), problem.attend(*inputs))
    assert len(graphs) == len(graphs[0]) == 1


def test_layers_under_autocast_compile_by_inductor(device, monkeypatch):
    torch.manual_seed(0)
    layer = MultiheadAttention(12, 2, attention="bn+sh(1,2)", batch_first=True, device=device)
    tokens = torch.randn(3, 20, 12, device=device, requires_grad=True)

    def mixed(layer):
        with torch.autocast(device, torch.float16):
            out = layer(tokens, tokens, tokens, need_weights=False)[0]
        return out, *gradients(out.float(), [tokens, *layer.parameters()])

    monkeypatch.setattr(triton, "DTYPES", (torch.float16,))
    for found, wanted in zip(mixed(torch.compile(layer, fullgraph=True)), mixed(layer), strict=True):
        torch.testing.assert_close(found, wanted, atol=5e-3, rtol=5e-3)


def test_exported_and_traced_programs_need_no_operators(device):
    problem, inputs = preset("bn"), [tensor.detach() for tensor in tensors(device)]
    sets = problem.parts().subset.head_sets(2)
    question = asked(*inputs, 9, 1, Attendable(), 0.0)._replace(mode=GRAPH, portable=True)
    (form,) = choose(problem.parts(), sets, question)
    assert form.name == "softmax"
    assert "operators of this library" in triton.NormalizedQueries().refusal(
        problem.parts(), sets[0], question
    )

    class Model(torch.nn.Module):
        def forward(self, query, key, value):
            return problem.attend(query, key, value)

    for strict in (False, True):
        program = torch.export.export(Model(), tuple(inputs), strict=strict)
        assert "primaldual" not in program.graph_module.code
        torch.testing.assert_close(program.module()(*inputs), problem.attend(*inputs))


def test_second_derivatives_are_refused(device):
    query, key, value = tensors(device)
    out = window.forward(query, key, value, None, 0.3, False, [2, 2])[0]
    (slope,) = torch.autograd.grad(out.sum(), query, create_graph=True)
    with pytest.raises((RuntimeError, UnsupportedError), match="backward"):
        slope.sum().backward()
