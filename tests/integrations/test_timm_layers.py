from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from timm.layers import set_reentrant_ckpt, use_reentrant_ckpt
from timm.layers.attention import Attention
from torch import nn
from torch.nn.functional import avg_pool2d

from primaldual import capture_attention
from primaldual.errors import ArgumentError, ShapeError, SpecError, UnsupportedError
from primaldual.integrations import timm_attention
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites, other_attention
from primaldual.integrations.packed_projection import PackedSource
from primaldual.integrations.timm_attention import PrimalDualAttention
from primaldual.integrations.timm_layers import attention_class, find
from primaldual.integrations.timm_positions import SquareImage
from primaldual.kernels.gpu import availability
from primaldual.kernels.layout import Layout
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem

TINY = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, "num_heads": 4, "num_classes": 5}
GATED = {"gated": True} if "gated" in inspect.signature(Attention).parameters else {}
OPTIONS = [
    {},
    {"qk_norm": True},
    {"qkv_bias": True, **GATED},
    {"scale_norm": True, "proj_bias": False},
    {"attn_head_dim": 6, "dim_out": 10, "qkv_bias": True},
]


def tiny(name="vit_tiny_patch16_224", **changes):
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, **{**TINY, **changes})


def images(batch=2, height=32, width=32):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def tokens(batch, length, width):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(2))


def layers(**options):
    """timm's own layer and ours with its weights, made by the class."""
    torch.manual_seed(0)
    options = {"dim": 24, "num_heads": 4, "norm_layer": nn.LayerNorm, **options}
    return Attention(**options), options


def masks(length):
    generator = torch.Generator().manual_seed(3)
    pairs = (torch.rand(2, 1, length, length, generator=generator) > 0.4) | torch.eye(
        length, dtype=torch.bool
    )
    keys = torch.arange(length) < torch.tensor([length, length - 3])[:, None]
    per_head = (torch.rand(4, length, length, generator=generator) > 0.4) | torch.eye(
        length, dtype=torch.bool
    )
    additive = torch.zeros(length, length).masked_fill(~per_head[0], -torch.inf)
    return {
        "none": {},
        "pairs": {"attn_mask": pairs},
        "keys": {"attn_mask": keys[:, None, None, :]},
        "heads": {"attn_mask": per_head},
        "float": {"attn_mask": additive},
        "causal": {"is_causal": True},
    }


def pooled(tensor, scale, grid, prefix):
    """Means over scale x scale patches of (batch, N, D), written with torch's own pooling."""
    image = tensor[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2)
    means = avg_pool2d(image, scale, ceil_mode=True, count_include_pad=False)
    return torch.cat([tensor[:, :prefix], means.flatten(2).transpose(1, 2)], 1)


