"""Pools by learned gates and HCA, against loops over queries and transformers' own layer."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from primaldual import GatedPools, MultiheadAttention, preset
from primaldual.errors import ArgumentError, SpecError, UnsupportedError

HEADS, LENGTH, WIDTH = 4, 14, 3


def tensors(query_length=LENGTH, kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), *[(kv_heads, LENGTH)] * 2, *[(HEADS, LENGTH)] * 2]
    drawn = [torch.randn(2, *shape, WIDTH, generator=generator, dtype=torch.float64) for shape in shapes]
    return drawn[:3], {"key_gate": 3 * drawn[3], "value_gate": 3 * drawn[4]}


def pooled(rows, gates, seen):
    """The pool of some positions of which a few are seen, by numpy."""
    weights = np.exp(gates[seen] - gates[seen].max(0))
    return (weights * rows[seen]).sum(0) / weights.sum(0)


def one_query(query, key, value, key_gate, value_gate, seen, rate, window=None, sink=-np.inf):
    """The attention of one query, the last of what it sees, on pools and on the last ``window`` keys."""
    pairs = []
    newest = int(np.nonzero(seen)[0].max(initial=-1))
    for start in range(0, len(key), rate):
        members = [j for j in range(start, min(start + rate, len(key))) if seen[j]]
        unfinished = window is not None and start + rate - 1 > newest
        if members and not unfinished:
            pairs.append((pooled(key, key_gate, members), pooled(value, value_gate, members)))
    for j in range(len(key)):
        if window is not None and seen[j] and newest - j < window:
            pairs.append((key[j], value[j]))
    if not pairs:
        return np.zeros(value.shape[-1])
    scores = np.array([k @ query for k, _ in pairs]) / np.sqrt(len(query))
    largest = max(scores.max(), sink)
    weights = np.exp(scores - largest)
    return weights @ np.array([v for _, v in pairs]) / (weights.sum() + np.exp(sink - largest))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (4, 2)])
def test_pairs_are_sums_by_softmax_of_gates(query_length, kv_heads, is_causal, masked):
    (query, key, value), gates = tensors(query_length, kv_heads)
    mask = (torch.arange(LENGTH) >= torch.tensor([4, 0])[:, None])[:, None, None]
    causal = torch.arange(LENGTH) <= torch.arange(query_length)[:, None] + LENGTH - query_length
    allowed = mask if masked else torch.ones_like(mask)
    allowed = (allowed & causal if is_causal else allowed).expand(2, HEADS, query_length, LENGTH)
    wanted = torch.empty_like(query)
    for b, h, i in np.ndindex(*query.shape[:3]):
        pair = b, h * kv_heads // HEADS
        rows = query[b, h, i], key[pair], value[pair], gates["key_gate"][b, h], gates["value_gate"][b, h]
        numbers = (part.numpy() for part in (*rows, allowed[b, h, i]))
        wanted[b, h, i] = torch.from_numpy(one_query(*numbers, 3))
    problem, given = preset("gated(3)"), mask if masked else None
    for compute in (problem.attend, problem.dense):
        found = compute(query, key, value, given, is_causal, inputs=gates)
        assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("query_length", [LENGTH, 1])
def test_hca_is_complete_pools_the_last_keys_and_a_sink(query_length):
    (query, key, value), gates = tensors(query_length, 2)
    problem = preset("hca(3,4)").bind(HEADS, WIDTH).double()
    problem.normalizer.head_logit.data = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    wanted = torch.empty_like(query)
    for b, h, i in np.ndindex(*query.shape[:3]):
        seen = np.arange(LENGTH) <= i + LENGTH - query_length
        pair, sink = (b, h // 2), problem.normalizer.head_logit[h].item()
        rows = query[b, h, i], key[pair], value[pair], gates["key_gate"][b, h], gates["value_gate"][b, h]
        wanted[b, h, i] = torch.from_numpy(one_query(*(part.numpy() for part in rows), seen, 3, 4, sink))
    for compute in (problem.attend, problem.dense):
        assert_close(compute(query, key, value, is_causal=True, inputs=gates), wanted.detach())


def test_hca_is_that_of_deepseek_v4():
    """Projections, norms and rotations of transformers' layer are left out: its attention and its compressor remain."""
    modeling = pytest.importorskip("transformers.models.deepseek_v4.modeling_deepseek_v4")
    kind = "heavily_compressed_attention"
    config = modeling.DeepseekV4Config(
        hidden_size=12, num_attention_heads=2, num_hidden_layers=1, head_dim=8, q_lora_rank=6, o_groups=1,
        o_lora_rank=4, sliding_window=4, layer_types=[kind], compress_rates={kind: 3}, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    layer = modeling.DeepseekV4Attention(config, 0).double().eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    compressor, length = layer.compressor, LENGTH
    compressor.kv_proj.weight = layer.kv_proj.weight
    layer.kv_norm = layer.o_a_proj = layer.o_b_proj = compressor.kv_norm = torch.nn.Identity()
    compressor.rotary_emb = Unturned()
    seen = []
    layer.q_b_norm.register_forward_hook(lambda module, given, out: seen.append(out))
    tokens = torch.randn(1, length, 12, dtype=torch.float64)
    distance = torch.arange(length)[:, None] - torch.arange(length)
    hidden = (distance < 0) | (distance >= 4)
    mask = torch.zeros(length, length, dtype=torch.float64).masked_fill(hidden, -torch.inf)[None, None]
    turn = dict.fromkeys(("main", "compress"), Unturned()(tokens, torch.arange(length)[None]))
    out, _ = layer(tokens, turn, torch.arange(length)[None], mask)
    keys = layer.kv_proj(tokens).unsqueeze(1)
    bias = compressor.position_bias.repeat(-(-length // 3), 1)[:length]
    gate = (compressor.gate_proj(tokens) + bias).unsqueeze(1)
    problem = preset("hca(3,4)").bind(2, 8).double()
    problem.normalizer.head_logit = layer.sinks
    inputs = {"key_gate": gate.expand(1, 2, -1, -1), "value_gate": gate.expand(1, 2, -1, -1)}
    found = problem.attend(seen[0], keys, keys, is_causal=True, inputs=inputs)
    assert_close(found.transpose(1, 2).flatten(2), out, rtol=1e-6, atol=1e-6)


class Unturned(torch.nn.Module):
    """Rotates nothing, in place of a rotary embedding."""

    def forward(self, inputs, position_ids, layer_type=None):
        length = position_ids.shape[1]
        return torch.ones(1, length, 2, dtype=torch.float64), torch.zeros(1, length, 2, dtype=torch.float64)


@pytest.mark.parametrize("is_causal", [False, True])
def test_equal_gates_give_scaled_heads(is_causal):
    inputs, gates = tensors(kv_heads=2)
    gates = {name: torch.full_like(gate, 2.0) for name, gate in gates.items()}
    found = preset("gated(3)").attend(*inputs, is_causal=is_causal, inputs=gates)
    assert_close(found, preset("sh(3)").attend(*inputs, is_causal=is_causal))


def test_a_layer_starts_as_scaled_heads():
    layer = MultiheadAttention(12, 4, batch_first=True, attention="gated(3)")
    tokens = torch.randn(2, LENGTH, 12)
    out, _ = layer(tokens, tokens, tokens, need_weights=False)
    layer.problem, layer.input_proj = preset("sh(3)"), None
    assert_close(out, layer(tokens, tokens, tokens, need_weights=False)[0])


@pytest.mark.parametrize("is_causal", [False, True])
def test_every_form_has_the_pools(is_causal):
    inputs, gates = tensors(kv_heads=2)
    for spec in ("alibi+gated(3)", "alibi+sink(0.3)+gated(3)", "linear+gated(3)", "bn+gated(3)", "lla(1)+gated(3)",
                 "polynomial(2)+gated(3)", "alibi+hca(3,4)", "bn+hca(3,4)"):  # fmt: skip
        problem = preset(spec).bind(HEADS, WIDTH)
        found, wanted = (
            compute(*inputs, is_causal=is_causal, inputs=gates) for compute in (problem.attend, problem.dense)
        )
        assert_close(found, wanted, msg=lambda text, spec=spec: f"{spec}: {text}")


def test_hca_forms_its_pools_once():
    explained = preset("hca(3,4)").bind(HEADS, WIDTH).explain((1, HEADS, 64, WIDTH), is_causal=True)
    assert explained.forms == ["sink"]


def test_refusals():
    (query, key, _), gates = tensors()
    with pytest.raises(UnsupportedError, match="no map of positions"):
        preset("gated(3)").attention_map(query, key, inputs=gates)
    with pytest.raises(UnsupportedError, match=r"boost\(2\) combines maps"):
        preset("gated(3)+boost(2)")
    with pytest.raises(ArgumentError, match=r"rate.*0"):
        GatedPools(0)
    for spec in ("hca(3)", "hca(0,4)", "hca(a,b)"):
        with pytest.raises(SpecError, match="hca takes its rate"):
            preset(spec)
    assert preset("hca").spec() == "sink(0)+window(127)|gated(128)"


@pytest.mark.parametrize("spec", ["gated(3)", "gated(1)", "hca(3,2)", "gated(3)|sh(2)"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_pool_that_its_gates_close_is_a_pair_of_zeros(spec, is_causal):
    (query, key, value), gates = tensors()
    gates["key_gate"][:, 0, 3:6], gates["value_gate"][:, :, :3, 1] = -torch.inf, -torch.inf
    inputs = {name: gate.requires_grad_() for name, gate in gates.items()}
    problem, leaves = preset(spec), [*inputs.values(), key.requires_grad_(), value.requires_grad_()]
    found, wanted = (
        compute(query, key, value, is_causal=is_causal, inputs=inputs)
        for compute in (problem.attend, problem.dense)
    )
    assert bool(found.isfinite().all())
    assert_close(found, wanted)
    seed = torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad(found, leaves, seed), torch.autograd.grad(wanted, leaves, seed), strict=True
    ):
        assert bool(mine.isfinite().all())
        assert_close(mine, theirs)
