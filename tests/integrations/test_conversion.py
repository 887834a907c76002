"""Choosing layers and heads, reports and what a sample changes, and models that stay as they were after an error."""

import copy
from collections import OrderedDict

import pytest
import torch
from tests.integrations import torch_models as models
from torch import nn
from torch.testing import assert_close

from primaldual import MultiheadAttention, PrimalProblem, convert, preset, revert
from primaldual.errors import ArgumentError, ShapeError, SpecError, UnsupportedError
from primaldual.integrations.finding import find_sites
from primaldual.integrations.torch_layers import TorchSite
from primaldual.primal.head_groups import HeadGroups

ALL = ["layers.0.self_attn", "layers.1.self_attn", "layers.2.self_attn"]


def scene(model):
    """Everything that must not change: objects, their numbers, hooks and modes."""
    state = [
        (name, id(tensor), tensor.detach().clone())
        for name, tensor in model.state_dict(keep_vars=True).items()
    ]
    modules = [
        (path, id(module), type(module), module.training, len(module._forward_hooks))
        for path, module in model.named_modules()
    ]
    return state, modules, [id(parameter) for parameter in model.parameters()], torch.get_rng_state()


def assert_same(found, wanted):
    for (name, tensor, numbers), (former_name, former_tensor, former) in zip(
        found[0], wanted[0], strict=True
    ):
        assert (name, tensor) == (former_name, former_tensor)
        assert torch.equal(numbers, former)
    assert found[1:3] == wanted[1:3]
    assert torch.equal(found[3], wanted[3])


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        (None, [0, 1, 2]),
        (1, [1]),
        (-1, [2]),
        ([2, 0], [0, 2]),
        (range(2), [0, 1]),
        ("layers.1.self_attn", [1]),
        ("layers.[02].*", [0, 2]),
        (["layers.1.*", -1, 2], [1, 2]),
        (lambda site: site.path.startswith("layers.2") and site.heads == 4, [2]),
    ],
)
def test_layers_are_chosen(layers, chosen):
    model = models.encoder(layers=3)
    report = convert(model, "bn", layers, verbose=False)
    assert [layer.path for layer in report.layers] == [ALL[place] for place in chosen]
    found = [isinstance(layer.self_attn, MultiheadAttention) for layer in model.layers]
    assert [place for place in range(3) if found[place]] == chosen
    assert revert(model, layers) == [ALL[place] for place in chosen]
    assert find_sites(model)[chosen[0]].problem is None


def with_forward_of_its_own():
    model = models.encoder(layers=3)
    model.layers[2].self_attn.forward = model.layers[2].self_attn.forward
    return model


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"layers": 3},
            ArgumentError,
            r"layers has 3; the model has 3 attention layers: 0 layers\.0\.self_attn, 1",
        ),
        ({"layers": -4}, ArgumentError, "layers has -4"),
        ({"layers": [0, "layer.*"]}, ArgumentError, r"layers has 'layer\.\*'"),
        ({"layers": [True]}, ArgumentError, "layers must be numbers, names or patterns; got True"),
        ({"layers": []}, ArgumentError, "layers chose none; the model has 3 attention layers"),
        ({"layers": lambda site: site.heads == 8}, ArgumentError, "layers chose none"),
        (
            {"heads": [0, 4]},
            ArgumentError,
            r"self_attn: heads must be a list of some of the heads 0 to 3; got \[0, 4\]",
        ),
        ({"heads": [-1]}, ArgumentError, r"heads must be a list of some of the heads 0 to 3; got \[-1\]"),
        ({"heads": []}, ArgumentError, r"heads must be a list of some of the heads 0 to 3; got \[\]"),
        ({"heads": 2}, ArgumentError, "heads must be a list of some of the heads 0 to 3; got 2"),
        ({"heads": ["0"]}, ArgumentError, r"got \['0'\]"),
        (
            {"attention": "sh(1,2)"},
            ArgumentError,
            r"layers\.0\.self_attn: .*one for each of the 4 heads; got 2",
        ),
        ({"attention": "sh(1,2,4)", "heads": [1, 2]}, ArgumentError, "each of the 2 heads; got 3"),
        ({"attention": "softmaxx"}, SpecError, "unknown part 'softmaxx'"),
        ({"attention": None}, SpecError, "attention must be a spec string or a PrimalProblem; got NoneType"),
        ({"sample": torch.randn(2, 5, 8)}, ShapeError, r"length, 16\); got shape \(2, 5, 8\)"),
    ],
)
def test_bad_arguments_change_nothing(options, error, message):
    model = models.encoder(layers=3)
    for converted_before in (False, True):
        if converted_before:
            convert(model, "bn(learnable=true)", verbose=False)
        before = scene(model)
        # torch's own layer says something else of a sample that does not fit.
        if "sample" in options and not converted_before:
            continue
        with pytest.raises(error, match=message):
            convert(model, **{"attention": "bn", "verbose": False} | options)
        assert_same(scene(model), before)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(3, 3), "Linear has no attention layer at all"),
        (lambda: nn.Sequential(OrderedDict(mine=OwnAttention())), r"Sequential has mine \(OwnAttention\)"),
        (
            lambda: nn.ModuleList(
                [nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2, add_zero_attn=True)]
            ),
            r"1 has extra keys \(add_bias_kv or add_zero_attn\), .*; leave it out with layers=",
        ),
        (
            lambda: nn.ModuleList([nn.MultiheadAttention(4, 2, add_bias_kv=True) for _ in range(3)]),
            r"0 has extra keys .* \(and 2 more layers cannot be converted\)",
        ),
        (lambda: torch.compile(models.encoder()), "before it is wrapped; it is of type OptimizedModule"),
        (
            lambda: compiled_in_place(models.encoder()),
            "before it is compiled; it is a compiled TransformerEncoder",
        ),
        (lambda: nn.Sequential(torch.compile(models.encoder())), "wrapped; 0 is of type OptimizedModule"),
        (lambda: torch.jit.script(nn.Linear(3, 3)), "compiled RecursiveScriptModule"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_models_that_cannot_be_converted(build, message):
    model = build()
    with pytest.raises(UnsupportedError, match=message):
        convert(model, "bn", verbose=False)


class OwnAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, inputs):
        return self.inner(inputs)


