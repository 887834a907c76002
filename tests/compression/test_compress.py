from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual.compression.anchors import mean_queries
from primaldual.compression.compress import compress
from primaldual.compression.readout import default_readout, similarity
from primaldual.compression.sensitivity import Blocks, measure_sensitivity
from primaldual.compression.uptraining import uptrain
from primaldual.errors import ArgumentError, ShapeError, SpecError, UnsupportedError
from primaldual.integrations.attention_hooks import attending, evaluating
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites
from primaldual.integrations.fitted_problem import fit
from primaldual.primal.presets import preset


class Model(nn.Module):
    """Two encoder layers that take a mask as transformers' models do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        with torch.no_grad():
            for part in self.encoder.layers:
                part.self_attn.in_proj_weight.mul_(3)

    def forward(self, inputs, attention_mask=None):
        padding = None if attention_mask is None else ~attention_mask
        return self.encoder(inputs, src_key_padding_mask=padding)


@pytest.fixture
def model():
    return Model().eval()


@pytest.fixture
def data():
    torch.manual_seed(1)
    mask = torch.ones(3, 16, dtype=torch.bool)
    mask[1, 11:] = False
    return [{"inputs": torch.randn(3, 16, 16), "attention_mask": mask}, {"inputs": torch.randn(2, 16, 16)}]


def test_work_is_within_the_budget_and_scales_are_in_place(model, data):
    original = deepcopy(model)
    found = compress(model, data, 0.5, budgets=(0.8, 0.4))
    assert found.work <= 0.5
    for path, scales in found.scales.items():
        assert model.get_submodule(path).problem.subset.scales == scales
    assert [point.work <= point.budget for point in found.curve] == [True, True]
    assert found.curve[0].similarity >= found.curve[1].similarity
    outputs = [[default_readout(one(**batch), batch) for batch in data] for one in (original, model)]
    assert found.similarity == pytest.approx(similarity(*outputs), abs=1e-6)
    assert found.similarity < 1
    assert not model.training


def test_the_whole_budget_changes_nothing(model, data):
    original = deepcopy(model)
    found = compress(model, data, 1.0, budgets=())
    assert found.work <= 1.0
    assert_close(model(**data[0])[0], original(**data[0])[0], atol=1e-5, rtol=1e-5)


def test_losses_are_those_of_converting_one_head(model, data):
    with evaluating(model), attending(model) as sites:
        found = measure_sensitivity(
            model,
            sites,
            lambda site, scale: fit(preset("sh(" + ",".join([str(scale)] * 4) + ")"), site, 4),
            (1, 2, 4),
            data,
            default_readout,
        )
    row = found.heads.index((1, 2))
    with torch.no_grad():
        before = [default_readout(model(**batch), batch) for batch in data]
        convert(model, "sh(4)", layers=1, heads=[2], verbose=False)
        after = [default_readout(model(**batch), batch) for batch in data]
    change = (
        sum(float((new - old).double().square().sum()) for new, old in zip(after, before, strict=True)) / 5
    )
    assert float(found.losses[row, 2]) == pytest.approx(change, rel=1e-4)
    assert float(found.losses[:, 0].abs().max()) == 0


def test_works_count_attendable_tokens(model, data):
    with evaluating(model), attending(model) as sites:
        found = measure_sensitivity(
            model,
            sites,
            lambda site, scale: fit(preset("sh(4,4,4,4)"), site, 4),
            (1, 4),
            data,
            default_readout,
        )
    assert found.works[0].tolist() == [4 * 16 * 16 + 11 * 11, 4 * 16 * 4 + 11 * 3]


def test_blocks_before_the_changed_layer_do_not_run_again(model, data):
    runs = []
    for place, layer in enumerate(model.encoder.layers):
        layer.linear1.register_forward_hook(lambda *_, place=place: runs.append(place))
    with evaluating(model), attending(model) as sites:
        blocks = Blocks(model, sites)
        with blocks.remembering():
            whole = model(**data[1])
        with blocks.skipping(1):
            again = model(**data[1])
        assert_close(again, whole)
    assert runs == [0, 1, 1]
    assert all("forward" not in vars(layer) for layer in model.encoder.layers)


def test_anchors_are_mean_queries_of_real_tokens(model, data):
    layer = model.encoder.layers[0].self_attn
    weight, bias = layer.in_proj_weight[:16], layer.in_proj_bias[:16]
    tokens = torch.cat([data[0]["inputs"][data[0]["attention_mask"]], data[1]["inputs"].flatten(0, 1)])
    wanted = (tokens @ weight.T + bias).mean(0).view(4, 4)
    with evaluating(model), attending(model) as sites:
        found = mean_queries(model, sites, data)
    assert_close(found["encoder.layers.0.self_attn"].float(), wanted, atol=1e-5, rtol=1e-4)
    compress(model, data, 0.5, budgets=())
    anchor = model.encoder.layers[0].self_attn.problem.subset.anchor
    assert_close(anchor.detach(), wanted / 2, atol=1e-5, rtol=1e-4)


def test_anchored_heads_change_less_than_plain_ones(model, data):
    with torch.no_grad():  # queries far from 0, some keys that all of them attend
        for part in model.encoder.layers:
            part.self_attn.in_proj_bias[:16].normal_(std=3)
    losses = {}
    for spec in ("sh(...)", "anchored(...,kept=0.5)"):
        losses[spec] = 1 - compress(deepcopy(model), data, 0.4, attention=spec, budgets=()).similarity
    assert losses["anchored(...,kept=0.5)"] < 0.7 * losses["sh(...)"]


def test_uptraining_comes_closer_and_leaves_the_original(model, data):
    original = deepcopy(model)
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    compress(model, data, 0.35, attention="sh(...)", budgets=())
    losses = uptrain(model, original, data, steps=40, learning_rate=2e-3)
    assert len(losses) == 40
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_report_and_figure(model, data, tmp_path):
    found = compress(model, data, 0.6, budgets=(0.9, 0.5), metric=lambda _: 0.25, validation_data=data[:1])
    text = str(found)
    assert "budget 0.6" in text
    assert "unseen data" in text
    assert "0.2500" in text
    drawn = found.save_figure(tmp_path / "pareto.svg").read_text()
    assert "attention work" in drawn
    with pytest.raises(ArgumentError, match="budgets="):
        compress(model, data, 0.6, budgets=()).save_figure(tmp_path / "none.svg")


def test_bad_input_is_refused_and_changes_nothing(model, data):
    before = model.state_dict()
    other = compress(deepcopy(model), data, 0.6, layers=0, budgets=()).sensitivity
    for wrong, error, words in (
        ({"budget": 0.0}, ArgumentError, "budget"),
        ({"budget": 0.01}, ArgumentError, "cheapest"),
        ({"scales": (2, 4)}, ArgumentError, "scales"),
        ({"attention": "sh(1,2)"}, SpecError, r"three dots .*\.\.\."),
        ({"layers": 9}, ArgumentError, "layers"),
        ({"sensitivity": other}, ArgumentError, "8 heads and of scales"),
    ):
        with pytest.raises(error, match=words):
            compress(model, data, **{"budgets": (), **wrong})
    with pytest.raises(UnsupportedError, match="Linear"):
        compress(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ShapeError, match="readout="):
        default_readout(torch.zeros(1, 2, 3, 4), None)
    with pytest.raises(ArgumentError, match="steps"):
        uptrain(model, model, data, steps=0)
    assert all(site.problem is None for site in find_sites(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_plain_means_are_pooled_before_their_projection(model, data):
    anchored = compress(deepcopy(model), data, 0.5, budgets=())
    assert anchored.projections == 1.0
    plain = compress(model, data, 0.5, attention="sh(...)", budgets=())
    shares = [1 / scale for scales in plain.scales.values() for scale in scales]
    assert plain.projections == pytest.approx(sum(shares) / len(shares))


def test_another_budget_without_measuring_again(model, data):
    first = compress(deepcopy(model), data, 0.6, budgets=())
    runs = []
    again = compress(
        deepcopy(model), data, 0.4, sensitivity=first.sensitivity, progress=lambda *told: runs.append(told[0])
    )
    assert "sensitivity of heads" not in runs
    assert again.scales == compress(model, data, 0.4, budgets=()).scales


def test_a_compressed_model_reverts(model, data):
    original = deepcopy(model)
    compress(model, data, 0.5, budgets=())
    revert(model)
    assert torch.equal(model(**data[1]), original(**data[1]))
