"""Models that are watched, and are afterwards what they were."""

import copy
from collections import UserDict
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from tests.integrations import torch_models as models
from torch import nn
from torch.testing import assert_close

from primaldual import convert
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.attention_hooks import (
    attending,
    call,
    evaluating,
    output_tensor,
    watching,
)
from primaldual.integrations.finding import find_sites


def test_layers_attend_with_a_problem_only_for_a_while():
    model = models.encoder(layers=2)
    convert(model, "bn", layers=1, verbose=False)
    inputs, modules = models.sequences(), list(model.modules())
    tensors = [id(tensor) for tensor in model.parameters()]
    before = model(inputs)
    with attending(model) as sites:
        assert [site.problem.spec() for site in sites] == ["softmax", "bn"]
        assert_close(model(inputs), before, rtol=1e-9, atol=1e-9)
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention
    assert [module is former for module, former in zip(model.modules(), modules, strict=True)].count(
        False
    ) == 0
    assert [id(tensor) for tensor in model.parameters()] == tensors
    before.sum().backward()  # what was recorded before can still be differentiated
    with pytest.raises(KeyError), attending(model, 0):
        raise KeyError
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention


def test_layers_that_are_refused_are_not_watched():
    model = nn.ModuleList([models.attention(), models.attention(add_zero_attn=True)])
    with attending(model) as sites:
        assert [site.path for site in sites] == ["0"]
    with pytest.raises(UnsupportedError, match="has none; 1 has extra keys"), attending(model, 1):
        pass
    with pytest.raises(UnsupportedError, match="Linear has none"), attending(nn.Linear(2, 2)):
        pass
    with pytest.raises(ArgumentError, match="layers has 'third'"), attending(model, "third"):
        pass


@pytest.mark.parametrize("heads", [None, [0, 2]])
def test_queries_keys_values_masks_and_outputs_are_seen(heads):
    model = models.encoder(layers=2)
    convert(model, "bn", heads=heads, verbose=False)
    inputs, blocked, seen = models.sequences(), models.padding(models.LENGTH), []

    def look(one):
        mask = one.attendable.matrix(one.query.shape[2], one.source.length, one.query.device)
        again = one.problem(one.query, one.source, one.attendable)
        seen.append((one.site.path, one.query, *one.source.take([0, 1, 2, 3]), mask, one.outputs, again))

    with watching(find_sites(model), look):
        model(inputs, src_key_padding_mask=blocked)
    model(inputs)
    assert [path for path, *_ in seen] == ["layers.0.self_attn", "layers.1.self_attn"]
    _, query, key, value, mask, outputs, again = seen[0]
    assert torch.equal(mask.expand(3, 1, 1, 7), ~blocked[:, None, None])
    assert_close(query, model.layers[0].self_attn.q_proj(inputs).unflatten(-1, (4, 4)).transpose(1, 2))
    problem = model.layers[0].self_attn.problem
    assert_close(outputs, problem.attend(query, key, value, mask))
    assert_close(again, outputs)


def test_what_a_look_returns_is_what_the_heads_give():
    model = models.encoder(layers=1)

    def silence(seen):
        return torch.zeros_like(seen.outputs)

    inputs = models.sequences()
    with attending(model) as sites, watching(sites, silence):
        found = model(inputs)
    layer = model.layers[0]
    hidden = layer.norm1(inputs + layer.self_attn.out_proj.bias)
    assert_close(found, model.norm(layer.norm2(hidden + layer.linear2(layer.linear1(hidden).relu()))))
    with pytest.raises(ZeroDivisionError), attending(model) as sites, watching(sites, lambda *_: 1 / 0):
        model(inputs)
    assert not torch.allclose(model(inputs), found)


