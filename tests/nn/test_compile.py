"""A compiled attention is one graph for all batch sizes and lengths."""

import shutil

import pytest
import torch
from torch.testing import assert_close

from primaldual import MultiheadAttention, preset
from primaldual.testing.inputs import prepared
from tests.nn.export_table import rows
from tests.quick import one_in

# torch takes sizes that are equal at first for one size for ever: no batch of as many samples as heads in front.
SHAPES = ((3, 17), (2, 24), (5, 31), (2, 48), (3, 64), (5, 65), (2, 128))
SPECS = [row.spec for row in rows()]


class Counting:
    """A backend that runs graphs as they are, and counts them."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, example_inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture
def backend():
    torch.compiler.reset()
    yield Counting()
    torch.compiler.reset()


def padding(batch, length):
    return torch.arange(length) >= torch.full((batch, 1), length - 3)


def check_attend(spec, masked, is_causal, backend):
    problem = prepared(preset(spec), 2, 6).double()
    compiled = torch.compile(problem.attend, backend=backend, fullgraph=True, dynamic=True)
    for batch, length in SHAPES:
        inputs = [torch.randn(batch, 2, length, 6, dtype=torch.float64) for _ in range(3)]
        mask = ~padding(batch, length)[:, None, None] if masked else None
        found, wanted = (attend(*inputs, mask, is_causal) for attend in (compiled, problem.attend))
        assert_close(found, wanted, rtol=1e-7, atol=1e-9 * max(1.0, float(wanted.detach().abs().max())))
    assert backend.graphs == 1


UNION = "window(2)|sh(3)+bn+sink(0.5)"


@pytest.mark.parametrize("spec", one_in(2, ["sh(1,2)", "linear", "window(3)", "bn"]))
def test_one_graph_serves_all_shapes(spec, backend):
    check_attend(spec, masked=False, is_causal=False, backend=backend)


@pytest.mark.parametrize("spec", one_in(4, [*SPECS[::6], UNION]))
def test_one_causal_graph_serves_all_shapes(spec, backend):
    check_attend(spec, masked=True, is_causal=True, backend=backend)


def test_layer_is_compiled_once(backend):
    layer = MultiheadAttention(12, 2, batch_first=True, attention="bn")
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    for batch, length in SHAPES[:4]:
        inputs = torch.randn(batch, length, 12)
        options = {"key_padding_mask": padding(batch, length), "need_weights": False}
        found, wanted = (module(inputs, inputs, inputs, **options)[0] for module in (compiled, layer))
        assert_close(found, wanted)
    assert backend.graphs <= 2  # the first shape, and all others


# Inductor imports a module of torch that scripts a method.
@pytest.mark.filterwarnings(r"ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor builds C++")
def test_inductor_gives_the_same_outputs_and_gradients():
    torch.compiler.reset()
    layer = MultiheadAttention(12, 2, batch_first=True, attention="bn")
    compiled = torch.compile(layer, fullgraph=True, dynamic=True)
    for batch, length in ((2, 17), (3, 64)):
        inputs = torch.randn(batch, length, 12, requires_grad=True)
        outputs = [module(inputs, inputs, inputs, need_weights=False)[0] for module in (compiled, layer)]
        assert_close(*outputs)
        assert_close(
            *(torch.autograd.grad(out.square().sum(), inputs)[0] for out in outputs), atol=1e-4, rtol=1e-4
        )
