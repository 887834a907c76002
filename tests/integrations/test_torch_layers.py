"""Layers of torch with a problem of ours: the same outputs under softmax, the same weights when it is gone."""

import copy

import pytest
import torch
from tests.integrations import torch_models as models
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close

from primaldual import MultiheadAttention, convert, fold_batch_norm, preset, revert
from primaldual.errors import UnsupportedError
from primaldual.integrations.finding import find_sites
from primaldual.integrations.torch_layers import ConvertedMultiheadAttention, find

pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning"
)

KINDS = {
    "encoder layer": (models.encoder_layer, None, lambda: models.encoder_calls("src_mask")),
    "encoder": (models.encoder, None, lambda: models.encoder_calls("mask")),
    "decoder layer": (models.decoder_layer, models.MEMORY, lambda: models.decoder_calls(models.MEMORY)),
    "decoder of a short memory": (models.decoder, 5, lambda: models.decoder_calls(5)),
}
"""Models, the length of what a decoder attends, and calls."""


def converted(model, attention="softmax", **options):
    changed = copy.deepcopy(model)
    convert(changed, attention, verbose=False, **options)
    return changed


def both(model, changed, *inputs, **options):
    """Outputs of the two in training, and in evaluation with and without gradients."""
    for training, grad in ((True, True), (False, True), (False, False)):
        with torch.set_grad_enabled(grad):
            yield changed.train(training)(*inputs, **options), model.train(training)(*inputs, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_first": False}, {"bias": False, "norm_first": True}],
    ids=["", "length first", "no bias"],
)
def test_softmax_gives_the_models_own_outputs(kind, options):
    build, memory, calls = KINDS[kind]
    model = build(**options)
    changed = converted(model)
    inputs = [models.sequences()] + ([] if memory is None else [models.sequences(memory)])
    if not options.get("batch_first", True):
        inputs = [each.transpose(0, 1) for each in inputs]
    for call in list(calls())[:: 5 if options else 1]:
        for found, wanted in both(model, changed, *inputs, **call):
            assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert not any(isinstance(module, nn.MultiheadAttention) for module in changed.modules())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_whole_transformer_in_single_precision():
    model = models.transformer(dtype=torch.float32)
    changed = converted(model)
    target, source = (
        models.sequences(dtype=torch.float32),
        models.sequences(models.MEMORY, dtype=torch.float32),
    )
    masks = {
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(models.LENGTH) < 0,
        "tgt_is_causal": True,
        "src_key_padding_mask": models.padding(models.MEMORY),
        "memory_key_padding_mask": models.padding(models.MEMORY),
    }
    for found, wanted in both(model, changed, source, target, **masks):
        assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_half_precision():
    model = models.encoder(dtype=torch.bfloat16)
    changed = converted(model, "bn(learnable=true)")
    assert {parameter.dtype for parameter in changed.parameters()} == {torch.bfloat16}
    changed = converted(model)
    inputs = models.sequences(30, dtype=torch.bfloat16)
    for found, wanted in both(model, changed, inputs):
        assert_close(found.float(), wanted.float(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 10}, {"bias": False}, {"batch_first": False}])
@pytest.mark.parametrize("average_attn_weights", [True, False])
def test_attention_by_itself(options, average_attn_weights):
    model = models.attention(**options)
    changed = converted(model)
    assert isinstance(changed, ConvertedMultiheadAttention)
    query, key, value = (
        torch.randn(5, 5, width, dtype=torch.float64)
        for width in (models.WIDTH, options.get("kdim", models.WIDTH), options.get("vdim", models.WIDTH))
    )
    blocked = torch.arange(5) >= torch.tensor([5, 4, 3, 2, 1])[:, None]
    pattern = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for masks in (
        {},
        {"key_padding_mask": blocked},
        {"attn_mask": pattern},
        {"attn_mask": pattern, "is_causal": True},
    ):
        for found, wanted in both(
            model, changed, query, key, value, average_attn_weights=average_attn_weights, **masks
        ):
            assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    alone = [each[0] for each in (query, key, value)]
    for found, wanted in both(model, changed, *alone, attn_mask=pattern, key_padding_mask=blocked[1]):
        assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [None, [0], [1]])