def test_evaluation_leaves_modes_buffers_hooks_and_generators():
    class Moody(nn.BatchNorm1d):
        """Stays in training, whatever is said."""

        def train(self, mode=True):
            return super().train()

    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), Moody(4)).train()
    model[1].eval()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    inputs = torch.randn(5, 4)
    torch.set_rng_state(generator)
    with evaluating(model):
        assert not model[0].training
        assert not model(inputs).requires_grad
        assert not torch.equal(model[2].running_mean, before["2.running_mean"])
        model[0].register_forward_hook(lambda *_: None)
        torch.rand(3)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not model[0]._forward_hooks
    assert torch.equal(torch.get_rng_state(), generator)
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert model.training


def test_samples_are_arguments():
    def model(*positional, **named):
        return positional, named

    inputs = torch.zeros(2)
    assert call(model, inputs) == ((inputs,), {})
    assert call(model, (inputs, 3)) == call(model, [inputs, 3]) == ((inputs, 3), {})
    assert call(model, {"one": 1}) == call(model, UserDict(one=1)) == ((), {"one": 1})


def test_the_first_tensor_is_the_output():
    first, second = torch.zeros(2), torch.ones(2)
    for outputs in (
        first,
        (first, second),
        [None, first],
        {"loss": None, "logits": first},
        UserDict(out=first),
    ):
        assert output_tensor(outputs) is first
    for outputs in (None, "text", (), {"loss": 1.0}, 3):
        with pytest.raises(UnsupportedError, match=f"tensor first; got {type(outputs).__name__}"):
            output_tensor(outputs)


def in_threads(*runs):
    """Run everything at once, and pass on what is raised."""
    with ThreadPoolExecutor(len(runs)) as pool:
        for done in [pool.submit(run) for run in runs]:
            done.result()


def test_threads_within_a_block_lose_no_call():
    model, inputs = models.encoder(layers=1).eval(), models.sequences()
    convert(model, "bn", verbose=False)
    seen, together = [], Barrier(2)

    def look(one):
        together.wait(timeout=10)  # both are inside at once
        seen.append(one.outputs)

    with attending(model) as sites, watching(sites, look):
        in_threads(lambda: model(inputs), lambda: model(2 * inputs))
    assert len(seen) == 2
    assert not torch.equal(*seen)


@pytest.mark.parametrize("spec", [None, "bn"])
def test_threads_with_blocks_of_their_own_see_their_own_calls(spec):
    model = models.encoder(layers=2).eval()
    if spec is not None:
        convert(model, spec, verbose=False)
    modules = [type(module) for module in model.modules()]
    together, seen = Barrier(2), {}

    def run(length):
        inputs = models.sequences(length)
        with attending(model) as sites:
            together.wait(timeout=10)
            with watching(sites, lambda one: seen.setdefault(length, []).append(one.query.shape[2])):
                for _ in range(20):
                    together.wait(timeout=10)
                    model(inputs)
            if length == 5:
                together.wait(timeout=10)  # the other block ends first
        if length == 7:
            together.wait(timeout=10)

    in_threads(lambda: run(5), lambda: run(7))
    assert seen == {5: [5] * 40, 7: [7] * 40}
    assert [type(module) for module in model.modules()] == modules


def test_layers_borrowed_by_several_blocks_go_back_with_the_last():
    model = models.encoder(layers=2).eval()
    first, second = attending(model, 0), attending(model)
    first.__enter__()
    assert type(model.layers[1].self_attn) is nn.MultiheadAttention
    second.__enter__()
    first.__exit__(None, None, None)
    assert all(site.problem is not None for site in find_sites(model))
    second.__exit__(None, None, None)
    assert all(type(layer.self_attn) is nn.MultiheadAttention for layer in model.layers)


@pytest.mark.parametrize("block", [attending, evaluating])
def test_an_estimator_is_no_model(block):
    class Estimator:
        def fit(self, X, y):
            return self

    with (
        pytest.raises(ArgumentError, match=r"must be a torch\.nn\.Module; got Estimator; .* is its model_"),
        block(Estimator()),
    ):
        pass
