"""Tools that look inside a model see it whole when it is compiled, and leave it compiled."""

import itertools

import pytest
import torch
from tests.integrations import torch_models as models
from tests.quick import one_in
from torch import nn

from primaldual import MultiheadAttention, capture_attention, convert, head_report
from primaldual.analysis import head_regressions
from primaldual.errors import UnsupportedError
from primaldual.integrations.eager import eager


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def compiled_inside(model):
    model.layers[0].compile(backend="eager")
    return model


HOW = {
    "in place": compiled_in_place,
    "a layer in place": compiled_inside,
    "wrapped": lambda model: torch.compile(model, backend="eager"),
    "in a model": lambda model: nn.Sequential(torch.compile(model, backend="eager")),
}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("how", "spec"), one_in(3, itertools.product(HOW, (None, "bn"))))
def test_heads_of_compiled_models_are_seen(how, spec):
    model, inputs = models.encoder().eval(), models.sequences()
    if spec is not None:
        convert(model, spec, verbose=False)
    wanted = head_report(model, inputs)
    with torch.no_grad(), capture_attention(model) as expected:
        outputs = model(inputs)
    compiled = HOW[how](model)
    with torch.no_grad():
        compiled(inputs)
        with capture_attention(compiled) as maps:
            compiled(inputs)
    assert [each.weights.shape for each in maps] == [each.weights.shape for each in expected]
    for found, one in zip(maps, expected, strict=True):
        torch.testing.assert_close(found.weights, one.weights)
    report = head_report(compiled, inputs)
    for found, layer in zip(report.layers, wanted.layers, strict=True):
        torch.testing.assert_close(found.importance, layer.importance)
        assert (found.importance > 0).all()
    with torch.no_grad():
        torch.testing.assert_close(compiled(inputs), outputs)


def test_regressions_of_compiled_layers_are_read():
    layer, inputs = MultiheadAttention(16, 4, batch_first=True).eval(), torch.randn(1, 5, 16)
    layer.compile(backend="eager")
    layer(inputs, inputs, inputs)
    assert list(head_regressions(layer, inputs, inputs, inputs)) == [""]


def test_blocks_that_overlap_end_with_the_compiler_as_it_was():
    runs = []

    def backend(graph, inputs):
        runs.append("compiled")
        return graph.forward

    @torch.compile(backend=backend)
    def twice(x):
        return 2 * x

    model = nn.Linear(2, 2)
    first, second = eager(model), eager(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    twice(torch.ones(3))
    assert not runs
    second.__exit__(None, None, None)
    twice(torch.ones(3))
    assert runs == ["compiled"]


def test_a_torch_that_cannot_run_eagerly_refuses(monkeypatch):
    model = models.encoder()
    torch.compile(model, backend="eager")
    monkeypatch.delattr(torch.compiler, "set_stance")
    with eager(model):
        pass
    refused = pytest.raises(UnsupportedError, match=r"2\.6 or later; got a compiled TransformerEncoder")
    with refused, eager(compiled_in_place(model)):
        pass