def written_out(layer, x, scales, grid, prefix, normalise=False):
    """Scaled heads, with batch normalisation or without, head by head from their definition."""
    heads, width = layer.num_heads, layer.head_dim
    query, key, value = layer.qkv(x).unflatten(-1, (3, heads, width)).permute(2, 3, 0, 1, 4)
    outputs = []
    for head, scale in enumerate(scales):
        q = layer.q_norm(query[head])
        k, v = (pooled(part, scale, grid, prefix) for part in (layer.k_norm(key[head]), value[head]))
        if normalise:
            mean, deviation = k.mean(1, keepdim=True), (k.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
            q, k = (q - mean) / deviation, (k - mean) / deviation
        outputs.append((q @ k.transpose(1, 2) / width**0.5).softmax(-1) @ v)
    return layer.proj(torch.cat(outputs, -1))


# --- meaning


@pytest.mark.parametrize("kind", ["none", "pairs", "keys", "heads", "float", "causal"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_softmax_is_timms_own(options, training, kind):
    if kind == "causal" and "is_causal" not in inspect.signature(Attention.forward).parameters:
        pytest.skip("this timm knows no causal attention")
    theirs, made = layers(**options)
    ours = attention_class("softmax")(**made)
    ours.load_state_dict(theirs.state_dict())
    x = tokens(2, 9, 24)
    arguments = masks(9)[kind]
    expected = theirs.train(training)(x, **arguments)
    torch.testing.assert_close(ours.train(training)(x, **arguments), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_converted_model_with_softmax_is_timms_own(training):
    model, x = tiny().train(training), images()
    before = model(x)
    report = convert(model, "softmax", sample=x, verbose=False)
    assert report.change < 1e-6
    assert [layer.path for layer in report.layers] == ["blocks.0.attn", "blocks.1.attn"]
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", ["bn+sh(1,2,3,2)", "sh(2,1,4,1)"])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("shape", [(32, 32), (40, 24)])
def test_scaled_heads_pool_patches_of_the_models_grid(spec, qk_norm, shape):
    model = tiny(img_size=shape, qk_norm=qk_norm).eval()
    convert(model, spec, verbose=False)
    layer, grid = model.blocks[0].attn, (shape[0] // 8, shape[1] // 8)
    assert find(model)[0].layout == Layout(grid, 1)
    x = tokens(2, 1 + grid[0] * grid[1], 48)
    scales = preset(spec).subset.scales
    expected = written_out(layer, x, scales, grid, 1, normalise="bn" in spec)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("arguments", ["keys", "heads"])
def test_pooling_before_the_projection_is_pooling_after_it(arguments):
    theirs, made = layers(qkv_bias=True)
    fast = attention_class("sh(1,2,2,3)", layout=Layout((3, 4), 1))(**made)
    slow = copy.deepcopy(fast)
    slow.qkv.register_forward_hook(lambda module, inputs, output: None)  # who is watched is called whole
    for layer in (fast, slow):
        layer.load_state_dict(theirs.state_dict())
    x, mask = tokens(2, 13, 24), masks(13)[arguments]
    torch.testing.assert_close(fast(x, **mask), slow(x, **mask), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fast(x), slow(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "changes", "prefix"),
    [
        ("deit_tiny_patch16_224", {}, 1),
        ("deit_tiny_distilled_patch16_224", {}, 2),
        ("deit3_small_patch16_224", {}, 1),  # no_embed_class
        ("vit_small_patch14_reg4_dinov2", {}, 5),
        ("vit_medium_patch16_gap_240", {}, 0),
        ("vit_base_patch16_siglip_224", {}, 0),
    ],
)
def test_lone_tokens_stay_out_of_the_pools(name, changes, prefix):
    model = tiny(name, **changes).eval()
    convert(model, "sh(1,2,4,4)", verbose=False)
    heads = attention_class("sh(1,2,4,4)", layout=SquareImage(prefix))
    built = tiny(name, attn_layer=heads, **changes).eval()
    built.load_state_dict(model.state_dict())
    torch.testing.assert_close(built(images()), model(images()))
    for layer in (model.blocks[1].attn, built.blocks[1].attn):
        assert layer.positions.layout(16 + prefix) == Layout((4, 4), prefix)
        x = tokens(2, prefix + 16, 48)
        expected = written_out(layer, x, (1, 2, 4, 4), (4, 4), prefix)
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("spec", "form"),
    [("bn", "normalized by Triton"), ("sh(1,1,2,4)", "all scales by Triton"), ("bn+sh(1,2,2,3)", "all scales by Triton")],
)  # fmt: skip
def test_a_converted_model_runs_by_one_form_on_a_gpu(monkeypatch, spec, form):
    monkeypatch.setattr(availability, "available", lambda device: device == "cuda")
    model = tiny(reg_tokens=1)
    convert(model, spec, verbose=False)
    problems = [module.problem for module in model.modules() if isinstance(module, PrimalDualAttention)]
    assert len(problems) == TINY["depth"]
    for problem in problems:
        explanation = problem.explain((2, 4, 18, 12), dtype=torch.bfloat16, device="cuda")
        assert explanation.forms == [form]


@pytest.mark.parametrize(("device", "pooled_first"), [("cpu", True), ("meta", False)])
def test_inputs_are_pooled_before_projections_on_the_cpu_alone(monkeypatch, device, pooled_first):
    made = []
    monkeypatch.setattr(
        timm_attention, "PackedSource", lambda *given: made.append(given) or PackedSource(*given)
    )
    monkeypatch.setattr(PrimalProblem, "attend", lambda problem, query, *rest, **more: query)
    layer = attention_class("sh(1,1,2,4)", layout=Layout((2, 4), 1))(24, num_heads=4).to(device)
    assert layer(tokens(2, 9, 24).to(device)).shape == (2, 9, 24)
    assert bool(made) == pooled_first


@pytest.mark.parametrize("bias", [True, False])
def test_all_heads_are_projected_as_the_packed_map_says(bias):
    inputs, packed = tokens(2, 5, 24), nn.Linear(24, 72, bias=bias)
    source = PackedSource(inputs, packed, 4, 6)
    wanted = packed(inputs).unflatten(-1, (3, 4, 6)).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(torch.stack([source.query(inputs), *source.take([0, 1, 2, 3])]), wanted)
    torch.testing.assert_close(torch.stack(source.take([3, 1])), wanted[1:, :, [3, 1]])


def test_scores_with_another_scale_keep_it():
    model = tiny().eval()
    for block in model.blocks:
        block.attn.scale = 0.7
    fused = model(images())
    convert(model, "softmax", verbose=False)
    torch.testing.assert_close(model(images()), fused)  # timm's fused path does not read the scale
    revert(model)
    for block in model.blocks:
        block.attn.fused_attn = False
    expected = model(images())
    assert not torch.allclose(fused, expected)
    convert(model, "softmax", verbose=False)
    torch.testing.assert_close(model(images()), expected)
    with pytest.raises(UnsupportedError, match=r"blocks\.0\.attn: scores with a scale of 0\.7"):
        convert(model, "linear", verbose=False)


def test_dropout_falls_on_weights_in_training_only():
    _, made = layers(attn_drop=0.5)
    for spec in ("softmax", "sh(1,1,2,2)"):
        ours = attention_class(spec, layout=SquareImage(1))(**made)
        x = tokens(1, 17, 24)
        torch.manual_seed(0)
        with torch.no_grad():
            several = ours.train()(x.expand(2000, -1, -1))
            exact = ours.eval()(x)
        assert not torch.equal(several[0], several[1])
        torch.testing.assert_close(several.mean(0, keepdim=True), exact, atol=0.03, rtol=0)


def test_padding_holds_anything():
    _, made = layers(**GATED)
    x, mask = tokens(2, 17, 24), masks(17)["keys"]["attn_mask"]
    filled = torch.where(mask[:, 0].transpose(1, 2), x, torch.nan)
    for spec in ("softmax", "bn", "sh(1,1,2,2)"):
        ours = attention_class(spec, layout=SquareImage(1))(**made)
        plain, spoiled = ours(x, mask), ours(filled, mask)
        kept = mask[:, 0, 0]
        torch.testing.assert_close(spoiled[kept], plain[kept])
        spoiled[kept].sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


def test_token_with_nobody_to_attend_to_gets_the_projection_of_nothing():
    _, made = layers()
    ours = attention_class("bn")(**made)
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[2] = False
    torch.testing.assert_close(ours(tokens(1, 5, 24), mask)[0, 2], ours.proj.bias)


def test_masks_that_cannot_be_honoured_raise():
    _, made = layers()
    ours, x = attention_class("softmax")(**made), tokens(2, 5, 24)
    with pytest.raises(ArgumentError, match="attn_mask holds additive biases"):
        ours(x, torch.randn(5, 5))
    with pytest.raises(ShapeError, match="mask must broadcast"):
        ours(x, torch.ones(4, 4, dtype=torch.bool))


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, GATED], ids=str)
@pytest.mark.parametrize("spec", ["softmax", "bn+sh(1,1,2,2)"])
def test_autocast(spec, options):
    _, made = layers(**options)
    ours, x = attention_class(spec, layout=SquareImage(1))(**made), tokens(2, 17, 24)
    exact = ours(x)
    with torch.autocast("cpu", torch.bfloat16):
        low = ours(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), exact, atol=0.03, rtol=0.05)
    low.sum().backward()


# --- how tokens lie


def test_square_image_of_tokens():
    assert SquareImage(0).layout(196) == Layout((14, 14), 0)
    assert SquareImage(2).layout(198) == Layout((14, 14), 2)
    ours = attention_class("sh(1,2,2,4)", layout=SquareImage(1))(dim=24, num_heads=4)
    for length in (17, 26, 5):  # the number may change by call
        assert ours(tokens(1, length, 24)).shape == (1, length, 24)
    with pytest.raises(ShapeError, match="behind 1 lone tokens; got 33"):
        ours(tokens(1, 33, 24))  # a class token and 4 x 8 patches, or 5 x 5 and 8 registers
    with pytest.raises(UnsupportedError, match="convert the model that is built"):
        attention_class("sh(1,2,2,4)")(dim=24, num_heads=4)
    assert attention_class("bn")(dim=24, num_heads=4)(tokens(1, 48, 24)).shape == (1, 48, 24)


def test_layout_is_the_specs_then_the_callers_then_read():
    made = {"dim": 24, "num_heads": 4}
    asked = attention_class("sh(1,2,2,4)", layout=Layout())(**made)
    assert asked(tokens(1, 48, 24)).shape == (1, 48, 24)
    assert asked.problem.subset.layout == Layout()
    stated = attention_class("sh(1,2,2,4,grid=2x8,prefix=1)", layout=Layout((4, 4), 1))(**made)
    assert stated.problem.subset.layout == Layout((2, 8), 1)
    assert attention_class("conv2d(3,grid=2x8,prefix=1)")(**made).problem.subset.layout == Layout((2, 8), 1)
    model = tiny()
    convert(model, "sh(1,2,2,4,grid=2x8,prefix=1)", verbose=False)
    assert model(images()).shape == (2, 5)
    assert model.blocks[0].attn.problem.subset.layout == Layout((2, 8), 1)
    convert(model, "sh(1,2,2,4)", layout=Layout(), verbose=False)
    assert model(images()).shape == (2, 5)
    assert model.blocks[0].attn.problem.subset.layout == Layout()


def test_images_of_any_size():
    model = tiny(dynamic_img_size=True).eval()
    plain = copy.deepcopy(model)
    convert(model, "bn+sh(1,2,2,4)", verbose=False)
    restored = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    for height, width in ((32, 32), (16, 64), (64, 16), (24, 40)):
        x = images(2, height, width)
        still = tiny(img_size=(height, width)).eval()
        convert(still, f"bn+sh(1,2,2,4,grid={height // 8}x{width // 8},prefix=1)", verbose=False)
        state = plain.state_dict()
        state["pos_embed"] = timm.layers.resample_abs_pos_embed(
            plain.pos_embed.detach(), new_size=(height // 8, width // 8), num_prefix_tokens=1
        )
        still.load_state_dict(state)
        torch.testing.assert_close(model(x), still(x), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(restored(x), model(x))
    with pytest.raises(ShapeError, match="grid 4x4 with prefix 1 needs 17 positions; got 14"):
        model.blocks[0](tokens(1, 14, 48))
    assert len(model.patch_embed._forward_hooks) == 2
    convert(model, "sh(1,2,2,4)", verbose=False)
    assert len(model.patch_embed._forward_hooks) == 2
    revert(model)
    assert not model.patch_embed._forward_hooks
    assert torch.equal(model(images()), plain(images()))


def test_input_size_that_is_changed_afterwards():
    model = tiny().eval()
    convert(model, "sh(1,2,2,4)", verbose=False)
    model.set_input_size((48, 16))
    found = model(images(1, 48, 16))
    convert(model, "sh(1,2,2,4,grid=6x2,prefix=1)", verbose=False)
    torch.testing.assert_close(found, model(images(1, 48, 16)))


def test_patches_that_are_dropped_leave_no_grid():
    model = tiny(patch_drop_rate=0.5).train()
    convert(model, "bn", verbose=False)
    assert model(images()).shape == (2, 5)
    convert(model, "sh(1,2,2,4)", verbose=False)
    with pytest.raises(ShapeError, match="needs 17 positions; got 9"):
        model(images())
    assert model.eval()(images()).shape == (2, 5)


def test_models_that_do_not_say_how_tokens_lie():
    torch.manual_seed(0)
    model = timm.create_model("pit_ti_224", pretrained=False, img_size=64, depth=[1, 1, 1]).eval()
    x = images(1, 64, 64)
    convert(model, "bn", verbose=False)
    assert model(x).shape == (1, 1000)
    revert(model)
    for dry_run in (True, False):
        with pytest.raises(UnsupportedError, match=r"transformers\.0\.blocks\.0\.attn: .*layout=Layout"):
            convert(model, "sh(1,2)", layers=0, verbose=False, dry_run=dry_run)
    with pytest.raises(UnsupportedError, match="layout=Layout"):
        convert(model, "conv2d(3)", verbose=False)
    assert all(site.problem is None for site in find(model))
    for layout in (Layout(), Layout((7, 7), 1)):
        convert(model, "sh(2)", layers=0, heads=[1], layout=layout, verbose=False)
        assert model(x).shape == (1, 1000)
        problems = model.transformers[0].blocks[0].attn.problem.groups
        assert problems[0].subset.layout == layout
        assert problems[1].subset.layout == Layout()


# --- a layer among timm's


def test_class_is_one_class_with_timms_signature():
    spec = "bn+sh(1,2,4)"
    made = attention_class(spec)
    assert isinstance(made, type)
    assert made is attention_class(spec)
    assert made is not attention_class(spec, layout=Layout((14, 14), 1))
    assert issubclass(made, Attention)
    assert inspect.signature(made) == inspect.signature(Attention)
    assert pickle.loads(pickle.dumps(made)) is made
    assert copy.deepcopy(made) is made
    assert pickle.loads(pickle.dumps(PrimalDualAttention)) is PrimalDualAttention
    with pytest.raises(SpecError, match="unknown part"):
        attention_class("bm")
    with pytest.raises(ArgumentError, match="4 heads"):
        made(dim=24, num_heads=4)


def test_class_of_a_problem_copies_it():
    problem = preset("bn(learnable=true)")
    model = tiny(attn_layer=attention_class(problem)).eval()
    with torch.no_grad():
        model.blocks[0].attn.problem.transform.head_beta.fill_(0.3)
    assert problem.transform.head_beta is None
    assert model.blocks[1].attn.problem.transform.head_beta.tolist() == [1.0] * 4
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(images()), model(images()))


def test_device_and_dtype():
    made = attention_class("bn(learnable=true)")(24, 4, device="meta", dtype=torch.float64)
    tensors = *made.parameters(), *made.buffers()
    assert {(tensor.device.type, tensor.dtype) for tensor in tensors} == {("meta", torch.float64)}


@pytest.mark.parametrize("spec", ["softmax", "bn(learnable=true)+sh(1,1,2,2)"])
def test_state_dicts_load_both_ways(spec):
    plain = tiny().eval()
    built = tiny(attn_layer=attention_class(spec, layout=SquareImage(1))).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1)
    added = {name: tensor.clone() for name, tensor in built.state_dict().items() if ".problem." in name}
    assert len(added) == 2 * ("learnable" in spec)
    built.load_state_dict(plain.state_dict())  # strict; what the problem learned is not in it, and stays
    assert all(torch.equal(built.state_dict()[name], tensor) for name, tensor in added.items())
    converted = copy.deepcopy(plain)
    convert(converted, spec, verbose=False)
    converted.load_state_dict(plain.state_dict())
    converted.load_state_dict(built.state_dict())
    assert torch.equal(converted(images()), built(images()))
    with torch.no_grad():
        plain.cls_token.add_(1)
    if added:
        with pytest.raises(RuntimeError, match="Unexpected key"):
            plain.load_state_dict(built.state_dict())
    plain.load_state_dict(built.state_dict(), strict=not added)
    assert torch.equal(plain.cls_token, built.cls_token)


def test_partial_state_dicts_of_the_problem_are_missed():
    built = tiny(attn_layer=attention_class("bn(learnable=true)"))
    state = built.state_dict()
    del state["blocks.0.attn.qkv.weight"]
    with pytest.raises(RuntimeError, match="Missing"):
        built.load_state_dict(state)


@pytest.mark.parametrize("how", ["class", "convert"])
def test_copies_pickles_and_precisions(how):
    spec, x = "bn(learnable=true)+sh(1,1,2,4)", images()
    if how == "class":
        model = tiny(attn_layer=attention_class(spec, layout=SquareImage(1))).eval()
    else:
        model = tiny().eval()
        convert(model, spec, verbose=False)
    with torch.no_grad():
        model.blocks[0].attn.problem.transform.head_beta.fill_(0.5)
    expected = model(x)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(x), expected)
        assert type(again.blocks[0].attn) is type(model.blocks[0].attn)
        assert set(again.state_dict()) == set(model.state_dict())
    double = copy.deepcopy(model).to(torch.float64)
    assert double.blocks[0].attn.problem.transform.head_beta.dtype == torch.float64
    torch.testing.assert_close(double(x.double()).float(), expected, atol=1e-5, rtol=1e-4)