@torch.no_grad()
def test_nested_tensors_pass_through(layers):
    """A padded encoder packs its sequences in evaluation, and then gives exactly 0 at the padding: so do we."""
    model = models.encoder(nested=True)
    changed = converted(model, layers=layers)
    inputs, blocked = models.sequences(), models.padding(models.LENGTH)
    packed = []
    for layer in (
        changed.layers if layers is None else []
    ):  # a hook keeps torch's own layers from their fused path
        layer.linear1.register_forward_pre_hook(lambda _, arguments: packed.append(arguments[0].is_nested))
    wanted = model.eval()(inputs, src_key_padding_mask=blocked)
    found = changed.eval()(inputs, src_key_padding_mask=blocked)
    assert packed == ([True, True] if layers is None else [])
    assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert_close(found[blocked], model.norm.bias.expand_as(found[blocked]))
    trained = changed.train()(inputs, src_key_padding_mask=blocked)
    assert_close(trained[~blocked], found[~blocked], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frozen", [True, False])
def test_padded_evaluation_with_gradients(frozen):
    """The encoder asks whether anything is trained before it packs, also where a layer of ours was put by hand."""
    model = models.encoder(nested=True).eval().requires_grad_(not frozen)
    changed = converted(model)
    by_hand = copy.deepcopy(model)
    for mine, theirs in zip(by_hand.layers, model.layers, strict=True):
        mine.self_attn = MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64).eval()
        mine.self_attn.load_state_dict(theirs.self_attn.state_dict())
        mine.self_attn.requires_grad_(not frozen)
    inputs, blocked = models.sequences(), models.padding(models.LENGTH)
    wanted = model(inputs, src_key_padding_mask=blocked)
    for found in (changed, by_hand):
        assert_close(found(inputs, src_key_padding_mask=blocked), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,1,2,4)", "linear", "conv(3)+window(2)"])
@torch.no_grad()
def test_evaluation_equals_training_and_the_definition(spec):
    model = models.encoder(layers=1, nested=True)
    changed = converted(model, spec)
    inputs, blocked = models.sequences(), models.padding(models.LENGTH)
    trained = changed.train()(inputs, src_key_padding_mask=blocked)[~blocked]
    evaluated = changed.eval()(inputs, src_key_padding_mask=blocked)[~blocked]
    layer = model.layers[0]
    packed = nn.functional.linear(inputs, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)
    heads = [each.unflatten(-1, (4, 4)).transpose(1, 2) for each in packed.chunk(3, -1)]
    mixed = preset(spec).dense(*heads, mask=~blocked[:, None, None])
    hidden = layer.norm1(inputs + layer.self_attn.out_proj(mixed.transpose(1, 2).flatten(2)))
    wanted = model.norm(layer.norm2(hidden + layer.linear2(layer.linear1(hidden).relu())))[~blocked]
    assert_close(trained, wanted, rtol=1e-9, atol=1e-9)
    assert_close(evaluated, wanted, rtol=1e-9, atol=1e-9)


def test_nested_tensors_of_another_kind_are_refused():
    layer = converted(models.attention())
    rows = [torch.randn(length, models.WIDTH, dtype=torch.float64) for length in (3, 5)]
    jagged = torch.nested.nested_tensor(rows, layout=torch.jagged)
    strided = torch.nested.nested_tensor(rows)
    for query, key in ((jagged, jagged), (strided, torch.nested.nested_tensor(rows))):
        with pytest.raises(UnsupportedError, match="of nested tensors accepted is a strided one"):
            layer(query, key, key)


def test_a_row_without_keys_is_finite():
    """Where torch gives NaN."""
    layer = converted(models.attention())
    inputs = models.sequences()
    everything = torch.ones(3, models.LENGTH, dtype=torch.bool)
    found, _ = layer(inputs, inputs, inputs, key_padding_mask=everything)
    assert_close(found, layer.out_proj.bias.expand_as(found))


