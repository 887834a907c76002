from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual.analysis import HeadReport, LayerHeads, head_report, layer_flops
from primaldual.compression.pruning import prune_heads
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.conversion import convert
from primaldual.integrations.finding import find_sites
from primaldual.nn.multihead import MultiheadAttention


@pytest.fixture
def model():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def silence(model, layer, heads):
    """The same model with the output columns of some heads 0."""
    copy = deepcopy(model)
    with torch.no_grad():
        for head in heads:
            copy.layers[layer].self_attn.out_proj.weight[:, 4 * head : 4 * head + 4] = 0
    return copy


@pytest.mark.parametrize("spec", [None, "bn(learnable=true)+sh(1,2,2,4)", "anchored(1,2,2,4,kept=0.5)"])
def test_outputs_are_those_with_the_heads_silent(model, spec):
    if spec is not None:
        convert(model, spec, verbose=False)
    inputs = torch.randn(2, 9, 16)
    wanted = silence(model, 1, [0, 2])(inputs)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert prune_heads(model, {1: [3, 1]}) == {"layers.1.self_attn": [1, 3]}
    assert_close(model(inputs), wanted, atol=1e-5, rtol=1e-5)
    fewer = count - sum(parameter.numel() for parameter in model.parameters())
    own = {None: 0, "bn(learnable=true)+sh(1,2,2,4)": 2, "anchored(1,2,2,4,kept=0.5)": 8}[spec]
    assert fewer == 2 * (3 * (4 * 16 + 4) + 4 * 16) + own
    pruned = model.layers[1].self_attn
    assert (
        layer_flops(pruned, 9).total
        < layer_flops(MultiheadAttention(16, 4, attention=spec or "softmax"), 9).total
    )


def test_a_share_keeps_the_most_important_and_one_in_every_layer(model):
    data = torch.randn(4, 9, 16)
    report = head_report(model, data)
    importance = torch.cat([layer.importance for layer in report.layers])
    stay = prune_heads(model, 0.25, report)
    kept = [
        head + 4 * place for place in range(2) for head in stay.get(f"layers.{place}.self_attn", range(4))
    ]
    assert int(importance.argmax()) in kept
    assert all(stay[f"layers.{place}.self_attn"] for place in range(2))
    assert 2 <= len(kept) <= 3
    assert model(data).isfinite().all()


def test_a_pruned_model_saves_and_trains(model, tmp_path):
    prune_heads(model, {"layers.*": [0, 2]})
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    inputs = torch.randn(2, 5, 16)
    assert_close(loaded(inputs), model(inputs))
    other = deepcopy(model)
    other.load_state_dict(model.state_dict())
    loaded.train()(inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_bad_input_is_refused_and_changes_nothing(model):
    before = deepcopy(model)
    report = head_report(model, torch.randn(2, 5, 16), ablate=False)
    for keep, given, words in (
        ({0: []}, None, "at least one of the heads 0 to 3"),
        ({0: [4]}, None, "heads 0 to 3"),
        ({7: [0]}, None, "layers has 7"),
        (0.5, None, "report="),
        (1.5, report, "share from 0 to 1"),
        (0.5, report, "importance"),
    ):
        with pytest.raises(ArgumentError, match=words):
            prune_heads(model, keep, given)
    with pytest.raises(UnsupportedError, match="Linear"):
        prune_heads(nn.Linear(2, 2), {0: [0]})
    inputs = torch.randn(1, 3, 16)
    assert torch.equal(model(inputs), before(inputs))


def grouped(kv_heads):
    """Two layers of four query heads, which share the given numbers of key heads."""
    torch.manual_seed(0)
    return nn.ModuleDict(
        {str(count): MultiheadAttention(16, 4, kv_heads=count, batch_first=True) for count in kv_heads}
    )


def reported(model, importance):
    """A report with the given importance of the heads, layer by layer."""
    layers = zip(find_sites(model), torch.tensor(importance).split(4), strict=True)
    none = torch.zeros(4)
    found = [LayerHeads(site.path, "softmax", none, none, none, heads) for site, heads in layers]
    return HeadReport(tuple(found), 1, False)


@pytest.mark.parametrize(
    ("share", "stay"),
    [
        (0.75, {"2": [2, 3]}),  # the group with the two least important heads goes
        (0.5, {"2": [2, 3], "1": [0, 1, 2, 3]}),
        (0.0, {"2": [2, 3], "1": [0, 1, 2, 3]}),
        (1.0, {}),
    ],
)
def test_a_share_keeps_or_cuts_whole_groups_of_heads_that_share_keys(share, stay):
    model = grouped((2, 1))
    report = reported(model, [9.0, 0.0, 5.0, 6.0, 1.0, 8.0, 7.0, 6.0])
    kept = prune_heads(model, share, report)
    assert kept == {path: heads for path, heads in stay.items() if len(heads) < 4}
    inputs = torch.randn(2, 5, 16)
    assert all(layer(inputs, inputs, inputs)[0].isfinite().all() for layer in model.values())


def test_groups_of_transformers_models_are_cut_whole():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(**sizes, intermediate_size=48, vocab_size=50, initializer_range=0.3)
    model, words = transformers.LlamaForCausalLM(config).eval(), torch.randint(3, 50, (3, 9))
    stay = prune_heads(model, 0.75, head_report(model, words))
    assert list(map(len, stay.values())) == [2]
    assert all(heads in ([0, 1], [2, 3]) for heads in stay.values())
    assert model(words).logits.isfinite().all()


def test_a_compiled_model_is_refused(model):
    model.compile()
    with pytest.raises(UnsupportedError, match="pruned before it is compiled"):
        prune_heads(model, {0: [0]})


def test_a_failure_midway_leaves_every_layer(model):
    model.layers[1].self_attn = MultiheadAttention(16, 4, kv_heads=2, batch_first=True)
    before = deepcopy(model)
    with pytest.raises(UnsupportedError, match=r"layers\.1\.self_attn: .*share keys"):
        prune_heads(model, {0: [0], 1: [0]})
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention
    assert model.layers[0].self_attn.num_heads == 4
    inputs = torch.randn(1, 3, 16)
    assert torch.equal(model(inputs), before(inputs))