def test_conversion_keeps_objects_and_mode_and_reverts_bit_for_bit():
    model, x = tiny().eval(), images()
    calls = []
    model.blocks[0].attn.register_forward_hook(lambda *_: calls.append(1))
    before, kept = model(x), list(map(id, [*model.modules(), *model.parameters()]))
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    convert(model, "bn(running=true)+sh(1,1,2,4)", verbose=False)
    assert all(not module.training for module in model.modules())
    assert set(kept) <= set(map(id, [*model.modules(), *model.parameters()]))
    assert type(model.blocks[0].attn) is PrimalDualAttention
    assert not torch.allclose(model(x), before)
    assert revert(model) == ["blocks.0.attn", "blocks.1.attn"]
    assert list(map(id, [*model.modules(), *model.parameters()])) == kept
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert type(model.blocks[0].attn) is Attention
    assert torch.equal(model(x), before)
    assert len(calls) == 3


def test_dry_run_changes_nothing():
    model = tiny()
    report = convert(model, "bn(learnable=true)+sh(1,1,2,4)", dry_run=True, sample=images(), verbose=False)
    assert [(layer.kind, layer.heads, layer.added) for layer in report.layers] == [("Attention", 4, 4)] * 2
    assert report.change > 0
    assert all(type(site.module) is Attention and not hasattr(site.module, "problem") for site in find(model))
    assert not any(module._forward_hooks for module in model.modules())