def compiled_in_place(model):
    model.compile()
    return model


def test_something_that_is_no_model():
    with pytest.raises(ArgumentError, match=r"model must be a torch\.nn\.Module; got str"):
        convert("bert-base-uncased", "bn")


def test_others_are_named_and_left_alone():
    model = nn.Sequential(models.encoder_layer(), OwnAttention())
    report = convert(model, "bn", verbose=False)
    assert report.others == (("1", "OwnAttention"),)
    assert "left alone: 1 (OwnAttention)" in str(report)


@pytest.mark.parametrize("before", [None, "bn(learnable=true)"])
def test_an_error_midway_undoes_everything(monkeypatch, before):
    model = models.encoder(layers=4)
    model.layers[0].self_attn.register_forward_hook(lambda *_: None)
    if before is not None:
        convert(model, before, verbose=False)
    outputs, former = model(models.sequences()), scene(model)
    place, calls = TorchSite.convert, []

    def convert_two(site, problem):
        calls.append(site.path)
        if len(calls) == 3:
            site.module.num_heads = 99
            raise RuntimeError("no room")
        place(site, problem)

    monkeypatch.setattr(TorchSite, "convert", convert_two)
    with pytest.raises(RuntimeError, match="no room"):
        convert(model, "sh(1,1,2,2)", verbose=False)
    assert_same(scene(model), former)
    assert torch.equal(model(models.sequences()), outputs)


def test_an_error_midway_undoes_revert(monkeypatch):
    model = models.encoder(layers=3)
    convert(model, "bn", verbose=False)
    former, back, calls = scene(model), TorchSite.revert, []

    def revert_two(site):
        calls.append(site.path)
        if len(calls) == 3:
            raise RuntimeError("no room")
        back(site)

    monkeypatch.setattr(TorchSite, "revert", revert_two)
    with pytest.raises(RuntimeError, match="no room"):
        revert(model)
    assert_same(scene(model), former)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("before", [None, "bn(learnable=true)", "bn(running=true)"])
def test_a_dry_run_with_a_sample_leaves_no_trace(before, training):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(models.WIDTH, dtype=torch.float64)
            self.encoder = models.encoder(layers=3, dropout=0.3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, inputs):
            self.calls += 1  # also in evaluation
            self.last = inputs
            return self.encoder(self.norm(inputs.transpose(1, 2)).transpose(1, 2)) + torch.rand(1)

    model = Model().train(training)
    model.encoder.layers[0].eval()
    model.encoder.layers[0].self_attn.register_forward_hook(lambda *_: None)
    if before is not None:
        convert(model, before, verbose=False)
    former = scene(model)
    report = convert(model, "bn+sh(1,1,2,2)", sample=models.sequences(), dry_run=True, verbose=False)
    assert_same(scene(model), former)
    assert not hasattr(model, "last")
    assert report.dry_run
    assert all(layer.change > 0.01 for layer in report.layers)
    assert report.change > 0.01