class Shared(nn.Module):
    """A layer that stands in two places, under two names in one of them."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"attention": models.attention()})
        self.first = self.second = self.inner["attention"]

    def forward(self, inputs):
        for layer in (self.first, self.second, self.inner["attention"]):
            inputs = inputs + layer(inputs, inputs, inputs)[0]
        return inputs


def test_a_shared_layer_stays_shared():
    model = Shared()
    changed = converted(model)
    assert len(find(changed)) == 1
    assert changed.first is changed.second is changed.inner["attention"]
    for found, wanted in both(model, changed, models.sequences()):
        assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    revert(changed)
    assert changed.first is changed.second is changed.inner["attention"]
    assert type(changed.first) is nn.MultiheadAttention


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"kdim": 6, "vdim": 10},
        {"kdim": 6, "bias": False},
        {"batch_first": False, "dropout": 0.3},
    ],
)
def test_revert_gives_the_layer_back_bit_for_bit(options, training):
    model = nn.Sequential(models.attention(**options)).train(training)
    model[0].out_proj.requires_grad_(False)
    before = copy.deepcopy(model)
    generator = torch.get_rng_state()
    convert(model, "bn(learnable=true)+sh(1,1,2,4)", verbose=False)
    assert not model[0].out_proj.weight.requires_grad
    assert model[0].q_proj.weight.requires_grad
    assert revert(model) == ["0"]
    assert torch.equal(torch.get_rng_state(), generator)
    assert type(model[0]) is nn.MultiheadAttention
    assert repr(model) == repr(before)
    assert vars(model[0]).keys() == vars(before[0]).keys()
    for name, value in vars(before[0]).items():
        if not isinstance(value, dict):
            assert vars(model[0])[name] == value
    assert list(model.state_dict()) == list(before.state_dict())
    for found, wanted in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(found, wanted)
        assert found.requires_grad == wanted.requires_grad
        assert found.dtype == wanted.dtype


def test_revert_keeps_what_was_trained():
    model = models.encoder()
    changed = converted(model)
    inputs = models.sequences()
    for each in (model, changed):
        optimizer = torch.optim.SGD(each.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            each(inputs).square().mean().backward()
            optimizer.step()
    before = changed(inputs)
    revert(changed)
    assert_close(changed.state_dict(), model.state_dict(), rtol=1e-9, atol=1e-9)
    assert_close(changed(inputs), before, rtol=1e-9, atol=1e-9)


def test_partly_frozen_projections_are_trained_after_revert():
    layer = models.attention()
    layer.in_proj_bias.requires_grad_(False)
    convert(layer, "softmax", verbose=False)
    assert [layer.k_proj.weight.requires_grad, layer.k_proj.bias.requires_grad] == [True, False]
    layer.q_proj.requires_grad_(False)
    revert(layer)
    assert [layer.in_proj_weight.requires_grad, layer.in_proj_bias.requires_grad] == [True, False]


def test_hooks_stay_and_can_still_be_removed():
    model = models.encoder(layers=1)
    layer, calls = model.layers[0].self_attn, []

    def hook(name):
        return lambda *_, **__: calls.append(name)

    handles = [
        layer.register_forward_pre_hook(hook("pre"), with_kwargs=True),
        layer.register_forward_hook(hook("forward"), with_kwargs=True),
        layer.register_full_backward_hook(hook("backward")),
    ]
    convert(model, "bn", verbose=False)
    inputs = models.sequences().requires_grad_()
    model(inputs).sum().backward()
    assert calls == ["pre", "forward", "backward"]
    revert(model)
    model(inputs).sum().backward()
    assert len(calls) == 6
    for handle in handles:
        handle.remove()
    model(inputs).sum().backward()
    assert len(calls) == 6


def test_layers_of_ours_get_their_former_problem_back():
    layer = MultiheadAttention(16, 4, attention="bn(learnable=true)", batch_first=True).eval()
    former = layer.problem
    convert(layer, "sh(1,1,2,2)", verbose=False)
    assert not layer.problem.training
    convert(layer, "linear", heads=[0, 1], verbose=False)
    copied = copy.deepcopy(layer)
    assert revert(layer) == [""]
    assert layer.problem is former
    assert revert(layer) == []
    revert(copied.double())
    assert copied.problem.transform.head_beta.dtype == torch.float64


def pruned_by_torch():
    layer = models.attention()
    prune.l1_unstructured(layer, "in_proj_weight", 0.5)
    return layer


def normalised():
    layer = models.attention()
    parametrizations.weight_norm(layer.out_proj)
    return layer


def patched():
    layer = models.attention()
    layer.forward = layer.forward
    return layer


def tied():
    model = models.encoder()
    model.layers[1].self_attn.in_proj_weight = model.layers[0].self_attn.in_proj_weight
    return model


def sharing_a_map():
    model = nn.ModuleList([models.attention(), models.attention()])
    model[1].out_proj = model[0].out_proj
    return model


def quantised():
    layer = models.attention()
    layer.in_proj_weight = nn.Parameter(
        layer.in_proj_weight.detach().as_subclass(type("Int8", (torch.Tensor,), {}))
    )
    return layer


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.attention(add_bias_kv=True), "extra keys"),
        (lambda: models.attention(add_zero_attn=True), "extra keys"),
        (pruned_by_torch, "computed from others"),
        (normalised, "computed from others"),
        (patched, "a wrapper around its forward"),
        (tied, r"layers\.0\.self_attn has weights that layers\.1\.self_attn\.in_proj_weight has too"),
        (sharing_a_map, r"0 has weights that 1\.out_proj has too"),
        (quantised, "weights of type Int8"),
    ],
)
def test_what_cannot_be_copied_is_refused(build, message):
    model = build()
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(UnsupportedError, match=message):
        convert(model, "bn", verbose=False)
    assert [type(module) for module in model.modules()] == kinds


def test_what_cannot_be_reverted_is_refused_and_nothing_changes():
    model = converted(models.encoder())
    find(model)[1].prune([0, 2])
    with pytest.raises(UnsupportedError, match=r"layers\.1\.self_attn cannot be reverted: .* 4 heads; got 2"):
        revert(model)
    assert [type(layer.self_attn) for layer in model.layers] == [ConvertedMultiheadAttention] * 2
    assert revert(model, layers=0) == ["layers.0.self_attn"]
    wrapped = converted(models.attention())
    wrapped.q_proj = nn.Sequential(wrapped.q_proj)
    with pytest.raises(
        UnsupportedError, match=r"plain linear maps, .*; got torch\.nn\.modules\.container\.Sequential"
    ):
        revert(wrapped)


def test_folded_layers_can_be_reverted():
    """Folding gives the query projection a bias, which torch's layer has for all three or for none."""
    layer = converted(models.attention(bias=False), "bn(running=true)").train()
    inputs = models.sequences()
    layer(inputs, inputs, inputs)
    folded = fold_batch_norm(layer.eval())
    wanted, _ = folded(inputs, inputs, inputs)
    revert(folded)
    assert type(folded) is nn.MultiheadAttention
    assert_close(folded(inputs, inputs, inputs)[0], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ["window(2)", "bn+window(1)", "conv(3,queries=true)"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_cross_attention_refuses_what_needs_queries_among_the_keys(spec, dry_run):
    model = models.transformer()
    with pytest.raises(UnsupportedError, match=r"multihead_attn: the layer attends the keys of another"):
        convert(model, spec, verbose=False, dry_run=dry_run)
    assert all(type(site.module) is nn.MultiheadAttention for site in find_sites(model))
    convert(model, spec, "*self_attn", verbose=False)
    convert(model, "bn+sh(1,1,2,4)", "*multihead_attn", verbose=False)
    assert model(models.sequences(9), models.sequences(5)).isfinite().all()


def test_a_window_between_two_sequences_is_refused_in_a_layer_by_itself():
    layer = converted(models.attention(), "window(2)")
    inputs, memory = models.sequences(9), models.sequences(3)
    with pytest.raises(UnsupportedError, match="9 queries of one sequence and 3 keys of another"):
        layer(inputs, memory, memory)
    kept = layer(inputs[:, -2:], inputs, inputs, is_causal=True, need_weights=False)[0]
    whole = layer(inputs, inputs, inputs, is_causal=True, need_weights=False)[0]
    assert_close(kept, whole[:, -2:])


def drawn(model, *inputs):
    """Outputs and gradients in training, with the dropouts of seed 0."""
    model.train()
    torch.manual_seed(0)
    outputs = model(*inputs)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return outputs.detach(), torch.autograd.grad(outputs.square().sum(), inputs[0])[0], outputs.stride()


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "build",
    [models.encoder, models.encoder_layer, models.decoder_layer, models.transformer, models.attention],
)
def test_softmax_drops_out_as_torch_does(build, batch_first):
    model = build(dropout=0.3, batch_first=batch_first)
    changed = converted(model)
    inputs = models.sequences(6).requires_grad_()
    count = {models.attention: 3, models.decoder_layer: 2, models.transformer: 2}.get(build, 1)
    found, wanted = drawn(changed, *[inputs] * count), drawn(model, *[inputs] * count)
    assert_close(found[0], wanted[0], rtol=1e-9, atol=1e-9)
    assert_close(found[1], wanted[1], rtol=1e-9, atol=1e-9)
    assert found[2] == wanted[2]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("shape", [(3, 7, models.WIDTH), (7, models.WIDTH)])
def test_outputs_lie_in_memory_as_those_of_torch(batch_first, shape):
    model = models.attention(batch_first=batch_first)
    changed = converted(model)
    inputs = torch.randn(shape, dtype=torch.float64)
    memory = inputs.narrow(1 if batch_first and len(shape) == 3 else 0, 0, 2)
    for key in (inputs, memory):
        for mine, theirs in both(model, changed, inputs, key, key, need_weights=False):
            assert mine[0].stride() == theirs[0].stride()