def test_some_layers_and_some_heads():
    model, x = tiny().eval(), images()
    before = model(x)
    report = convert(model, "sh(2,4)", layers="blocks.1.*", heads=[1, 3], verbose=False)
    assert [layer.path for layer in report.layers] == ["blocks.1.attn"]
    layer = model.blocks[1].attn
    inputs = tokens(2, 17, 48)
    expected = written_out(layer, inputs, (1, 2, 1, 4), (4, 4), 1)
    torch.testing.assert_close(layer(inputs), expected, atol=1e-5, rtol=1e-4)
    revert(model)
    assert torch.equal(model(x), before)


def test_layers_built_by_the_class_can_be_given_another_attention():
    model = tiny(attn_layer=attention_class("sh(1,1,2,4)", layout=SquareImage(1))).eval()
    plain = tiny().eval()
    convert(model, "softmax", verbose=False)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(images()), plain(images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "kind"),
    [
        ("eva02_tiny_patch14_224", {"img_size": 28, "depth": 1}, "EvaAttention"),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "embed_dim": 24}, "WindowAttention"),
        ("beit_base_patch16_224", {"depth": 1, "embed_dim": 48}, "Attention"),
    ],
)
def test_classes_of_their_own_are_named_and_left_alone(name, changes, kind):
    model = timm.create_model(name, pretrained=False, num_classes=2, **changes)
    assert find(model) == []
    assert {found for _, found in other_attention(model, find_sites(model))} == {kind}
    with pytest.raises(UnsupportedError, match=rf"attn\W.*\b{kind}\b"):
        convert(model, "bn", verbose=False)


