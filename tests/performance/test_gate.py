from dataclasses import replace

import pytest
import torch
from benchmarks.performance.contenders import FAMILIES, contender, reference
from benchmarks.performance.gate import TOLERANCES, GateError, check, checks
from benchmarks.performance.programs import Program
from benchmarks.performance.settings import Setting

from primaldual.errors import ArgumentError, UnsupportedError

SMALL = Setting(24, heads=8, head_dim=4)
SCALED = "sh(1,1,2,2,4,4,8,8)"
OURS = ["softmax", "bn", SCALED, f"bn+{SCALED}", "window(4)", "linear", "factored", "layer bn", "block"]
OURS += ["softmax-features"]
PEERS = [
    "SDPA",
    "SDPA window(4)",
    "literal softmax",
    "literal bn",
    f"literal {SCALED}",
    f"literal bn+{SCALED}",
]
PEERS += ["SDPA-cache", "nn.MultiheadAttention", "nn.TransformerEncoderLayer"]
INSTALLED = [
    "local-attention window(4)",
    "performer-pytorch",
    "performer-kernel",
    "linear-attention-transformer",
]


@pytest.mark.parametrize("name", OURS)
def test_ours_meets_its_definition(name):
    for setting in checks(contender(name), SMALL):
        assert check(contender(name), setting).gradients


@pytest.mark.parametrize("name", ["softmax", "bn", SCALED, f"bn+{SCALED}", "window(4)", "linear"])
@pytest.mark.parametrize("padding", [False, True])
def test_ours_meets_its_causal_definition_with_room(name, padding):
    setting = replace(SMALL, length=161, is_causal=True, padding=padding, batch=2)
    for each in checks(contender(name), setting):
        assert check(contender(name), each).error < TOLERANCES[each.dtype] / 10


@pytest.mark.parametrize("name", ["decoding bn", f"decoding {SCALED}"])
def test_decoding_meets_the_causal_definition(name):
    for setting in checks(contender(name), SMALL):
        assert check(contender(name), setting).error < 1e-5


def test_pooled_heads_keep_less():
    kept = [contender(name).build(SMALL).state_bytes for name in (f"decoding {SCALED}", "SDPA-cache")]
    assert 0.4 < kept[0] / kept[1] < 0.6


@pytest.mark.parametrize("name", PEERS)
def test_peers_meet_ours(name):
    assert check(contender(name), replace(SMALL, dtype="fp64")).error < 1e-12


@pytest.mark.parametrize("name", INSTALLED)
def test_peers_of_other_packages_meet_ours(name):
    pytest.importorskip(contender(name).family.package.replace("-", "_"))
    assert check(contender(name), SMALL).error < 1e-5


@pytest.mark.parametrize("name", ["SDPA", "SDPA window(4)", "literal softmax", "cumulative-sums"])
def test_causal_peers_meet_ours(name):
    assert check(contender(name), replace(SMALL, is_causal=True, dtype="fp64")).error < 1e-12


@pytest.mark.parametrize("name", ["SDPA", "SDPA window(4)", "literal bn", f"literal bn+{SCALED}", "block"])
def test_padded_peers_meet_ours(name):
    assert check(contender(name), replace(SMALL, padding=True, batch=2, dtype="fp64")).error < 1e-12


def test_formats_share_their_numbers():
    leaves = [contender("bn").build(replace(SMALL, dtype=dtype)).leaves[0] for dtype in ("bf16", "fp64")]
    assert torch.equal(leaves[0].double(), leaves[1])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda q, k, v: (q @ k.mT).softmax(-1) @ v, "output"),
        (lambda q, k, v: contender("softmax").build(SMALL).function(q, k.detach(), v) + 0 * k, "keys"),
        (lambda q, k, v: contender("softmax").build(SMALL).function(q, k, v) * float("nan"), "output"),
    ],
    ids=["formula", "gradient", "nan"],
)
def test_a_wrong_peer_is_named_with_what_is_wrong(monkeypatch, broken, words):
    right = contender("SDPA").build(SMALL)
    family = replace(FAMILIES["SDPA"], build=lambda spec, setting: Program(broken, right.leaves, right.seed))
    with pytest.raises(GateError, match=f"SDPA fails the gate: its .*{words}.*nothing was timed"):
        check(replace(contender("SDPA"), family=family), SMALL)


def test_what_an_implementation_does_not_offer_is_said():
    for name in ("literal bn", "layer bn", "linear-attention-transformer"):
        with pytest.raises(UnsupportedError):
            contender(name).build(replace(SMALL, is_causal=True))
    with pytest.raises(UnsupportedError, match="multiple of the radius"):
        contender("local-attention window(5)").build(SMALL)


def test_names():
    assert str(contender("literal bn")) == "literal bn"
    assert str(contender("SDPA softmax")) == "SDPA"
    assert str(reference(contender("literal bn"))) == "bn"
    assert all(family.checked_against in FAMILIES for family in FAMILIES.values())
    with pytest.raises(ArgumentError, match="'flash bn'"):
        contender("flash bn")