def test_changes_are_those_of_evaluation():
    """With dropout, the change of softmax for softmax is rounding, and what is measured is what happens."""
    model = models.encoder(layers=2, dropout=0.5).train()
    inputs = models.sequences()
    report = convert(model, "softmax", sample=inputs, verbose=False)
    assert 0 <= report.change < 1e-12
    assert all(layer.change < 1e-12 for layer in report.layers)
    model = models.encoder(layers=2)
    heads, before = heads_of(model.layers[0].self_attn, inputs), model(inputs)
    report = convert(model, "bn", sample=inputs, verbose=False)
    assert report.change == pytest.approx(relative(model(inputs), before), rel=1e-9)
    wanted = relative(preset("bn").dense(*heads), preset("softmax").dense(*heads))
    assert report.layers[0].change == pytest.approx(wanted, rel=1e-9)


def heads_of(layer, inputs):
    """Queries, keys and values of an nn.MultiheadAttention."""
    packed = nn.functional.linear(inputs, layer.in_proj_weight, layer.in_proj_bias).detach()
    return [each.unflatten(-1, (4, 4)).transpose(1, 2) for each in packed.chunk(3, -1)]


def relative(new, old):
    return float(((new - old).norm() / old.norm()).detach())


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict"])
def test_samples_and_outputs_of_every_form(form):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = models.attention()

        def forward(self, inputs, other=None):
            mixed = self.attention(inputs, inputs if other is None else other, inputs)[0]
            return {"tensor": mixed, "tuple": (mixed, 3), "dict": {"loss": None, "out": mixed}}[form]

    inputs = models.sequences()
    samples = {"tensor": inputs, "tuple": (inputs, inputs), "dict": {"other": inputs, "inputs": inputs}}
    report = convert(Model(), "bn", sample=samples[form], dry_run=True, verbose=False)
    assert report.change > 0.01


def test_a_shared_layer_is_measured_over_its_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = models.attention()

        def forward(self, first, second):
            return sum(self.attention(each, each, each)[0].sum() for each in (first, second))

    model, first, second = Twice(), models.sequences(5), models.sequences(9)
    heads = [heads_of(model.attention, each) for each in (first, second)]
    old, new = (
        torch.cat([preset(spec).dense(*each).flatten() for each in heads]) for spec in ("softmax", "bn")
    )
    report = convert(model, "bn", sample=(first, second), verbose=False)
    assert report.layers[0].change == pytest.approx(relative(new, old), rel=1e-9)


def test_a_model_without_a_tensor_to_compare():
    class Silent(nn.Sequential):
        def forward(self, inputs):
            self[0](inputs, inputs, inputs)

    model = Silent(models.attention())
    former = scene(model)
    with pytest.raises(UnsupportedError, match="model must return a tensor first; got NoneType"):
        convert(model, "bn", sample=models.sequences(), verbose=False)
    assert_same(scene(model), former)


def test_some_heads_change_and_the_others_do_not():
    model = models.attention()
    heads = heads_of(model, models.sequences())
    softmax, normal, wide = (preset(spec).dense(*heads) for spec in ("softmax", "bn", "sh(3,3,3,3)"))

    def mixed():
        return model.problem.attend(*heads)

    report = convert(model, "bn", heads=[3, 1, 1], verbose=False)
    assert report.layers[0].attention == "bn in heads [1, 3], softmax in heads [0, 2]"
    assert_close(mixed(), torch.stack([softmax[:, 0], normal[:, 1], softmax[:, 2], normal[:, 3]], 1))
    convert(model, "sh(3,3)", heads=(0, 1), verbose=False)
    assert_close(mixed(), torch.stack([wide[:, 0], wide[:, 1], softmax[:, 2], normal[:, 3]], 1))
    convert(model, "softmax", heads=range(4), verbose=False)
    assert isinstance(model.problem, PrimalProblem)
    assert_close(mixed(), softmax)
    assert revert(model) == [""]
    assert type(model) is nn.MultiheadAttention