def test_pooling_heads_are_named_beside_the_converted():
    model = tiny("vit_base_patch16_siglip_224").eval()
    report = convert(model, "bn", verbose=False)
    assert len(report.layers) == 2
    assert report.others == (("attn_pool", "AttentionPoolLatent"),)


@pytest.mark.parametrize("name", ["vit_small_patch16_18x2_224", "vit_base_patch16_rpn_224"])
def test_parallel_and_post_norm_blocks(name):
    model = tiny(name, class_token=True).eval()
    before = model(images())
    report = convert(model, "softmax", verbose=False)
    assert len(report.layers) == (4 if "18x2" in name else 2)
    torch.testing.assert_close(model(images()), before, atol=1e-5, rtol=1e-5)


# --- training and compilers


def gradients(model, x):
    model.zero_grad()
    model(x).square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("spec", ["bn(learnable=true)+sh(1,1,2,4)", "sh(1,2,2,4)"])
def test_gradient_checkpointing_gives_the_same_gradients(spec):
    model, x = tiny().train(), images()
    convert(model, spec, verbose=False)
    expected = gradients(model, x)
    model.set_grad_checkpointing()
    found = gradients(model, x)
    assert all(gradient.abs().sum() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


@pytest.fixture(params=[False, True], ids=["", "reentrant"])
def checkpointing(request):
    """How timm recomputes what it did not keep."""
    before = use_reentrant_ckpt()
    set_reentrant_ckpt(request.param)
    yield
    set_reentrant_ckpt(before)


@pytest.mark.usefixtures("checkpointing")
@pytest.mark.parametrize("sizes", [((16, 32), (48, 32)), ((16, 64), (32, 32))], ids=["", "as many patches"])
@pytest.mark.parametrize("heads", [None, [1, 3]])
def test_recomputation_finds_the_grid_of_its_own_image(sizes, heads):
    model = tiny(dynamic_img_size=True).train()
    convert(model, "sh(2,3)" if heads else "sh(1,2,2,4)", heads=heads, verbose=False)
    wide, high = (images(1, *size).requires_grad_() for size in sizes)

    def both():
        model.zero_grad()
        (model(wide).square().sum() + model(high).square().sum()).backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = both()
    model.set_grad_checkpointing()
    torch.testing.assert_close(both(), expected)
    copied = copy.deepcopy(model)
    model.zero_grad()
    outputs = model(wide).square().sum() + model(high).square().sum()
    copied(wide)
    with ThreadPoolExecutor(1) as pool:  # as autograd's own threads run what is on a GPU
        pool.submit(outputs.backward).result()
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], expected)
    assert len(model.blocks[0].attn.positions.seen.tokens) < 100


