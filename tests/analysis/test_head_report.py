from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from primaldual.analysis import HeadReport, LayerMaps, capture_attention, head_report
from primaldual.analysis.head_sums import entropy
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.models import TimeSeriesTransformer
from primaldual.nn.multihead import MultiheadAttention

DIM, HEADS = 16, 4


def encoder(layers=2, seed=0):
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(DIM, HEADS, 32, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


def maps(weights, valid=None):
    keys = weights.shape[-1]
    valid = torch.ones(len(weights), keys, dtype=torch.bool) if valid is None else valid
    return LayerMaps("layer", weights, valid)


def without(model, path, head):
    """A copy whose output projection takes nothing of one head."""
    copy = deepcopy(model)
    size = DIM // HEADS
    with torch.no_grad():
        copy.get_submodule(path).out_proj.weight[:, head * size : (head + 1) * size] = 0
    return copy


def change(new, old):
    return float((new - old).double().norm() / old.double().norm())


class TestEntropy:
    def test_uniform_is_one_and_one_key_is_zero(self):
        both = torch.stack([torch.full((5, 5), 0.2), torch.eye(5)])[None]
        assert_close(entropy(maps(both)), torch.tensor([[1.0, 0.0]], dtype=torch.float64))

    def test_by_hand(self):
        weights = torch.tensor([[[[0.25, 0.75], [0.5, 0.5]]]], dtype=torch.float64)
        first = -(weights[0, 0, 0] * weights[0, 0, 0].log()).sum() / torch.tensor(2.0).log()
        assert_close(entropy(maps(weights)), ((first + 1) / 2).reshape(1, 1), check_dtype=False)

    def test_padding_is_left_out(self):
        weights = torch.zeros(1, 1, 4, 4)
        weights[..., :2] = 0.5
        valid = torch.tensor([[True, True, False, False]])
        weights[..., 2:, :] = torch.nan
        assert entropy(maps(weights, valid)).item() == 1

    def test_negative_or_unnormalised_weights_have_none(self):
        negative = torch.tensor([[[[1.5, -0.5], [0.5, 0.5]]]])
        assert entropy(maps(negative)).isnan().all()
        assert entropy(maps(torch.full((1, 1, 2, 2), 0.3))).item() == 1  # a sink has the rest
        assert entropy(maps(torch.full((1, 1, 2, 2), 0.7))).isnan().all()


class TestImportance:
    def test_is_that_of_zeroed_columns_of_the_output_projection(self):
        model, x = encoder(), torch.randn(3, 6, DIM)
        report = head_report(model, x)
        with torch.no_grad():
            old = model(x)
            for layer in report.layers:
                for head in range(HEADS):
                    expected = change(without(model, layer.path, head)(x), old)
                    assert float(layer.importance[head]) == pytest.approx(expected, rel=1e-4)

    def test_of_a_head_that_nothing_reads_is_zero(self):
        model = without(encoder(), "layers.1.self_attn", 2)
        report = head_report(model, torch.randn(2, 5, DIM))
        assert float(report.layers[1].importance[2]) == 0
        assert (report.layers[1].importance[[0, 1, 3]] > 1e-3).all()

    def test_by_loss_is_its_mean_increase(self):
        model = encoder(1)
        batches = [torch.randn(2, 5, DIM), torch.randn(3, 4, DIM)]
        report = head_report(model, batches, loss=lambda outputs, batch: (outputs - batch).square().mean())
        assert report.by_loss
        assert "increase of the loss" in str(report)
        with torch.no_grad():
            changed = without(model, "layers.0.self_attn", 1)
            rises = [(changed(x) - x).square().mean() - (model(x) - x).square().mean() for x in batches]
        assert float(report.layers[0].importance[1]) == pytest.approx(
            float(sum(rises)) / 2, rel=1e-3, abs=1e-7
        )

    def test_can_be_left_out(self):
        seen = []
        report = head_report(
            encoder(), torch.randn(2, 5, DIM), ablate=False, progress=lambda *at: seen.append(at)
        )
        assert all(layer.importance.isnan().all() for layer in report.layers)
        assert seen == [(1, 1)]
        assert "change of the output" not in str(report)


class TestData:
    def test_every_form_gives_the_same(self):
        model, x = encoder(1), torch.randn(6, 5, DIM)
        whole = head_report(model, x)
        loader = DataLoader(list(x), batch_size=2, shuffle=True)
        for data in ((x,), {"src": x}, [x], [x[:4], x[4:]], iter([x[:1], x[1:]]), loader):
            report = head_report(model, data)
            assert report.cases == whole.cases == 6
            for name in ("entropy", "distances", "likeness", "importance"):
                assert_close(
                    getattr(report.layers[0], name), getattr(whole.layers[0], name), rtol=1e-4, atol=1e-5
                )

    @pytest.mark.parametrize("data", [[], iter(()), 3, "text"])
    def test_none_is_refused(self, data):
        with pytest.raises(ArgumentError, match="data must"):
            head_report(encoder(1), data)

    def test_padding_counts_nowhere(self):
        torch.manual_seed(0)
        model = TimeSeriesTransformer(2, 8, 3, embed_dim=DIM, num_heads=HEADS, num_layers=2)
        values = torch.randn(3, 8, 2)
        padding = torch.arange(8).expand(3, -1) >= 5
        long = head_report(model, (values.masked_fill(padding[..., None], torch.nan), padding))
        short = head_report(model, (values[:, :5], torch.zeros(3, 5, dtype=torch.bool)))
        for padded, cut in zip(long.layers, short.layers, strict=True):
            for name in ("entropy", "distances", "likeness", "importance"):
                assert_close(getattr(padded, name), getattr(cut, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_as_it_was(training):
    model = encoder().train(training)
    model.layers[0].self_attn.eval()
    modes = [module.training for module in model.modules()]
    kinds = [type(module) for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, 5, DIM)
    with torch.no_grad():
        old = deepcopy(model).eval()(x)
        head_report(model, x)
    assert [module.training for module in model.modules()] == modes
    assert [type(module) for module in model.modules()] == kinds
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model.eval()(x), old)


@pytest.mark.parametrize("spec", ["bn", "sh(1,1,2,2)", "linear", "taylor(2)", "taylor(1)", "window(2)"])
def test_attentions_of_this_library(spec):
    torch.manual_seed(0)
    model = TimeSeriesTransformer(2, 7, 3, embed_dim=DIM, num_heads=HEADS, num_layers=1, attention=spec)
    layer = head_report(model, 9 * torch.randn(3, 7, 2)).layers[0]
    assert layer.attention == spec
    assert layer.importance.isfinite().all()
    assert (layer.importance > 0).all()
    assert_close(layer.likeness.diagonal(), torch.ones(HEADS, dtype=torch.float64))
    assert_close(layer.distances, layer.distances.T)
    if spec == "taylor(1)":  # a kernel 1 + x.y, which is negative where keys point away
        assert layer.entropy.isnan().all()
    else:
        assert ((layer.entropy > 0) & (layer.entropy <= 1)).all()


def test_self_and_cross_attention_of_a_decoder_under_a_causal_mask():
    torch.manual_seed(0)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(DIM, HEADS, 32, batch_first=True), 1)
    inputs, memory = torch.randn(2, 4, DIM), torch.randn(2, 6, DIM)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    report = head_report(model, {"tgt": inputs, "memory": memory, "tgt_mask": mask, "tgt_is_causal": True})
    assert [layer.path for layer in report.layers] == ["layers.0.self_attn", "layers.0.multihead_attn"]
    assert all(layer.importance.gt(0).all() for layer in report.layers)
    with torch.no_grad(), capture_attention(model.eval()) as found:
        model(inputs, memory, tgt_mask=mask)
    assert found[0].weights.triu(1).abs().max() == 0
    assert found[1].weights.shape == (2, HEADS, 4, 6)


def test_the_table_names_layers_and_numbers():
    report = head_report(encoder(), torch.randn(2, 5, DIM), layers=-1)
    assert isinstance(report, HeadReport)
    text = str(report)
    for words in ("1 attention layers on 2 sequences", "layers.1.self_attn: softmax", "change of the output"):
        assert words in text
    assert f"{float(report.layers[0].entropy[3]):7.3f}" in text


def test_one_head_has_no_redundancy():
    torch.manual_seed(0)
    layer = head_report(MultiheadAttention(8, 1, batch_first=True), (torch.randn(1, 4, 8),) * 3).layers[0]
    assert torch.tensor(layer.redundancy).isnan()


def test_no_attention_is_refused():
    with pytest.raises(UnsupportedError, match="Linear"):
        head_report(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ArgumentError, match="2 attention layers"):
        head_report(encoder(), torch.zeros(1, 2, DIM), layers=2)