def test_other_heads_keep_what_they_have_learned():
    model = models.attention()
    convert(model, "bn(learnable=true)+sh(1,2,3,4)", verbose=False)
    with torch.no_grad():
        model.problem.transform.head_beta.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    heads = torch.randn(3, 2, 4, 9, 4, dtype=torch.float64).unbind(0)
    before = model.problem.attend(*heads)
    convert(model, "linear", heads=[1], verbose=False)
    assert isinstance(model.problem, HeadGroups)
    after = model.problem.attend(*heads)
    assert_close(after[:, [0, 2, 3]], before[:, [0, 2, 3]])
    assert_close(after[:, 1:2], preset("linear").dense(*(each[:, 1:2] for each in heads)))


def test_a_problem_is_copied_for_every_layer():
    problem = preset("bn(learnable=true)")
    model = models.encoder(layers=2)
    report = convert(model, problem, verbose=False)
    first, second = (layer.self_attn.problem for layer in model.layers)
    assert first is not problem is not second is not first
    assert problem.transform.head_beta is None
    assert [layer.added for layer in report.layers] == [4, 4]


def test_the_report_reads_well(capsys):
    model = nn.ModuleDict(
        {"short": models.attention(), "rather_long": nn.MultiheadAttention(16, 1), "mine": OwnAttention()}
    )
    printed = convert(model, "bn(learnable=true)", dry_run=True)
    assert capsys.readouterr().out == f"{printed}\n"
    assert str(printed).splitlines() == [
        "would convert 2 attention layers",
        "  short        MultiheadAttention, 4 heads  -> bn(learnable=true)  +4 parameters",
        "  rather_long  MultiheadAttention, 1 head   -> bn(learnable=true)  +1 parameter",
        "  left alone: mine (OwnAttention)",
    ]
    alone = convert(models.encoder_layer(), "bn", sample=models.sequences())
    assert capsys.readouterr().out == f"{alone}\n"
    first, second, last = str(alone).splitlines()
    assert first == "converted 1 attention layer"
    assert second.startswith("  self_attn  MultiheadAttention, 4 heads  -> bn  heads change by ")
    assert last.startswith("  the model's output changes by ")
    assert str(convert(models.attention(), "softmax", verbose=False)).splitlines()[1] == (
        "  (itself)  MultiheadAttention, 4 heads  -> softmax"
    )
    assert capsys.readouterr().out == ""


def test_mode_device_and_type_of_a_new_problem():
    model = models.encoder(layers=2).eval().bfloat16()
    model.layers[1].train()
    convert(model, "bn(running=true,learnable=true)", verbose=False)
    for _ in range(2):
        first, second = (layer.self_attn.problem for layer in model.layers)
        assert (first.training, second.training) == (False, True)
        assert first.transform.head_beta.dtype == torch.bfloat16
        convert(model, "bn(learnable=true)+conv(3)", verbose=False)
        first = model.layers[0].self_attn.problem.transform.steps()[0]
        convert(model, "bn(learnable=true)", verbose=False)
    on_meta = models.encoder(layers=1).to("meta")
    convert(on_meta, "bn(learnable=true)", verbose=False)
    assert all(parameter.is_meta for parameter in on_meta.parameters())


def test_a_converted_model_is_copied_pickled_and_loaded(tmp_path):
    def build():
        model = models.encoder(layers=2)
        convert(model, "bn(learnable=true)", layers=0, verbose=False)
        convert(model, "conv(3)", layers=1, heads=[0, 2], verbose=False)
        return model

    model, inputs = build(), models.sequences()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    wanted = model(inputs)
    torch.save(model, tmp_path / "model")
    torch.save(model.state_dict(), tmp_path / "state")
    fresh = build()
    assert not torch.allclose(fresh(inputs), wanted)
    fresh.load_state_dict(torch.load(tmp_path / "state"))
    for other in (copy.deepcopy(model), torch.load(tmp_path / "model", weights_only=False), fresh):
        assert_close(other(inputs), wanted, rtol=0, atol=0)
    plain = models.encoder(layers=2).state_dict()
    straight = models.encoder(layers=2)
    convert(straight, "bn", verbose=False)
    straight.load_state_dict(plain)
    assert_close(fresh.load_state_dict(plain, strict=False).unexpected_keys, [])
    revert(fresh)
    assert_close(fresh.state_dict(), plain, rtol=0, atol=0)