@pytest.mark.parametrize("how", ["class", "convert"])
def test_images_of_several_sizes_in_threads(how):
    """Two grids of as many patches, for which the number of tokens decides nothing."""
    if how == "class":
        model = tiny(attn_layer=attention_class("sh(1,2,2,4)", layout=SquareImage(1)), dynamic_img_size=True)
        sizes = (32, 32), (16, 16)
    else:
        model = tiny(dynamic_img_size=True)
        convert(model, "sh(1,2,2,4)", verbose=False)
        sizes = (32, 32), (16, 64)
    given = [images(1, *size) for size in sizes]
    model.eval()

    @torch.no_grad()
    def run(x):
        wanted = model(x)
        return [torch.equal(model(x), wanted) for _ in range(50)]

    with torch.no_grad():
        alone = [model(x) for x in given]
    with ThreadPoolExecutor(2) as pool:
        assert all(map(all, pool.map(run, given)))
    with torch.no_grad():
        torch.testing.assert_close([model(x) for x in given], alone)


def test_maps_are_of_the_image_that_is_seen():
    model = tiny(dynamic_img_size=True).eval()
    convert(model, "sh(2,2,2,2)", verbose=False)
    with torch.no_grad(), capture_attention(model, 0) as maps:
        model(images(1, 16, 64))
        model(images(1, 32, 32))
    for one, grid in zip(maps, ((2, 8), (4, 4)), strict=True):
        weights = one.weights[0, 0, 0, 1:].view(grid)
        for patch in weights.unfold(0, 2, 2).unfold(1, 2, 2).reshape(-1, 4):
            torch.testing.assert_close(patch, patch[:1].expand(4))


@pytest.mark.parametrize("how", ["class", pytest.param("convert", marks=pytest.mark.long)])
def test_compiled_in_one_graph(how):
    spec, x = "bn(learnable=true)+sh(1,1,2,2)", images()
    if how == "class":
        model = tiny(attn_layer=attention_class(spec, layout=SquareImage(1)), depth=1)
    else:
        model = tiny(depth=1)
        convert(model, spec, verbose=False)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = compiled(x)
    torch.testing.assert_close(found, model(x), atol=1e-5, rtol=1e-4)
    found.sum().backward()


@pytest.mark.long
def test_compiled_for_images_of_any_size():
    model = tiny(dynamic_img_size=True, depth=1).eval()
    convert(model, "sh(1,1,2,2)", verbose=False)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for height, width in ((32, 32), (16, 64), (24, 40)):
        x = images(1, height, width)
        torch.testing.assert_close(compiled(x), model(x), atol=1e-5, rtol=1e-4)


# --- pruning


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}], ids=str)
@pytest.mark.parametrize("spec", [None, "bn(learnable=true)+sh(1,2,3,4)", "softmax"])
def test_pruned_layer_is_the_layer_without_what_those_heads_give(spec, options):
    model, x, keep = tiny(**options).eval(), images(), [1, 3]
    if spec is not None:
        convert(model, spec, verbose=False)
    silent = copy.deepcopy(model)
    with torch.no_grad():
        for block in silent.blocks:
            block.attn.proj.weight.unflatten(1, (4, 12))[:, [0, 2]] = 0
    for site in find(model):
        site.prune(keep)
        assert (site.heads, site.kv_heads) == (2, 2)
        assert (site.module.qkv.weight.shape, site.module.proj.weight.shape) == ((72, 48), (48, 24))
    torch.testing.assert_close(model(x), silent(x), atol=1e-5, rtol=1e-4)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(x), model(x))
    if spec == "softmax":
        pruned = model(x)
        revert(model)
        torch.testing.assert_close(model(x), pruned, atol=1e-5, rtol=1e-5)


def test_pruning_takes_gates_and_refuses_norms_over_all_heads():
    class Around(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.attn = Attention(24, 4, norm_layer=nn.LayerNorm, **options)

    model, x = Around(qkv_bias=True, **GATED), tokens(1, 5, 24)
    silent = copy.deepcopy(model)
    with torch.no_grad():
        silent.attn.proj.weight.unflatten(1, (4, 6))[:, [0, 1]] = 0
    find(model)[0].prune([2, 3])
    assert not GATED or model.attn.gate.weight.shape == (12, 24)
    torch.testing.assert_close(model.attn(x), silent.attn(x))
    model = Around(scale_norm=True)
    with pytest.raises(UnsupportedError, match="attn has a LayerNorm over all heads"):
        find(model)[0].prune([2, 3])
    assert model.attn.num_heads == 4
